"""Runs the processes of one installation and stops them: `chiso up` and `chiso down`.

    DATA_DIR/run.lock    held by the supervisor as long as it lives, however it ends
    DATA_DIR/run.json    what it has started: {"supervisor": {pid, born}, "children": [{name, pid, born}]}

A pid alone says nothing (it may be another program by now); with `born` it names one process for ever.
"""

from __future__ import annotations

import fcntl
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType, TracebackType
from typing import IO, Any

import psutil  # type: ignore[import-untyped]
from rich.console import Console
from rich.text import Text

from shared.errors import ChisoError, Conflict, Invalid, Unavailable

PATIENCE = 10.0
"""Seconds that a process has for its clean end before it is killed."""

ECHO = 0.5
"""Seconds within which a second signal is an echo of the first: TERM to the process group of `make run` reaches us
twice, because make passes on what it gets."""

COLOURS = ("cyan", "green", "magenta", "blue", "yellow", "bright_cyan", "bright_green")
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class AlreadyRunning(Conflict):
    def __init__(self, pid: object) -> None:
        super().__init__(
            "Hệ thống đang chạy rồi.",
            f"chiso is running already on this DATA_DIR (pid {pid}). `chiso down` stops it; another DATA_DIR "
            "and PORT run beside it.",
        )


class FolderUnusable(Invalid):
    def __init__(self, folder: Path, error: OSError) -> None:
        super().__init__(
            "Không dùng được thư mục dữ liệu.",
            f"DATA_DIR {folder} cannot be used: {error.strerror}.",
            field="DATA_DIR",
        )


class ChildFailed(Unavailable):
    def __init__(self, name: str, how: str) -> None:
        super().__init__(f"Tiến trình {name} đã dừng.", f"{name} {how}")


class Stopped(SystemExit):
    """A signal asked for the end. Of this kind because asyncio lets it through, and because subprocess then
    kills and reaps what it runs, which it does not for a KeyboardInterrupt."""


@dataclass(frozen=True)
class Command:
    """A process to run. `env` is added to ours."""

    name: str
    argv: Sequence[str]
    env: Mapping[str, str] = field(default_factory=dict, repr=False)


