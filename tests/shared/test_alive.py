"""The workers' health check, as a container runs it: a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from datetime import timedelta

from sqlalchemy.ext.asyncio import AsyncEngine

from shared import queue
from shared.db import session_scope
from shared.settings import Settings
from tests.make import NOW


def check(url: str, name: str) -> tuple[int, str]:
    done = subprocess.run(
        [sys.executable, "-m", "shared.alive", name],
        env={"PATH": os.environ["PATH"], "DATABASE_URL": url, "CHISO_NOW": NOW.isoformat()},
        capture_output=True,
        text=True,
        check=False,
    )
    return done.returncode, done.stderr.strip()


async def test_a_worker_lives_as_long_as_it_is_heard_of(engine: AsyncEngine, settings: Settings) -> None:
    url = str(settings.database_url)
    assert check(url, "reconcile") == (1, "reconcile was never seen")
    async with session_scope(engine) as session:
        await queue.beat(session, "reconcile", now=NOW - timedelta(seconds=59))
        await queue.beat(session, "indicators", now=NOW - timedelta(seconds=61))
    assert check(url, "reconcile") == (0, "")
    assert check(url, "indicators") == (1, "indicators is silent for 61 s")


def test_without_a_database_it_says_so_in_a_line_without_the_password() -> None:
    code, said = check("postgresql://somebody:secret@127.0.0.1:9/none", "ingest")
    assert (code, said) == (1, "the database does not answer: ConnectionRefusedError")
    assert check("", "ingest") == (1, "DATABASE_URL is needed")
