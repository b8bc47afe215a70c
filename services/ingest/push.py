"""POST /v1/dossiers: pushes in our own form, as a JSON array or as an NDJSON stream.

An array is one transaction and one answer. A stream is worked off in batches, each in its own transaction; a line of
the answer is written only after the batch of its item has been committed, so an acknowledged item is never lost.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Sequence
from contextlib import aclosing, suppress
from datetime import datetime
from typing import Any

import asyncpg
import msgspec
from fastapi.responses import Response
from msgspec import UNSET, UnsetType
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession
from starlette.types import Receive, Scope, Send

from services.ingest import json_parts, own_messages, receipts, service
from services.ingest.normalise import Refusal, Refused, refusal
from services.ingest.own_messages import Pushed
from services.ingest.turns import in_turns
from shared.db import session_scope
from shared.errors import Invalid, Unreadable
from shared.settings import Settings
from shared.vocabulary import Portal

BATCH = 2000
LINE_LIMIT = 1024 * 1024
"""Bytes of one NDJSON line; a longer one is refused and the stream goes on."""
PAUSE = 0.5
"""Seconds without a new line after which a started batch is written anyway: a slow sender gets its answers."""

_encode = msgspec.json.Encoder().encode
_encode_lines = msgspec.json.Encoder().encode_lines
_array = msgspec.json.Decoder(list[msgspec.Raw])
_any = msgspec.json.Decoder(msgspec.Raw)
_RESULTS = (service.ACCEPTED, service.UNCHANGED, service.STALE, service.REJECTED)


def read_array(body: bytes, *, now: datetime) -> list[Pushed | Refusal]:
    """Raises Unreadable where the body is not JSON, Invalid where it is no array."""
    return [own_messages.read(raw, position=n, now=now) for n, raw in enumerate(raw_items(body))]


def raw_items(body: bytes) -> Sequence[bytes | msgspec.Raw]:
    """The items of a JSON array, unread. Raises as read_array."""
    try:
        if body.lstrip()[:1] != b"[":
            _any.decode(body)  # tells what is no JSON from what is no array
            raise Invalid("Cần một mảng JSON.", "Expected a JSON array.", field="body")
        try:
            return _array.decode(body)
        except RecursionError:  # one item is nested too deep: it alone is refused
            return json_parts.items(body)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
        raise Unreadable("Nội dung không phải JSON hợp lệ.", "The body is not valid JSON.") from None


class ItemResult(msgspec.Struct, gc=False):
    """What became of one item; `field` and the reasons only where it was refused."""

    index: int
    code: str | None
    result: str
    field: str | UnsetType = UNSET
    reason: str | UnsetType = UNSET
    reason_vi: str | UnsetType = UNSET


async def store(
    session: AsyncSession,
    items: list[Pushed | Refusal],
    *,
    sender: str,
    now: datetime,
    first_index: int = 0,
) -> list[ItemResult]:
    """One result per item, in order, the first with `first_index`."""
    results: list[Any] = [None] * len(items)
    portals = [Portal.PROVINCIAL if type(item) is Refusal else item.portal for item in items]  # type: ignore[union-attr]
    for portal in sorted(set(portals)):  # a batch may speak of several copies; nearly all speak of one
        if portals.count(portal) == len(items):
            places, mine = list(range(len(items))), items
        else:
            places = [n for n, its in enumerate(portals) if its is portal]
            mine = [items[n] for n in places]
        outcome = await service.accept(
            session,
            portal=portal,
            via="push",
            door="dossiers",
            sender=sender,
            now=now,
            heads=[item if type(item) is Refusal else item.head for item in mine],  # type: ignore[union-attr]
            steps=[step for item in mine if type(item) is Pushed and item.steps for step in item.steps],
        )
        for n, item, result in zip(places, mine, outcome.results, strict=True):
            results[n] = _result(first_index + n, item, result)
    return results


def _result(index: int, item: Pushed | Refusal, result: str) -> ItemResult:
    if type(item) is Refusal:
        return ItemResult(index, item.code, result, item.field, item.en, item.vi)
    return ItemResult(index, item.head.code, result)  # type: ignore[union-attr]


def count(results: Sequence[ItemResult]) -> dict[str, int]:
    told = [result.result for result in results]
    return {name: told.count(name) for name in _RESULTS}


async def give_receipt(
    session: AsyncSession,
    items: list[Pushed | Refusal],
    results: Sequence[ItemResult],
    *,
    sender: str,
    now: datetime,
    digest: bytes,
    stream_id: int | None = None,
    first_index: int = 0,
) -> int:
    """In the transaction of the items. `results`: as store() gave them."""
    portals = {item.portal for item in items if type(item) is Pushed}
    return await receipts.write(
        session,
        key=sender,
        door="dossiers",
        portal=",".join(sorted(portals)) if portals else Portal.PROVINCIAL.value,
        now=now,
        digest=digest,
        results=[result.result for result in results],
        told=lambda n: (results[n].code, results[n].field or None),
        stream_id=stream_id,
        first_index=first_index,
    )


async def stream(
    chunks: AsyncIterator[bytes], engine: AsyncEngine, settings: Settings, *, sender: str
) -> AsyncGenerator[bytes, None]:
    """NDJSON in, NDJSON out: one line per item, after each batch a line with its receipt, at the end one with the
    counts and the stream's (first) receipt.

    Reading goes on while the answer is being written (a client that sends all before it reads would else wait for us
    while we wait for it). If the database goes away the answer ends with a line that says from which line on nothing
    has been stored; those lines are sent again."""
    answers: asyncio.Queue[bytes | None] = asyncio.Queue()
    worker = asyncio.create_task(_work(chunks, engine, settings, sender, answers))
    try:
        while (answer := await answers.get()) is not None:
            yield answer
    finally:
        # The client has gone: what is committed stays, the batch at hand is finished or rolled back as a whole.
        worker.cancel()
        with suppress(asyncio.CancelledError, Exception):
            await worker


class Duplex(Response):
    """An answer that is written while the request is still being read. Starlette's StreamingResponse would take the
    request's own messages while it waits for a disconnect."""

    def __init__(self, answers: AsyncGenerator[bytes, None]) -> None:
        super().__init__(media_type="application/x-ndjson")
        del self.headers["content-length"]
        self.answers = answers

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
        async with aclosing(self.answers) as answers:
            async for answer in answers:
                await send({"type": "http.response.body", "body": answer, "more_body": True})
        await send({"type": "http.response.body", "body": b"", "more_body": False})


