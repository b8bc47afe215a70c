"""The way to PostgreSQL: engine, the Session dependency, and the driver underneath for set-based statements.

Whoever opens a transaction commits it (architecture.md, rule 2): a request's session is committed by the dependency
before the response leaves (scope "function"), a worker's and a stream's by `session_scope`.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from datetime import datetime
from itertools import repeat
from typing import Annotated, Any, cast

import asyncpg
from fastapi import Depends, Request
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, create_async_engine

from shared.settings import async_url


def create_engine(url: str, *, pool_size: int = 10) -> AsyncEngine:
    """`url` is any PostgreSQL address; the driver is always asyncpg. Times are read and written as UTC instants."""
    return create_async_engine(
        async_url(url),
        pool_size=pool_size,
        max_overflow=10,
        pool_pre_ping=True,
        connect_args={"server_settings": {"timezone": "UTC", "application_name": "chiso"}, "timeout": 10},
    )


@asynccontextmanager
async def session_scope(engine: AsyncEngine) -> AsyncIterator[AsyncSession]:
    """One unit of work in one transaction: committed at the end, rolled back by an exception."""
    async with AsyncSession(engine, expire_on_commit=False) as session, session.begin():
        yield session


async def _session(request: Request) -> AsyncIterator[AsyncSession]:
    engine: AsyncEngine = request.app.state.engine
    async with session_scope(engine) as session:
        yield session


Session = Annotated[AsyncSession, Depends(_session, scope="function")]
"""A request's transaction. Scope "function": it commits before the response is sent, so that nobody ever holds a
success for a row that then failed to commit."""


async def driver(session: AsyncSession) -> asyncpg.Connection:
    """The asyncpg connection under a session, inside its transaction: for statements that take whole columns as
    arrays, which the ORM's layers would only slow down."""
    connection = await session.connection()
    raw = await connection.get_raw_connection()
    plain = cast(asyncpg.Connection, raw.driver_connection)
    if not plain.is_in_transaction():
        # SQLAlchemy opens its transaction at the first statement it runs itself; make sure that it has.
        await connection.exec_driver_sql("SELECT 1")
    return plain


def rows_to_columns(rows: list[tuple[Any, ...]], width: int) -> list[list[Any]]:
    """Row tuples → one list per column, for `unnest($1::…[], $2::…[], …)`; also right for no rows."""
    return [list(column) for column in zip(*rows, strict=True)] if rows else [[] for _ in range(width)]


_NEXT, _NULL = "\x1f", "\x1e"


def spelt(values: Sequence[Any]) -> str:
    """A column of texts, numbers or aware moments as PostgreSQL spells an array, for `$1::text::bigint[]`: two to five
    times as fast as the driver's own way, which asks each element whether it is a list. Texts hold no control
    characters; every door sees to that."""
    first = next((value for value in values if value is not None), None)
    if isinstance(first, str):
        texts = [_NULL if value is None else value for value in values] if None in values else values
        text = _NEXT.join(texts).replace("\\", "\\\\").replace('"', '\\"').replace(_NEXT, '","')
        return ('{"' + text + '"}').replace(f'"{_NULL}"', "NULL")
    if isinstance(first, datetime):
        told: dict[Any, str] = {
            value: value.isoformat() for value in set(values) - {None}
        }  # many are repeated
        told[None] = "NULL"
        return "{" + ",".join(map(told.__getitem__, values)) + "}"
    return "{" + ",".join("NULL" if value is None else str(value) for value in values) + "}"


async def copy_text(columns: Sequence[Sequence[Any]]) -> AsyncIterator[bytes]:
    """Columns → one chunk in COPY's text form with the empty field as NULL. Texts must be neither empty nor hold
    control characters; every door sees to that."""
    lines = zip(*(_texts(column) for column in columns), strict=True)
    text = "\n".join(map("\t".join, lines))
    yield (text.replace("\\", "\\\\") + "\n").encode()


def _texts(column: Sequence[Any]) -> Iterable[str]:
    first = next((value for value in column if value is not None), None)
    if first is None:
        return repeat("", len(column))
    spell: Callable[[Any], str] = datetime.isoformat if isinstance(first, datetime) else str
    if column.count(first) == len(column):  # of one portal's messages many fields are the same in all
        return repeat(spell(first), len(column))
    if None in column:
        return ["" if value is None else spell(value) for value in column]
    return column if isinstance(first, str) else map(spell, column)
