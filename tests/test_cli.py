"""`chiso up` and `chiso down` with real processes: small stand-ins for the services, the real supervisor."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from services import supervisor
from services.supervisor import born
from services.up import on_running_sandbox
from shared.settings import Settings

RUN = """
import json, sys
from pathlib import Path
from rich.console import Console
from services.supervisor import Command, run
commands = [Command(name, [sys.executable, "-c", code]) for name, code in json.loads(sys.argv[2])]
sys.exit(run(commands, data_dir=Path(sys.argv[1]), console=Console(), patience=float(sys.argv[3])))
"""

# Says when it is up, and how it ends.
GOOD = """
import os, signal, sys, time
def end(number, frame):
    os.write(1, b"ending\\n")  # print() is refused while the one below has not returned
    sys.exit(0)
signal.signal(signal.SIGTERM, end)
signal.signal(signal.SIGINT, lambda *_: print("INTERRUPTED", flush=True))
print("up", flush=True)
time.sleep(60)
"""
SLOW = GOOD.replace("sys.exit(0)", "time.sleep(0.2), sys.exit(0)")
STUBBORN = """
import signal, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
print("up", flush=True)
time.sleep(60)
"""
DYING = "import sys; print('up', flush=True); sys.exit(7)"


class Run:
    """A supervisor in a process of its own."""

    def __init__(self, folder: Path, *commands: tuple[str, str], patience: float = 10) -> None:
        self.folder = folder
        self.process = subprocess.Popen(
            [sys.executable, "-c", RUN, folder, json.dumps(commands), str(patience)],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        self.lines: list[str] = []

    def wait_for(self, text: str, times: int = 1) -> None:
        assert self.process.stdout is not None
        while sum(text in line for line in self.lines) < times:
            line = self.process.stdout.readline()
            assert line, f"ended before it said {text!r}: {self.lines}"
            self.lines.append(line.rstrip())

    def finish(self) -> int:
        out, _ = self.process.communicate(timeout=30)
        self.lines += out.splitlines()
        return self.process.returncode

    def children(self) -> list[dict[str, Any]]:
        state: dict[str, Any] = json.loads((self.folder / "run.json").read_text())
        return list(state["children"])


@pytest.fixture
def runs() -> Iterator[list[Run]]:
    """Whatever a test leaves is stopped."""
    made: list[Run] = []
    yield made
    for run in made:
        run.process.kill()
        run.process.communicate()
        supervisor.stop(run.folder, patience=0)


def alive(children: list[dict[str, Any]]) -> list[str]:
    return [child["name"] for child in children if born(child["pid"]) == child["born"]]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_stops_all_in_reverse_order(tmp_path: Path, runs: list[Run], number: int) -> None:
    runs.append(run := Run(tmp_path, ("first", GOOD), ("second", GOOD)))
    run.wait_for("| up", 2)
    children = run.children()
    assert [child["name"] for child in children] == ["first", "second"]
    run.process.send_signal(number)
    assert run.finish() == 0
    assert alive(children) == []
    steps = [line for line in run.lines if "stopping" in line]
    assert steps == ["chiso      | stopping second", "chiso      | stopping first"]
    assert {"first      | ending", "second     | ending"} <= set(run.lines)
    assert not (tmp_path / "run.json").exists()


def test_the_terminals_interrupt_reaches_the_supervisor_only(tmp_path: Path, runs: list[Run]) -> None:
    """A terminal's Ctrl-C goes to the whole foreground group; the children must not see it."""
    runs.append(run := Run(tmp_path, ("first", GOOD)))
    run.wait_for("| up")
    os.killpg(run.process.pid, signal.SIGINT)
    assert run.finish() == 0
    assert "first      | ending" in run.lines
    assert not any("INTERRUPTED" in line for line in run.lines)


def test_a_process_that_dies_stops_all_and_is_named(tmp_path: Path, runs: list[Run]) -> None:
    runs.append(run := Run(tmp_path, ("good", GOOD), ("dying", DYING)))
    assert run.finish() == 1
    assert any("dying ended by itself (exit code 7)" in line for line in run.lines)
    assert "good       | ending" in run.lines or any("stopping good" in line for line in run.lines)
    assert not (tmp_path / "run.json").exists()


