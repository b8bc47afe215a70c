"""Portals for tests of the pulls: the sandbox with a small world, and servers that answer what a test tells
them to."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from datetime import datetime, timedelta
from typing import Any, NamedTuple
from urllib.parse import parse_qsl, urlsplit

from pydantic import SecretStr
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from services.ingest.portals.http import Retry
from services.sandbox.server import running
from services.sandbox.world import World
from shared.calendar import TZ
from shared.db import session_scope
from shared.settings import Settings
from tests.make import NOW

ANCHOR = datetime(2026, 11, 2, 0, 0, tzinfo=TZ)
QUICK = Retry(attempts=3, first=0.001, longest=0.001, jitter=0)
"""Repeats without waiting."""


def world(size: int = 300, **options: Any) -> World:
    return World(size=size, anchor=ANCHOR, until=ANCHOR + timedelta(days=30), **options)


def at(settings: Settings, now: datetime) -> Settings:
    """The same settings with the services' clock elsewhere."""
    return settings.model_copy(update={"chiso_now": now})


@contextmanager
def sandbox(settings: Settings, of: World, *, grant_list: bool = False) -> Iterator[Settings]:
    """The sandbox portals on a free port, and settings that lead to them."""
    with running(of, grant_list=grant_list) as url:
        yield leading_to(settings, url, national_list=grant_list)


def leading_to(settings: Settings, url: str, **others: Any) -> Settings:
    return settings.model_copy(
        update={
            "national_url": f"{url}/national",
            "national_username": "H31",
            "national_password": SecretStr("sandbox"),
            "provincial_url": f"{url}/provincial",
            "provincial_client_id": "chiso",
            "provincial_client_secret": SecretStr("sandbox"),
            "lookups_per_second": 5_000.0,
            **others,
        }
    )


class Call(NamedTuple):
    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


Answer = tuple[int, dict[str, str], bytes] | None
"""Status, headers, body; None drops the connection."""


def ok(content: Any) -> Answer:
    return 200, {"Content-Type": "application/json"}, json.dumps(content).encode()


@asynccontextmanager
async def serving(answer: Callable[[Call], Answer]) -> AsyncIterator[str]:
    """A server on a free port that gives each call to `answer`; yields its URL."""
    writers: set[asyncio.StreamWriter] = set()

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writers.add(writer)
        try:
            while line := await reader.readline():
                method, target, _ = line.decode().split()
                headers = {}
                while (header := (await reader.readline()).decode().strip()) != "":
                    name, _, value = header.partition(":")
                    headers[name.lower()] = value.strip()
                body = await reader.readexactly(int(headers.get("content-length", "0")))
                url = urlsplit(target)
                given = answer(Call(method, url.path, dict(parse_qsl(url.query)), headers, body))
                if given is None:
                    return
                status, more, content = given
                lines = [f"HTTP/1.1 {status} X", f"Content-Length: {len(content)}"]
                lines += [f"{name}: {value}" for name, value in more.items()]
                writer.write("\r\n".join([*lines, "", ""]).encode() + content)
                await writer.drain()
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writers.discard(writer)
            writer.close()

    server = await asyncio.start_server(connected, "127.0.0.1", 0)
    try:
        port = server.sockets[0].getsockname()[1]
        yield f"http://127.0.0.1:{port}"
    finally:
        server.close()
        for writer in list(writers):
            writer.close()
        await server.wait_closed()


def igate(code: str, *, updated: datetime = NOW, **fields: Any) -> dict[str, Any]:
    """A dossier in progress as iGate's search tells it."""

    def utc(moment: datetime) -> str:
        return moment.astimezone(TZ).isoformat()

    return {
        "id": "64f000000000000000000001",
        "code": "000.00.135.H31-260803-0012",
        "nationCode": code,
        "procedure": {"code": "1.001612"},
        "agency": {
            "id": "a1",
            "code": "H31.135",
            "name": [{"languageId": 228, "name": "UBND phường Phố Hiến"}],
        },
        "applicant": {"data": {"fullname": "NGUYỄN VĂN MẪU", "identityNumber": "033099000001"}},
        "dossierStatus": {"id": 2, "name": [{"languageId": 228, "name": "Đang xử lý"}]},
        "applyMethod": {"id": 0, "name": "Trực tuyến"},
        "appliedDate": "2026-08-03T01:10:15.000+0000",
        "acceptedDate": "2026-08-03T02:30:00.000+0000",
        "appointmentDate": "2026-08-06T10:00:00.000+0000",
        "completedDate": None,
        "returnedDate": None,
        "currentTask": [{"isCurrent": 1, "assignee": {"id": "5c", "fullname": "LÊ VĂN MẪU"}}],
        "updatedDate": utc(updated),
    } | fields


class Province:
    """An iGate whose rows a test moves while it is read. `before_page` is called with each page's number."""

    def __init__(self, rows: list[dict[str, Any]]) -> None:
        self.rows = rows
        self.pages: list[int] = []
        self.before_page: Callable[[int], None] = lambda page: None

    def __call__(self, call: Call) -> Answer:
        if call.path.endswith("/token"):
            return ok({"access_token": "t", "expires_in": 300})
        page, size = int(call.query["page"]), int(call.query["size"])
        self.before_page(page)
        self.pages.append(page)
        rows = sorted(self.rows, key=lambda row: row["updatedDate"], reverse=True)
        content = rows[page * size : (page + 1) * size]
        return ok({"content": content, "totalElements": len(rows), "last": (page + 1) * size >= len(rows)})


async def rows(engine: AsyncEngine, sql: str, **values: Any) -> list[Any]:
    async with session_scope(engine) as session:
        return list((await session.execute(text(sql), values)).all())


async def column(engine: AsyncEngine, sql: str, **values: Any) -> list[Any]:
    return [row[0] for row in await rows(engine, sql, **values)]
