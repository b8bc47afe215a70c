"""Bring a database to the newest migration. One process at a time: an advisory lock makes the others wait."""

from __future__ import annotations

import asyncio
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, text
from sqlalchemy.ext.asyncio import AsyncConnection

from shared.db import create_engine

LOCK = 766_2022
"""Any number, as long as every chiso takes the same: that of the Decision and its year."""


def config() -> Config:
    settings = Config()
    settings.set_main_option("script_location", str(Path(__file__).parent))
    settings.set_main_option(
        "file_template", "%%(year)d%%(month).2d%%(day).2d_%%(hour).2d%%(minute).2d_%%(slug)s"
    )
    settings.set_main_option("timezone", "Asia/Ho_Chi_Minh")
    return settings


def head() -> str | None:
    """The newest revision that this code knows."""
    return ScriptDirectory.from_config(config()).get_current_head()


async def current(connection: AsyncConnection) -> str | None:
    """The revision that the database is at."""
    return await connection.run_sync(lambda sync: MigrationContext.configure(sync).get_current_revision())


def _upgrade(connection: Connection, revision: str) -> None:
    settings = config()
    settings.attributes["connection"] = connection
    command.upgrade(settings, revision)


async def upgrade(url: str, *, revision: str = "head") -> None:
    """Run the migrations at `url` as the owner. The lock belongs to the session and ends with it, also by a crash."""
    engine = create_engine(url, pool_size=1)
    try:
        async with engine.connect() as connection:
            await connection.execute(text("SELECT pg_advisory_lock(:key)"), {"key": LOCK})
            await connection.commit()
            try:
                await connection.execute(text("SET lock_timeout = '10s'"))
                await connection.commit()
                await connection.run_sync(_upgrade, revision)
                await connection.commit()
            finally:
                await connection.rollback()
                await connection.execute(text("SELECT pg_advisory_unlock(:key)"), {"key": LOCK})
                await connection.commit()
    finally:
        await engine.dispose()


def run(url: str) -> None:
    asyncio.run(upgrade(url))