def test_a_process_that_was_killed_is_named_too(tmp_path: Path, runs: list[Run]) -> None:
    runs.append(run := Run(tmp_path, ("good", GOOD), ("victim", GOOD)))
    run.wait_for("| up", 2)
    children = run.children()
    os.kill(children[1]["pid"], signal.SIGKILL)
    assert run.finish() == 1
    assert any("victim ended by itself (signal SIGKILL)" in line for line in run.lines)
    assert alive(children) == []


def test_what_does_not_end_is_killed(tmp_path: Path, runs: list[Run]) -> None:
    runs.append(run := Run(tmp_path, ("stubborn", STUBBORN), patience=0.2))
    run.wait_for("| up")
    children = run.children()
    run.process.terminate()
    assert run.finish() == 0
    assert any("stubborn did not end in time and was killed" in line for line in run.lines)
    assert alive(children) == []


def test_a_second_signal_does_not_wait(tmp_path: Path, runs: list[Run]) -> None:
    runs.append(run := Run(tmp_path, ("stubborn", STUBBORN), patience=3600))
    run.wait_for("| up")
    run.process.terminate()
    run.wait_for("stopping stubborn")
    time.sleep(2 * supervisor.ECHO)
    run.process.terminate()
    assert run.finish() == 0


def test_a_signal_that_make_passes_on_as_well_is_one(tmp_path: Path, runs: list[Run]) -> None:
    runs.append(run := Run(tmp_path, ("slow", SLOW)))
    run.wait_for("| up")
    run.process.terminate()
    run.process.terminate()
    run.wait_for("stopping slow")
    run.process.terminate()
    assert run.finish() == 0
    assert any("slow" in line and "ending" in line for line in run.lines)
    assert not any("killed" in line for line in run.lines)


def test_grandchildren_end_too(tmp_path: Path, runs: list[Run]) -> None:
    code = (
        "import subprocess; p = subprocess.Popen(['sleep', '60']); print('up', p.pid, flush=True); p.wait()"
    )
    runs.append(run := Run(tmp_path, ("parent", code)))
    run.wait_for("| up")
    pid = int(run.lines[-1].split()[-1])
    mark = born(pid)
    assert mark is not None
    run.process.terminate()
    assert run.finish() == 0
    assert born(pid) != mark


def test_down_stops_a_living_run(tmp_path: Path, runs: list[Run]) -> None:
    runs.append(run := Run(tmp_path, ("first", GOOD)))
    run.wait_for("| up")
    assert supervisor.stop(tmp_path) == ["chiso up"]
    assert run.finish() == 0
    assert "first      | ending" in run.lines


def test_down_stops_what_a_killed_run_left(tmp_path: Path, runs: list[Run]) -> None:
    runs.append(run := Run(tmp_path, ("first", GOOD), ("second", GOOD)))
    run.wait_for("| up", 2)
    children = run.children()
    run.process.kill()
    run.process.wait()
    assert alive(children) == ["first", "second"]
    stopped = supervisor.stop(tmp_path)
    assert [line.split()[0] for line in stopped] == ["second", "first"]
    assert alive(children) == []
    assert supervisor.stop(tmp_path) == []


def test_up_cleans_up_after_a_killed_run(tmp_path: Path, runs: list[Run]) -> None:
    runs.append(before := Run(tmp_path, ("left", GOOD)))
    before.wait_for("| up")
    children = before.children()
    before.process.kill()
    before.process.wait()
    runs.append(run := Run(tmp_path, ("new", GOOD)))
    run.wait_for("| up")
    assert any("stopped left (pid" in line for line in run.lines)
    assert alive(children) == []


def test_up_refuses_beside_a_living_run(tmp_path: Path, runs: list[Run]) -> None:
    runs.append(first := Run(tmp_path, ("first", GOOD)))
    first.wait_for("| up")
    runs.append(second := Run(tmp_path, ("second", GOOD)))
    assert second.finish() == 1
    assert f"running already on this DATA_DIR (pid {first.process.pid})" in " ".join(second.lines)
    assert alive(first.children()) == ["first"]


