"""python -m shared.alive NAME: ends with 0 if the worker NAME has given a sign of life within a minute. A container's
health check, so it loads little and says what is wrong in a line."""

from __future__ import annotations

import asyncio
import sys
from datetime import timedelta

import asyncpg
from sqlalchemy.engine import make_url

from shared.errors import ChisoError
from shared.settings import Settings, get_settings

SILENCE = timedelta(seconds=60)
"""A worker that has not been heard of for so long counts as away."""


async def trouble(settings: Settings, name: str) -> str | None:
    """What is wrong with a worker; None if it lives. Of several of one name, one that lives is enough."""
    if settings.database_url is None:
        return "DATABASE_URL is needed"
    address = make_url(settings.database_url).set(drivername="postgresql").difference_update_query(["ssl"])
    ssl = make_url(settings.database_url).query.get("ssl")  # as our engines are given it
    try:
        connection = await asyncpg.connect(
            address.render_as_string(hide_password=False), timeout=5, **({"ssl": ssl} if ssl else {})
        )
        try:
            at = await connection.fetchval("SELECT at FROM heartbeat WHERE name = $1", name, timeout=5)
        finally:
            await connection.close(timeout=5)
    except (OSError, TimeoutError, asyncpg.PostgresError) as error:
        return f"the database does not answer: {type(error).__name__}"
    if at is None:
        return f"{name} was never seen"
    silent = settings.now() - at
    return f"{name} is silent for {silent.total_seconds():.0f} s" if silent > SILENCE else None


if __name__ == "__main__":
    try:
        found = asyncio.run(trouble(get_settings(), sys.argv[1]))
    except ChisoError as error:
        found = error.en
    sys.exit(found)
