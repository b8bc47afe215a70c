"""What the benchmarks share: a throw-away embedded server with the tables, and the API as its own process."""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import asyncpg
from sqlalchemy.engine import make_url

from migrations import runner
from shared import access, postgres
from shared.calendar import TZ
from shared.db import create_engine, session_scope
from shared.vocabulary import Role

NOW = datetime(2026, 11, 2, 9, 0, tzinfo=TZ)


@dataclass
class Stage:
    server: postgres.Server
    app_url: str
    owner_url: str

    async def connect(self, *, owner: bool = False) -> asyncpg.Connection:
        url = make_url(self.owner_url if owner else self.app_url)
        return await asyncpg.connect(
            host=str(url.query["host"]), user=url.username, password=url.password, database=url.database
        )

    async def execute(self, *statements: str) -> None:
        connection = await self.connect(owner=True)
        for statement in statements:
            await connection.execute(statement)
        await connection.close()

    async def key(self, role: Role = Role.ADMIN) -> str:
        engine = create_engine(self.app_url, pool_size=1)
        async with session_scope(engine) as session:
            _, key = await access.create_key(session, role=role, unit_code="H31", now=NOW, by="benchmark")
        await engine.dispose()
        return key


@contextmanager
def stage() -> Iterator[Stage]:
    with tempfile.TemporaryDirectory(prefix="chiso-bench-") as folder:
        server = postgres.start(Path(folder) / "data")
        try:
            made = asyncio.run(postgres.provision(server.admin_url(), data_dir=server.data_dir))
            runner.run(made.owner_url)
            yield Stage(server, made.app_url, made.owner_url)
        finally:
            server.stop("immediate")


@contextmanager
def api(stage: Stage, application: str) -> Iterator[int]:
    """The application under uvicorn, as it is deployed; yields its port."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    argv = [sys.executable, "-m", "uvicorn", "--factory", application, "--port", str(port)]
    env = {**os.environ, "DATABASE_URL": stage.app_url, "CHISO_NOW": NOW.isoformat(), "LOG_LEVEL": "WARNING"}
    process = subprocess.Popen([*argv, "--no-access-log", "--log-level", "warning"], env=env)
    try:
        answering(port)
        yield port
    finally:
        process.terminate()
        process.wait()


def answering(port: int) -> None:
    """Waits until an application answers."""
    for _ in range(300):
        try:
            urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=1).close()
            return
        except OSError:
            time.sleep(0.1)
