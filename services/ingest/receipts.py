"""Receipts of pushes: what was taken from which key, when, item by item.

A receipt is written in the transaction of its data: if it is there, so are its items. One row a push (a stream: one a
batch), so that the way of a push does not get longer with its items. What it tells of the items is bounded: up to
SMALL items each one with its code; of larger pushes runs of equal results in order (`a1998`: 1,998 accepted), and the
refused ones with code and field. So every item keeps its place and its result, and a dossier costs 30 bytes in a small
push and next to none in a large one, whose codes the sender has in the same order. Receipts are kept for KEPT.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from itertools import groupby
from typing import Any

import msgspec
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from services.ingest.service import ACCEPTED, REJECTED, STALE, UNCHANGED
from shared.calendar import TZ
from shared.db import driver
from shared.errors import NotFound

SMALL = 100
"""Up to so many items each is told with its code."""
REFUSALS = 200
"""Of a larger push at most so many refused items are told one by one; the quarantine has them all."""
KEPT = timedelta(days=180)
_PRUNED = 5_000

STORED, PARTLY, REFUSED = "stored", "partly", "refused"
_RESULTS = {"a": ACCEPTED, "u": UNCHANGED, "s": STALE, "r": REJECTED}
_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(list[str | list[str | None]]).decode

Told = tuple[str | None, str | None]
"""(code, field at fault) of an item."""


def digest_of(parts: Sequence[bytes | None]) -> bytes:
    """SHA-256 of the bytes that came; a line that was too long to be kept counts as empty."""
    return hashlib.sha256(b"\n".join([part or b"" for part in parts])).digest()


def items_of(results: Sequence[str], told: Callable[[int], Told]) -> str:
    """The column push_receipt.items. Pure. `told` is asked only for the items that are told one by one."""
    items: list[object] = []
    small = len(results) <= SMALL
    refusals = 0
    position = 0
    for result, run in groupby(results):
        count = len(list(run))
        each = count if small else min(count, REFUSALS - refusals) if result == REJECTED else 0
        for n in range(position, position + each):
            code, field = told(n)
            items.append([code, result[0], field] if field else [code, result[0]])
        if result == REJECTED:
            refusals += each
        if count > each:
            items.append(f"{result[0]}{count - each}")
        position += count
    return _encode(items).decode()


def read_items(items: str, first_index: int) -> list[dict[str, Any]]:
    """The items of a receipt, with their places: one by one, or `count` of them in a row."""
    found: list[dict[str, Any]] = []
    index = first_index
    for item in _decode(items):
        count = 1
        if isinstance(item, str):
            count = int(item[1:])
            told: dict[str, Any] = {"code": None, "result": _RESULTS[item[0]], "field": None}
        else:
            code, result, *field = item
            told = {"code": code, "result": _RESULTS[str(result)], "field": field[0] if field else None}
        found.append({"index": index, "count": count, **told})
        index += count
    return found


_INSERT = """
INSERT INTO push_receipt (key_id, door, portal, received_at, stream_id, first_index, accepted, unchanged, stale,
                          rejected, state, digest, items)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13) RETURNING id
"""


async def write(
    session: AsyncSession,
    *,
    key: str,
    door: str,
    portal: str,
    now: datetime,
    digest: bytes,
    results: Sequence[str],
    told: Callable[[int], Told],
    stream_id: int | None = None,
    first_index: int = 0,
) -> int:
    """The receipt's id. `results`: one per item, in order. The items must have been stored in this session before."""
    counts = Counter(results)
    rejected = counts[REJECTED]
    state = STORED if not rejected else REFUSED if rejected == len(results) else PARTLY
    # The transaction is open already: what driver() does to make sure of that is a third of a small push's receipt.
    raw = await (await session.connection()).get_raw_connection()
    connection: Any = raw.driver_connection
    if not connection.is_in_transaction():
        connection = await driver(session)
    receipt: int = await connection.fetchval(
        _INSERT,
        key,
        door,
        portal,
        now,
        stream_id,
        first_index,
        counts[ACCEPTED],
        counts[UNCHANGED],
        counts[STALE],
        rejected,
        state,
        digest,
        items_of(results, told),
    )
    return receipt


async def prune(session: AsyncSession, *, now: datetime) -> int:
    """Forget the oldest receipts, a part at a time. Returns how many."""
    result = await session.execute(
        text(
            "DELETE FROM push_receipt WHERE id IN (SELECT id FROM (SELECT id, received_at FROM push_receipt"
            " ORDER BY id LIMIT :limit) AS oldest WHERE received_at < :before) RETURNING id"
        ),
        {"limit": _PRUNED, "before": now - KEPT},
    )
    return len(result.all())


_HEAD = (
    "id, key_id, door, portal, received_at, stream_id, first_index, accepted, unchanged, stale, rejected, state,"
    " encode(digest, 'hex') AS digest"
)


async def listing(
    session: AsyncSession,
    *,
    key: str | None,
    door: str | None,
    stream: int | None,
    since: datetime | None,
    until: datetime | None,
    before: int | None,
    limit: int,
) -> list[dict[str, Any]]:
    """Receipts without their items, the newest first, older than `before`. `key` None: every key's."""
    rows = await session.execute(
        text(
            f"SELECT {_HEAD} FROM push_receipt WHERE (CAST(:key AS text) IS NULL OR key_id = :key)"  # noqa: S608
            " AND (CAST(:door AS text) IS NULL OR door = :door)"
            " AND (CAST(:stream AS bigint) IS NULL OR id = :stream OR stream_id = :stream)"
            " AND (CAST(:since AS timestamptz) IS NULL OR received_at >= :since)"
            " AND (CAST(:until AS timestamptz) IS NULL OR received_at < :until)"
            " AND (CAST(:before AS bigint) IS NULL OR id < :before) ORDER BY id DESC LIMIT :limit"
        ),
        {
            "key": key,
            "door": door,
            "stream": stream,
            "since": since,
            "until": until,
            "before": before,
            "limit": limit,
        },
    )
    return [_shown(dict(row._mapping)) for row in rows]


async def read(session: AsyncSession, receipt: int, *, key: str | None) -> dict[str, Any]:
    """One receipt with its items. Raises NotFound, also for another key's."""
    row = (
        await session.execute(
            text(
                f"SELECT {_HEAD}, items FROM push_receipt"  # noqa: S608
                " WHERE id = :id AND (CAST(:key AS text) IS NULL OR key_id = :key)"
            ),
            {"id": receipt, "key": key},
        )
    ).one_or_none()
    if row is None:
        raise NotFound("Không có biên nhận này.", "There is no such receipt.", field="receipt_id")
    shown = _shown(dict(row._mapping))
    return shown | {"items": read_items(row.items, row.first_index)}


def _shown(row: dict[str, Any]) -> dict[str, Any]:
    return row | {"received_at": row["received_at"].astimezone(TZ)}