def test_a_recycled_pid_is_left_alone(tmp_path: Path) -> None:
    with subprocess.Popen(["sleep", "60"], start_new_session=True) as other:
        state = {"supervisor": {"pid": other.pid, "born": "earlier"}}
        state["children"] = [{"name": "api", "pid": other.pid, "born": "earlier"}]  # type: ignore[assignment]
        (tmp_path / "run.json").write_text(json.dumps(state))
        assert supervisor.stop(tmp_path) == []
        assert other.poll() is None
        other.kill()


def chiso(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-W", "error", "-m", "services.cli", *arguments],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_ctrl_c_while_its_modules_load_ends_it_in_silence(tmp_path: Path) -> None:
    def caught(process: subprocess.Popen[str]) -> bool:
        """Whether SIGINT has a handler of Python's."""
        status = Path(f"/proc/{process.pid}/status").read_text()
        mask = next(line.split()[1] for line in status.splitlines() if line.startswith("SigCgt"))
        return bool(int(mask, 16) & 1 << (signal.SIGINT - 1))

    argv = [sys.executable, "-m", "services.start", "down"]
    with subprocess.Popen(
        argv, env={**os.environ, "DATA_DIR": str(tmp_path / "none")}, stderr=subprocess.PIPE, text=True
    ) as process:
        for wanted in (True, False):
            while caught(process) is not wanted:
                assert process.poll() is None
                time.sleep(0.001)
        process.send_signal(signal.SIGINT)
        assert process.stderr is not None
        assert process.stderr.read() == ""
    assert process.returncode == -signal.SIGINT


def test_a_port_in_use_is_said_before_anything_starts(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = chiso("up", PORT=str(port), DATA_DIR=str(tmp_path / "data"))
    assert done.returncode == 1
    assert f"Port {port} on 127.0.0.1 cannot be used: Address already in use." in done.stderr
    assert f"make run PORT={port + 1}" in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "data" / "postgres").exists()


def test_wrong_settings_are_lines(tmp_path: Path) -> None:
    done = chiso("up", PORT="many", DATABASE_URL="mysql://root:secret@host/x", DATA_DIR=str(tmp_path))
    assert done.returncode == 2
    assert [line.split(":")[0] for line in done.stderr.splitlines()] == ["DATABASE_URL", "PORT"]
    assert "secret" not in done.stderr


def test_down_without_a_run(tmp_path: Path) -> None:
    done = chiso("down", DATA_DIR=str(tmp_path / "none"))
    assert (done.returncode, done.stdout.strip()) == (0, "nothing was running")
    assert not (tmp_path / "none").exists()


def test_commands_beside_a_run_find_its_sandbox(tmp_path: Path) -> None:
    settings = Settings(_env_file=None, data_dir=tmp_path)  # type: ignore[call-arg]
    with socket.create_server(("127.0.0.1", 0)) as sandbox:
        url = f"http://127.0.0.1:{sandbox.getsockname()[1]}"
        (tmp_path / "portals.json").write_text(json.dumps({"sandbox": url}))
        assert on_running_sandbox(settings).national_url == f"{url}/national"
        own = settings.model_copy(update={"provincial_url": "https://portal.example.vn"})
        assert on_running_sandbox(own) is own
    assert on_running_sandbox(settings) is settings


def test_commands_without_a_database_are_told_in_a_line(tmp_path: Path) -> None:
    nobody = chiso("key", "list", DATABASE_URL="postgresql://a:secret@127.0.0.1:1/none")
    assert nobody.returncode == 1
    assert "cannot be used" in nobody.stderr
    assert "secret" not in nobody.stderr
    (tmp_path / "file").touch()
    folder = chiso("up", DATA_DIR=str(tmp_path / "file" / "data"))
    assert folder.returncode == 1
    assert folder.stderr.startswith("DATA_DIR")
    for done in (nobody, folder):
        assert "Traceback" not in done.stderr


def test_commands_before_the_tables_are_made_name_what_makes_them(tmp_path: Path) -> None:
    done = chiso("recount", DATA_DIR=str(tmp_path))
    assert done.returncode == 1
    assert "`chiso migrate`" in done.stderr
    assert "Traceback" not in done.stderr