class Supervisor:
    """A context: what is started inside is stopped at its end, in reverse order, whatever happened.

    Signals INT, TERM and HUP end watch(), and inside preparing() what is under way; a second one, while
    stopping, kills what is left at once (an echo within ECHO does not). Raises AlreadyRunning at its start.
    """

    def __init__(self, data_dir: Path, console: Console, *, patience: float = PATIENCE) -> None:
        self._folder = data_dir
        self._console = console
        self._patience = patience
        self._children: list[tuple[str, subprocess.Popen[bytes], threading.Thread]] = []
        self._endings: list[tuple[str, Callable[[], object]]] = []
        self._wake = threading.Event()
        self._print = threading.Lock()
        self._asked = False
        self._asked_at = 0.0
        self._preparing = False
        self._failed: BaseException | None = None

    def __enter__(self) -> Supervisor:
        try:
            self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            self._lock = _take_lock(self._folder)
        except OSError as error:
            raise FolderUnusable(self._folder, error) from None
        for name in _stop_left(self._folder, self._patience):
            self.say("chiso", f"stopped {name}, which an earlier run had left")
        # INT also where it is ignored, as in what a script has put into the background; HUP not (nohup).
        wanted = [n for n in SIGNALS if n != signal.SIGHUP or signal.getsignal(n) != signal.SIG_IGN]
        self._handlers = [(number, signal.signal(number, self._on_signal)) for number in wanted]
        self._write()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool:
        self._preparing = False
        for name, child, _ in reversed(self._children):
            if child.poll() is None:
                self.say("chiso", f"stopping {name}")
            how = _end_group(child.pid, lambda child=child: child.poll() is not None, lambda: self._patience)  # type: ignore[misc]
            if how == "killed":
                self.say("chiso", f"{name} did not end in time and was killed")
        for _, _, reader in self._children:
            reader.join(1)
        for name, ending in reversed(self._endings):
            self.say("chiso", f"stopping {name}")
            try:
                ending()
            except Exception as failure:  # the rest must be stopped too
                self.say("chiso", f"{name} could not be stopped: {failure}")
        (self._folder / "run.json").unlink(missing_ok=True)
        for number, handler in self._handlers:
            signal.signal(number, handler)
        os.close(self._lock)
        return kind is Stopped

    @contextmanager
    def preparing(self) -> Iterator[None]:
        """A signal inside raises Stopped, and the supervisor's context ends in peace."""
        self._preparing = True
        try:
            yield
        finally:
            self._preparing = False

    def at_end(self, name: str, ending: Callable[[], object]) -> None:
        """Called after all processes have ended, the last one first."""
        self._endings.append((name, ending))

    def start(self, command: Command) -> None:
        """In a session of its own: a terminal's Ctrl-C reaches the supervisor only. Raises ChildFailed."""
        # A signal that comes in between must not make us forget the child.
        preparing, self._preparing = self._preparing, False
        self._start(command)
        self._preparing = preparing
        if preparing and self._asked:
            raise Stopped

    def _start(self, command: Command) -> None:
        try:
            child = subprocess.Popen(  # noqa: S603
                list(command.argv),
                env={**os.environ, **command.env},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        except OSError as error:
            raise ChildFailed(command.name, f"cannot be started: {error.strerror}") from None
        assert child.stdout is not None
        reader = threading.Thread(target=self._copy, args=(command.name, child.stdout), daemon=True)
        self._children.append((command.name, child, reader))
        self._write()
        reader.start()

    def watch(self, task: Callable[[], object] | None = None) -> None:
        """Until a signal comes. `task` runs beside. Raises ChildFailed where a process ends by itself, and
        what `task` raises."""
        if task is not None:
            threading.Thread(target=self._guard, args=(task,), daemon=True).start()
        while not self._asked:
            self._check()
            if self._failed is not None:
                raise self._failed
            self._wake.wait(0.1)

    def wait_until(self, ready: Callable[[], bool], seconds: float) -> None:
        """Until what was started is ready, at most so long. Raises ChildFailed where a process ends meanwhile."""
        limit = time.monotonic() + seconds
        while not ready() and time.monotonic() < limit:
            self._check()
            time.sleep(0.05)

    def _check(self) -> None:
        for name, child, _ in self._children:
            code = child.poll()
            if code is not None:
                raise ChildFailed(name, f"ended by itself ({_how(code)}); stopping all the others")

    def say(self, name: str, line: str) -> None:
        """One line, with the name of the process before it."""
        width = max([len("chiso"), len("indicators"), *(len(child[0]) for child in self._children)])
        colour = "bold" if name == "chiso" else COLOURS[sum(name.encode()) % len(COLOURS)]
        with self._print, suppress(OSError, ValueError):  # the terminal or the pipe may have gone
            text = Text.assemble((f"{name:<{width}} | ", colour), Text.from_ansi(line))
            self._console.print(text, soft_wrap=True, highlight=False)

    def _copy(self, name: str, stream: IO[bytes]) -> None:
        with stream:
            for line in stream:
                self.say(name, line.decode(errors="replace").rstrip())

    def _guard(self, task: Callable[[], object]) -> None:
        try:
            task()
        except BaseException as error:
            self._failed = error
            self._wake.set()

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        now = time.monotonic()
        if not self._asked:
            self._asked_at = now
        elif now - self._asked_at >= ECHO:
            self._patience = 0.0
        self._asked = True
        self._wake.set()
        if self._preparing:
            self._preparing = False
            raise Stopped

    def _write(self) -> None:
        state = {
            "supervisor": {"pid": os.getpid(), "born": born(os.getpid())},
            "children": [
                {"name": name, "pid": child.pid, "born": born(child.pid)} for name, child, _ in self._children
            ],
        }
        new = self._folder / "run.json.new"
        new.write_text(json.dumps(state))
        new.replace(self._folder / "run.json")


def run(commands: Sequence[Command], *, data_dir: Path, console: Console, patience: float = PATIENCE) -> int:
    """Runs commands until a signal (0) or until one of them ends by itself (1)."""
    try:
        with Supervisor(data_dir, console, patience=patience) as supervisor:
            for command in commands:
                supervisor.start(command)
            supervisor.watch()
    except ChisoError as error:
        console.print(error.en, style="bold red", highlight=False, markup=False)
        return 1
    return 0


def stop(data_dir: Path, *, patience: float = PATIENCE) -> list[str]:
    """Stops the run of this folder, its supervisor first (which stops its processes), then what a killed
    supervisor left. Returns the names of what was stopped."""
    if not data_dir.is_dir():
        return []
    state = _state(data_dir)
    supervisor = state.get("supervisor", {})
    pid, stopped = supervisor.get("pid"), []
    if pid is not None and born(pid) == supervisor.get("born"):
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGTERM)
            stopped.append("chiso up")
        # It needs its time for each process, and for the database's last checkpoint.
        limit = time.monotonic() + patience * (len(state.get("children", [])) + 1) + 60
        while born(pid) == supervisor["born"] and time.monotonic() < limit:
            time.sleep(0.05)
        if born(pid) == supervisor["born"]:
            os.kill(pid, signal.SIGKILL)
    lock = _take_lock(data_dir)
    try:
        return stopped + _stop_left(data_dir, patience)
    finally:
        os.close(lock)


