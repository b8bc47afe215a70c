"""`make check`: the migrations lead from nothing to exactly the models, have one head, and go back down."""

from __future__ import annotations

import asyncio
import sys
import tempfile
from pathlib import Path

from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection

from migrations import runner
from shared import postgres
from shared.db import create_engine
from shared.models import Record


def _differences(connection: Connection) -> list[object]:
    context = MigrationContext.configure(connection, opts={"compare_type": True})
    return list(compare_metadata(context, Record.metadata))


def _down(connection: Connection) -> None:
    settings = runner.config()
    settings.attributes["connection"] = connection
    command.downgrade(settings, "base")


async def _check(url: str) -> list[str]:
    heads = ScriptDirectory.from_config(runner.config()).get_heads()
    wrong = [] if len(heads) == 1 else [f"{len(heads)} heads: {', '.join(heads)}"]
    await runner.upgrade(url)
    engine = create_engine(url)
    async with engine.connect() as connection:
        wrong += [
            f"models and migrations differ: {entry}" for entry in await connection.run_sync(_differences)
        ]
        await connection.rollback()
        await connection.run_sync(_down)
        await connection.commit()
        await connection.run_sync(lambda sync: None)
    await engine.dispose()
    await runner.upgrade(url)
    return wrong


def main() -> int:
    with tempfile.TemporaryDirectory(prefix="chiso-") as folder:
        server = postgres.start(Path(folder) / "pg")
        try:
            wrong = asyncio.run(_check(server.admin_url()))
        finally:
            server.stop()
    for line in wrong:
        sys.stderr.write(line + "\n")
    sys.stdout.write("migrations: " + ("wrong\n" if wrong else "up, equal to the models, down, up again\n"))
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
