"""Answers that are still true are given again without being computed again.

PostgreSQL says which transactions a new statement would see: `pg_current_snapshot()`. While that text is the same,
every query gives the same rows, so a read gives the same answer to the same key: figures, names, coverage, and whether
the key is still good. One such question, shared by the requests that wait for it, is all that a warm read costs. Any
commit anywhere, also a worker's heartbeat, makes the next read a cold one; nothing has to be told what depends on what.
Time passes without a commit: so an answer is also no older than FRESH by the services' clock.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from contextlib import suppress
from datetime import datetime, timedelta
from typing import Any, NamedTuple

import asyncpg
from fastapi import Request
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from shared.answers import not_modified

FRESH = timedelta(seconds=1)
LARGEST = 256 * 1024
"""Bytes of an answer that is kept."""
ROOM = 16 * 1024 * 1024
"""Bytes of all of them."""
_PATIENCE = 2.0
_AWAY = (DBAPIError, PoolTimeout, asyncpg.PostgresError, asyncpg.InterfaceError, OSError, TimeoutError)

Key = tuple[object, ...]


class Snapshot:
    """What a new statement would see, asked on a connection of its own. Who asks while an answer is on its way shares
    the next one: it must be asked after them."""

    def __init__(self) -> None:
        self._connection: AsyncConnection | None = None
        self._running: asyncio.Task[str | None] | None = None
        self._next: asyncio.Task[str | None] | None = None

    async def read(self, engine: AsyncEngine) -> str | None:
        """None: the database does not answer."""
        if self._next is None:
            self._next = asyncio.create_task(self._after(self._running, engine))
        return await asyncio.shield(self._next)

    async def _after(self, running: asyncio.Task[str | None] | None, engine: AsyncEngine) -> str | None:
        if running is not None:
            await asyncio.wait({running})
        self._running, self._next = self._next, None
        try:
            return await self._ask(engine)
        except _AWAY:
            await self.close()
            return None

    async def _ask(self, engine: AsyncEngine) -> str:
        if self._connection is None:
            opened = await engine.connect()
            self._connection = await opened.execution_options(isolation_level="AUTOCOMMIT")
        raw: Any = (await self._connection.get_raw_connection()).driver_connection
        return str(await raw.fetchval("SELECT pg_current_snapshot()::text", timeout=_PATIENCE))

    async def close(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            with suppress(*_AWAY):
                await connection.invalidate()
            with suppress(*_AWAY):
                await connection.close()


class Kept(NamedTuple):
    """body None: only that it has not been modified is known."""

    snapshot: str
    at: datetime
    route: Any
    etag: str
    headers: list[tuple[bytes, bytes]]
    body: bytes | None


class Warm:
    """Plain ASGI, inside the layer that gives request ids and counts: GETs whose answers carry an ETag."""

    def __init__(self, app: ASGIApp, snapshot: Snapshot) -> None:
        self.app = app
        self.snapshot = snapshot
        self._kept: OrderedDict[Key, Kept] = OrderedDict()
        self._bytes = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] != "GET" or not scope["path"].startswith("/v1/"):
            await self.app(scope, receive, send)
            return
        request = Request(scope)
        state = scope["app"].state
        now: datetime = state.settings.now()
        headers = request.headers
        key: Key = (
            scope["path"],
            scope["query_string"],
            headers.get("authorization"),
            headers.get("x-api-key"),
            headers.get("accept"),
        )
        snapshot = await self.snapshot.read(state.engine)
        kept = self._kept.get(key)
        if kept is not None and kept.snapshot == snapshot and abs(now - kept.at) < FRESH:
            same = not_modified(request, kept.etag)
            if same is not None or kept.body is not None:
                self._kept.move_to_end(key)
                scope["route"] = kept.route
                status = 304 if same is not None else 200
                told = same.raw_headers if same is not None else kept.headers
                await send({"type": "http.response.start", "status": status, "headers": [*told]})
                await send({"type": "http.response.body", "body": b"" if same is not None else kept.body})
                return
        started: list[Message] = []
        bodies: list[Message] = []

        async def seen(message: Message) -> None:
            if message["type"] == "http.response.start":
                # The layers outside add to these headers.
                started.append({**message, "headers": [*message["headers"]]})
            elif message["type"] == "http.response.body" and len(bodies) < 2:
                bodies.append(message)
            await send(message)

        await self.app(scope, receive, seen)
        if snapshot is not None and len(started) == len(bodies) == 1:
            await self._keep(key, snapshot, now, scope, started[0], bodies[0])

    async def _keep(
        self, key: Key, snapshot: str, now: datetime, scope: Scope, start: Message, body: Message
    ) -> None:
        """What was computed in one and the same snapshot."""
        told = dict(start["headers"])
        content = body.get("body", b"")
        whole = not body.get("more_body", False) and b"etag" in told and len(content) <= LARGEST
        if not whole or start["status"] not in (200, 304):
            return
        if await self.snapshot.read(scope["app"].state.engine) != snapshot:
            return
        kept = Kept(
            snapshot,
            now,
            scope.get("route"),
            told[b"etag"].decode("latin-1"),
            start["headers"],
            content if start["status"] == 200 else None,
        )
        before = self._kept.pop(key, None)
        self._kept[key] = kept
        self._bytes += _size(kept) - (0 if before is None else _size(before))
        while self._bytes > ROOM:
            _, gone = self._kept.popitem(last=False)
            self._bytes -= _size(gone)


def _size(kept: Kept) -> int:
    return 2048 + len(kept.body or b"")
