"""Idempotency-Key (api.md): a POST that creates, sent again with the same key and body, is answered as the first time.

The key is locked while its request is worked off, and kept with the answer in the request's own transaction: what was
rolled back, or refused, leaves no key, so that it can be tried again. Kept are hashes, for KEPT.
"""

from __future__ import annotations

import hashlib
from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta
from typing import Annotated, NamedTuple

from fastapi import Header, Request
from fastapi.responses import Response
from pydantic import BaseModel
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from shared.access import Principal
from shared.errors import Conflict, Invalid

KEPT = timedelta(hours=24)
_PRUNED = 5_000

Key = Annotated[
    str | None,
    Header(
        alias="Idempotency-Key",
        min_length=1,
        max_length=255,
        description="Any text of the sender's, new for each thing to create. Sent again within 24 hours: the same body"
        " gets the same answer again, another body 422; 409 while the first is still being worked off",
    ),
]


class StillRunning(Conflict):
    """The first request with this key has not been answered yet."""


class OtherBody(Invalid):
    """The key was used for something else."""


class Made(NamedTuple):
    """What is answered to a request that created something (or found it created)."""

    status: int
    content: BaseModel
    location: str | None = None


async def once(
    session: AsyncSession,
    request: Request,
    principal: Principal,
    key: str | None,
    make: Callable[[], Awaitable[Made]],
    *,
    now: datetime,
) -> Response:
    """The answer of `make`, or the one that was given to this key before (header Idempotent-Replayed). `make` works in
    `session`, whose transaction the caller commits. Without a key: simply made. Raises StillRunning, OtherBody."""
    if key is None:
        return _response(*_told(await make()))
    called = "\n".join((principal.key_id, request.method, request.url.path, key))
    key_hash = hashlib.sha256(called.encode()).digest()
    body = request.url.query.encode() + b"\n" + await request.body()
    body_digest = hashlib.sha256(body).digest()
    lock = {"lock": int.from_bytes(key_hash[:8], "big", signed=True)}
    if not await session.scalar(text("SELECT pg_try_advisory_xact_lock(:lock)"), lock):
        raise StillRunning(
            "Yêu cầu trước với cùng Idempotency-Key đang được xử lý; hãy gửi lại sau.",
            "An earlier request with this Idempotency-Key is still being worked off; send it again later.",
            field="Idempotency-Key",
        )
    # A statement of its own after the lock: it sees what the holder before us has committed.
    before = (
        await session.execute(
            text(
                "SELECT body_digest, status, location, answer FROM idempotency_key"
                " WHERE key_hash = :key_hash AND created_at > :since"
            ),
            {"key_hash": key_hash, "since": now - KEPT},
        )
    ).one_or_none()
    if before is not None:
        if before.body_digest != body_digest:
            raise OtherBody(
                "Idempotency-Key này đã dùng cho một nội dung khác; hãy dùng khóa mới.",
                "This Idempotency-Key was used with another body; take a new one.",
                field="Idempotency-Key",
            )
        answer = _response(before.status, before.location, before.answer)
        answer.headers["Idempotent-Replayed"] = "true"
        return answer
    status, location, content = _told(await make())
    await session.execute(
        text(
            "INSERT INTO idempotency_key (key_hash, body_digest, status, location, answer, created_at)"
            " VALUES (:key_hash, :body_digest, :status, :location, :answer, :now)"
            " ON CONFLICT (key_hash) DO UPDATE SET body_digest = excluded.body_digest, status = excluded.status,"
            " location = excluded.location, answer = excluded.answer, created_at = excluded.created_at"
        ),
        {
            "key_hash": key_hash,
            "body_digest": body_digest,
            "status": status,
            "location": location,
            "answer": content,
            "now": now,
        },
    )
    return _response(status, location, content)


def _told(made: Made) -> tuple[int, str | None, str]:
    return made.status, made.location, made.content.model_dump_json()


def _response(status: int, location: str | None, content: str) -> Response:
    headers = {} if location is None else {"Location": location}
    return Response(content, status, headers, media_type="application/json")


async def prune(session: AsyncSession, *, now: datetime) -> int:
    """Forget the oldest keys, a part at a time. Returns how many."""
    result = await session.execute(
        text(
            "DELETE FROM idempotency_key WHERE key_hash IN (SELECT key_hash FROM idempotency_key"
            " WHERE created_at <= :before ORDER BY created_at LIMIT :limit) RETURNING 1"
        ),
        {"before": now - KEPT, "limit": _PRUNED},
    )
    return len(result.all())
