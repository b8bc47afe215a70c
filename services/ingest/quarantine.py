"""What the doors refused: listed, and read again after a fix.

A refused item is read again from the fields that were kept, through the door that refused it, and only where they are
all that this door needs: an item put together from less would say of a field that it is empty when it was not. A row
that was read again is marked, never deleted.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import msgspec
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from services.ingest import own_messages, petition_messages, petitions, service
from services.ingest.normalise import Head, Refusal, Step
from services.ingest.petition_messages import PetitionRow
from services.ingest.portals import igate_messages, national_messages
from shared.calendar import TZ
from shared.errors import Conflict, NotFound
from shared.vocabulary import Portal

_encode = msgspec.json.Encoder().encode


class NotEnough(Conflict):
    """The item cannot be read again from what was kept; the sentence says what to do instead. `dropped`: the fields
    whose values were not kept."""


@dataclass(slots=True)
class _Again:
    """What one item says when it is read again."""

    portal: Portal
    via: str
    heads: Sequence[Head | Refusal] = ()
    steps: Sequence[Step | Refusal] = field(default_factory=list)
    petitions: Sequence[PetitionRow | Refusal] = ()


# What a search of iGate tells beside what a head needs: ids of its own, names of states and ancestors, and the officer,
# whom the next change of the dossier brings.
_NOT_NEEDED = (
    "currentTask",
    "dossierStatus.name",
    "procedure.id",
    "agency.id",
    "agency.name",
    "agency.parent",
    "agency.ancestors",
)


def _needed(door: str, dropped: Sequence[str]) -> list[str]:
    return [path for path in dropped if not (door == "pull" and path.startswith(_NOT_NEEDED))]


def _read(door: str, content: dict[str, Any], databases: Collection[str], now: datetime) -> _Again | None:
    """None: a door whose items are not read one by one."""
    raw = _encode(content)
    if door == "dossiers":
        item = own_messages.read(raw, position=0, now=now)
        if isinstance(item, Refusal):
            return _Again(Portal.PROVINCIAL, "push", [item])
        return _Again(item.portal, "push", [item.head], item.steps)
    if door == "petitions":
        read = petition_messages.read(raw, position=0, now=now)
        return _Again(Portal.PROVINCIAL, "push", petitions=[read])
    if door == "dvcqg":
        if "ThoiDiemXuLy" in content:
            return _Again(Portal.SENT, "push", steps=national_messages.steps(b"[" + raw + b"]", now=now))
        heads = national_messages.heads(b"[" + raw + b"]", databases=databases, now=now)
        return _Again(Portal.SENT, "push", heads)
    if door == "list":
        heads = national_messages.heads(b"[" + raw + b"]", databases=databases, now=now)
        return _Again(Portal.NATIONAL, "list", heads)
    if door == "pull":
        return _Again(Portal.PROVINCIAL, "pull", igate_messages.read([msgspec.Raw(raw)], now=now).heads)
    return None


_INSTEAD = {
    "dossiers": ("hãy sửa ở hệ thống gửi và gửi lại", "mend it at the sender and push it again"),
    "dvcqg": ("hãy sửa ở hệ thống gửi và gửi lại", "mend it at the sender and send it again"),
    "petitions": ("hãy sửa ở hệ thống gửi và gửi lại", "mend it at the sender and push it again"),
    "ratings": ("hãy sửa ở hệ thống gửi và gửi lại", "mend it at the sender and send it again"),
    "pull": (
        "hãy sửa trên hệ thống một cửa: hồ sơ được cập nhật sẽ được lấy lại",
        "mend it in the one-stop system: a changed dossier is pulled again",
    ),
    "list": ("lần lấy danh sách sau sẽ đọc lại mục này", "the next pull of the list reads it again"),
    "units": ("hãy lấy lại danh mục đơn vị", "pull the units again"),
    "procedures": ("hãy lấy lại danh mục thủ tục", "pull the procedures again"),
}
_READ_AGAIN = frozenset({"dossiers", "petitions", "dvcqg", "list", "pull"})
_ELSE = ("hãy sửa tệp và nạp lại", "mend the file and import it again")


async def replay(
    session: AsyncSession,
    refusal: int,
    *,
    sender: str | None,
    by: str,
    databases: Collection[str],
    now: datetime,
) -> dict[str, Any]:
    """Read a refused item again through its own door, in the caller's transaction. What came of it is the row's
    `result`: accepted, unchanged or stale, which ends it (asked again, the same is answered), or rejected, with the
    reason of today. `sender`: only rows of this one. `databases`: as national_messages.heads takes them.
    Raises NotFound, NotEnough."""
    row = (
        await session.execute(
            text(
                "SELECT * FROM quarantine WHERE id = :id"
                " AND (CAST(:sender AS text) IS NULL OR sender = :sender) FOR UPDATE"
            ),
            {"id": refusal, "sender": sender},
        )
    ).one_or_none()
    if row is None:
        raise NotFound("Không có mục này.", "There is no such item.", field="refusal_id")
    before = dict(row._mapping)
    if _over(before):
        return shown(before)
    again = _read_kept(before, databases, now)
    items = (*again.heads, *again.steps, *again.petitions)
    refused = [item for item in items if isinstance(item, Refusal)]
    marks: dict[str, Any] = {"id": refusal, "at": now, "by": by, "result": service.REJECTED}
    told: dict[str, Any] = {}
    if refused:
        told = {"field": refused[0].field, "reason": f"{refused[0].vi} | {refused[0].en}"}
    else:
        marks["result"] = await _take(session, again, before, now)
    await session.execute(
        text("UPDATE quarantine SET replayed_at = :at, replayed_by = :by, result = :result WHERE id = :id"),
        marks,
    )
    return shown(before | {"replayed_at": now, "replayed_by": by, "result": marks["result"]} | told)


async def _take(session: AsyncSession, again: _Again, row: dict[str, Any], now: datetime) -> str:
    """Through the door that had refused it; what came of it."""
    door, sender = row["door"], row["sender"]
    if again.petitions:
        stored = await petitions.accept_petitions(
            session, again.petitions, via=again.via, door=door, sender=sender, now=now
        )
        return stored.results[0]
    outcome = await service.accept(
        session,
        portal=again.portal,
        via=again.via,
        door=door,
        sender=sender,
        now=now,
        heads=again.heads,
        steps=again.steps,
    )
    return outcome.results[0] if outcome.results else service.ACCEPTED


def _over(row: dict[str, Any]) -> bool:
    """Read again and taken, and not refused anew since."""
    return row["result"] not in (None, service.REJECTED) and row["replayed_at"] >= row["refused_at"]


def _read_kept(row: dict[str, Any], databases: Collection[str], now: datetime) -> _Again:
    vi, en = _INSTEAD.get(row["door"], _ELSE)
    if row["content"] is None:
        raise NotEnough(
            f"Mục này không đọc được lúc đến nên không có nội dung để đọc lại; {vi}.",
            f"It could not be read when it came, so nothing of it was kept; {en}.",
        )
    missing = _needed(row["door"], row["dropped"])
    if missing:
        raise NotEnough(
            f"Nội dung được giữ không đủ để đọc lại (có giá trị không được phép lưu); {vi}.",
            f"What was kept is not enough (some values must not be stored); {en}.",
            dropped=missing,
        )
    again = _read(row["door"], row["content"], databases, now)
    if again is None:
        raise NotEnough(
            f"Mục của nguồn này không đọc lại từng mục được; {vi}.",
            f"Items of this door are not read again one by one; {en}.",
        )
    return again


async def listing(
    session: AsyncSession,
    *,
    sender: str | None,
    door: str | None,
    field: str | None,
    code: str | None,
    since: datetime | None,
    until: datetime | None,
    replayed: bool | None,
    before: int | None,
    limit: int,
) -> list[dict[str, Any]]:
    """Refused items, the newest first, older than `before`. since, until: of the newest refusal."""
    rows = await session.execute(
        text(
            "SELECT * FROM quarantine WHERE (CAST(:sender AS text) IS NULL OR sender = :sender)"
            " AND (CAST(:door AS text) IS NULL OR door = :door)"
            " AND (CAST(:field AS text) IS NULL OR field = :field)"
            " AND (CAST(:code AS text) IS NULL OR code = :code)"
            " AND (CAST(:since AS timestamptz) IS NULL OR refused_at >= :since)"
            " AND (CAST(:until AS timestamptz) IS NULL OR refused_at < :until)"
            " AND (CAST(:replayed AS boolean) IS NULL OR (replayed_at IS NOT NULL) = :replayed)"
            " AND (CAST(:before AS bigint) IS NULL OR id < :before) ORDER BY id DESC LIMIT :limit"
        ),
        {
            "sender": sender,
            "door": door,
            "field": field,
            "code": code,
            "since": since,
            "until": until,
            "replayed": replayed,
            "before": before,
            "limit": limit,
        },
    )
    return [shown(dict(row._mapping)) for row in rows]


def shown(row: dict[str, Any]) -> dict[str, Any]:
    """Times in Việt Nam's, both sentences of the reason, and whether a replay can be tried."""
    vi, _, en = row["reason"].partition(" | ")
    times = {
        name: value.astimezone(TZ) if (value := row[name]) else None for name in ("refused_at", "replayed_at")
    }
    enough = row["content"] is not None and row["door"] in _READ_AGAIN
    return row | times | {
        "reason": en,
        "reason_vi": vi,
        "digest": row["digest"].hex(),
        "replayable": enough and not _needed(row["door"], row["dropped"]) and not _over(row),
    }  # fmt: skip
