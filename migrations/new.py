"""`make migration m="…"`: compare the models with a freshly migrated database and write the difference down."""

from __future__ import annotations

import asyncio
import sys
import tempfile
from pathlib import Path

from alembic import command
from sqlalchemy import Connection

from migrations import runner
from shared import postgres
from shared.db import create_engine


def _revise(connection: Connection, message: str) -> None:
    settings = runner.config()
    settings.attributes["connection"] = connection
    command.revision(settings, message, autogenerate=True)


async def _write(url: str, message: str) -> None:
    await runner.upgrade(url)
    engine = create_engine(url)
    async with engine.connect() as connection:
        await connection.run_sync(_revise, message)
    await engine.dispose()


def main(message: str) -> None:
    with tempfile.TemporaryDirectory(prefix="chiso-") as folder:
        server = postgres.start(Path(folder) / "pg")
        try:
            asyncio.run(_write(server.admin_url(), message))
        finally:
            server.stop()


if __name__ == "__main__":
    main(" ".join(sys.argv[1:]))
