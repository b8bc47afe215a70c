"""chiso's own processes, really started: the API and the workers as `chiso up` starts them, each writing what it says
to a file."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import httpx

ROOT = Path(__file__).parents[1]
CHISO = [sys.executable, "-m", "services.cli"]


class Process:
    """A process that can be killed and started again. `log`: all that it ever said, on both streams."""

    def __init__(self, name: str, argv: list[str], env: Mapping[str, str], folder: Path) -> None:
        self.name, self.argv = name, argv
        self.log = folder / f"{name}.log"
        # Run in a folder without an .env, with nothing of the shell's own settings.
        self.env = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1", **env}
        self.folder = folder
        self.child: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        assert self.child is None
        with self.log.open("ab") as output:
            self.child = subprocess.Popen(
                self.argv, cwd=self.folder, env=self.env, stdout=output, stderr=output, start_new_session=True
            )

    @property
    def alive(self) -> bool:
        return self.child is not None and self.child.poll() is None

    def signal(self, number: int) -> None:
        if self.child is not None and self.alive:
            self.child.send_signal(number)

    def wait(self) -> int:
        """Its end, which somebody asked for; one that never ends is killed."""
        assert self.child is not None
        try:
            return self.child.wait(30)
        except subprocess.TimeoutExpired:
            self.kill()
            raise
        finally:
            self.child = None

    def kill(self) -> None:
        if self.child is not None:
            self.child.send_signal(signal.SIGKILL)
            self.child.wait()
            self.child = None

    def said(self) -> str:
        return self.log.read_text(errors="replace") if self.log.exists() else ""


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def api(env: Mapping[str, str], folder: Path, port: int) -> Process:
    argv = [sys.executable, "-m", "uvicorn", "--factory", "services.cli:api", "--no-access-log"]
    return Process("api", [*argv, "--host", "127.0.0.1", "--port", str(port)], env, folder)


def worker(name: str, env: Mapping[str, str], folder: Path) -> Process:
    return Process(name, [*CHISO, "work", name], env, folder)


@contextmanager
def killed_at_end(*processes: Process) -> Iterator[None]:
    try:
        yield
    finally:
        for process in processes:
            process.signal(signal.SIGCONT)
            process.kill()


async def answering(process: Process, url: str) -> None:
    """Until the API answers at all, whatever it has to say."""
    begun = time.monotonic()
    async with httpx.AsyncClient(trust_env=False) as http:
        while True:
            try:
                await http.get(f"{url}/health")
            except httpx.TransportError:
                assert process.alive, process.said()
                assert time.monotonic() - begun < 60, process.said()
                await asyncio.sleep(0.05)
            else:
                return