async def _work(
    chunks: AsyncIterator[bytes],
    engine: AsyncEngine,
    settings: Settings,
    sender: str,
    answers: asyncio.Queue[bytes | None],
) -> None:
    totals = dict.fromkeys(_RESULTS, 0)
    position = 0
    first: int | None = None
    try:
        async for lines in _batches(chunks):
            now = settings.now()
            items = await in_turns(_read_lines(lines, position, now))
            async with session_scope(engine) as session:
                results = await store(session, items, sender=sender, now=now, first_index=position)
                receipt = await give_receipt(
                    session,
                    items,
                    results,
                    sender=sender,
                    now=now,
                    digest=receipts.digest_of(lines),
                    stream_id=first,
                    first_index=position,
                )
            first = first or receipt
            for name, number in count(results).items():
                totals[name] += number
            told = {"receipt": receipt, "from_index": position, "items": len(lines)}
            position += len(lines)
            answers.put_nowait(_encode_lines([*results, told]))
        answers.put_nowait(_encode({"counts": totals, "receipt": first}) + b"\n")
    except (DBAPIError, PoolTimeout, asyncpg.PostgresError, asyncpg.InterfaceError, OSError, TimeoutError):
        stopped = {
            "error": "unavailable",
            "from_index": position,
            "reason": "the database does not answer; send again from this line on",
            "reason_vi": "Cơ sở dữ liệu tạm thời không trả lời; hãy gửi lại từ dòng này.",
            "counts": totals,
            "receipt": first,
        }
        answers.put_nowait(_encode(stopped) + b"\n")
    finally:
        answers.put_nowait(None)


def _read_lines(lines: list[bytes | None], position: int, now: datetime) -> Iterator[Pushed | Refusal]:
    if None not in lines:
        return own_messages.read_lines(lines, position=position, now=now)  # type: ignore[arg-type]
    return (
        _too_long(position + n) if line is None else own_messages.read(line, position=position + n, now=now)
        for n, line in enumerate(lines)
    )


def _too_long(position: int) -> Refusal:
    error = Refused(
        "line", f"Dòng dài quá {LINE_LIMIT // 1024} KB.", f"the line is longer than {LINE_LIMIT // 1024} KB"
    )
    return refusal(error, position=position, raw=position.to_bytes(8, "big"), item=None)


async def _batches(chunks: AsyncIterator[bytes]) -> AsyncIterator[list[bytes | None]]:
    """Lines in batches of at most BATCH; a started batch is given out when the sender pauses. None: a line that was
    too long. Empty lines are no items."""
    reader = asyncio.create_task(_next(chunks))
    pending = b""
    skipping = False
    lines: list[bytes | None] = []
    try:
        while True:
            done, _ = await asyncio.wait({reader}, timeout=PAUSE)
            if not done:
                if lines:
                    yield lines
                    lines = []
                continue
            chunk = reader.result()
            if chunk is None:
                break
            reader = asyncio.create_task(_next(chunks))
            *whole, pending = (pending + chunk).split(b"\n")
            for line in whole:
                if skipping or len(line) > LINE_LIMIT:
                    lines.append(None)
                    skipping = False
                elif line and not line.isspace():
                    lines.append(line)
            if len(pending) > LINE_LIMIT:
                pending, skipping = b"", True
            for batch in _full(lines):
                yield batch
        if skipping:
            lines.append(None)
        elif pending and not pending.isspace():
            lines.append(pending)
        for batch in _full(lines):
            yield batch
        if lines:
            yield lines
    finally:
        reader.cancel()


def _full(lines: list[bytes | None]) -> Iterator[list[bytes | None]]:
    while len(lines) >= BATCH:
        batch = lines[:BATCH]
        del lines[:BATCH]
        yield batch


async def _next(chunks: AsyncIterator[bytes]) -> bytes | None:
    return await anext(chunks, None)