def born(pid: int) -> str | None:
    """What tells a process from all others that had or will have its pid; None for one that has ended.

    On Linux its start in clock ticks since boot: unlike a time of day, no correction of the clock changes it.
    """
    if sys.platform == "linux":
        try:
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        except OSError:
            return None
        return None if fields[0] in "ZX" else f"{boot} {fields[19]}"
    try:
        process = psutil.Process(pid)
        return None if process.status() == psutil.STATUS_ZOMBIE else str(process.create_time())
    except psutil.Error:
        return None


def _take_lock(data_dir: Path) -> int:
    lock = os.open(data_dir / "run.lock", os.O_RDWR | os.O_CREAT, 0o600)
    for _ in range(20):  # a supervisor that was just killed needs a moment to let go
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            time.sleep(0.05)
        else:
            return lock
    os.close(lock)
    raise AlreadyRunning(_state(data_dir).get("supervisor", {}).get("pid", "unknown"))


def _state(data_dir: Path) -> dict[str, Any]:
    try:
        state: dict[str, Any] = json.loads((data_dir / "run.json").read_text())
    except (OSError, ValueError):
        return {}
    return state


def _stop_left(data_dir: Path, patience: float) -> list[str]:
    """Stops processes of a supervisor that has ended without doing so."""
    stopped = []
    for child in reversed(_state(data_dir).get("children", [])):
        pid, mark = child["pid"], child["born"]
        if mark is not None and born(pid) == mark:
            _end_group(pid, lambda pid=pid, mark=mark: born(pid) != mark, lambda: patience)  # type: ignore[misc]
            stopped.append(f"{child['name']} (pid {pid})")
    (data_dir / "run.json").unlink(missing_ok=True)
    return stopped


def _end_group(pid: int, ended: Callable[[], bool], patience: Callable[[], float]) -> str:
    """TERM to the process group, and KILL where its leader has not ended in time. Also what the leader leaves
    in its group is ended."""
    how, begun = "ended", time.monotonic()
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, signal.SIGTERM)
        while not ended():
            if time.monotonic() - begun >= patience():
                how = "killed"
                break
            time.sleep(0.02)
        os.killpg(pid, signal.SIGKILL)
    for _ in range(500):
        if ended():
            break
        time.sleep(0.02)
    return how


def _how(code: int) -> str:
    return f"exit code {code}" if code >= 0 else f"signal {signal.Signals(-code).name}"
