"""Is what we hold complete, and if not, what is missing since when. Both who tells it beside a figure (indicators) and
who tells it by unit and source (ingest) ask here, so that they never say different things.

The facts are those of the database: `sync_state.complete_through` (everything that a portal held at that moment has
been seen), the change queue, and `presence` (look-ups).
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import NamedTuple

from sqlalchemy.ext.asyncio import AsyncSession

from shared.calendar import TZ
from shared.db import driver
from shared.vocabulary import Consumer, Portal, Subject

STALE = timedelta(hours=2)
"""A complete walk that is older says that the pulls no longer work; they come every few minutes."""
WAITING_LIMIT = 10_000
"""Look-ups that wait are counted up to here."""


class Backlog(NamedTuple):
    """Changes that are due and not worked off; `oldest_at`: since when the first of them has waited."""

    due: int
    oldest_at: datetime | None


class Coverage(NamedTuple):
    """For the whole province. lookups_waiting: dossiers that were never looked up (WAITING_LIMIT: or more)."""

    backlog: dict[Consumer, Backlog]
    provincial_complete_through: datetime | None
    national_complete_through: datetime | None
    oldest_lookup_at: datetime | None
    lookups_waiting: int


class Gap(NamedTuple):
    """since None: from the beginning."""

    source: str
    since: datetime | None
    sentence: str


async def read(session: AsyncSession, *, now: datetime) -> Coverage:
    connection = await driver(session)
    backlog = {consumer: Backlog(0, None) for consumer in Consumer}
    for consumer, due, oldest in await connection.fetch(
        "SELECT consumer, sum(cardinality(codes)), min(wake_at) FROM change WHERE wake_at <= $1 GROUP BY consumer",
        now,
    ):
        backlog[Consumer(consumer)] = Backlog(due, oldest)
    through = dict(
        await connection.fetch(
            "SELECT portal, complete_through FROM sync_state WHERE subject = $1", Subject.DOSSIERS.value
        )
    )
    oldest = await connection.fetchval(
        "SELECT checked_at FROM presence WHERE portal = $1 AND checked_at IS NOT NULL ORDER BY checked_at LIMIT 1",
        Portal.NATIONAL.value,
    )
    waiting = await connection.fetchval(
        "SELECT count(*) FROM (SELECT FROM presence WHERE portal = $1 AND checked_at IS NULL LIMIT $2) AS w",
        Portal.NATIONAL.value,
        WAITING_LIMIT,
    )
    return Coverage(
        backlog,
        through.get(Portal.PROVINCIAL.value),
        through.get(Portal.NATIONAL.value),
        oldest,
        waiting,
    )


def gaps(covered: Coverage, consumer: Consumer, *, until: datetime, now: datetime) -> list[Gap]:
    """What is missing of what happened before `until` (a period's end, or now), for whoever is served by `consumer`.
    Pure."""
    found = []
    backlog = covered.backlog[consumer]
    if backlog.due:
        count = f"{backlog.due:,}".replace(",", ".")
        found.append(Gap("queue", backlog.oldest_at, f"Còn {count} thay đổi chưa được tính."))
    through = covered.provincial_complete_through
    if through is None:
        sentence = "Chưa lần nào lấy được đầy đủ hồ sơ từ hệ thống của tỉnh."
        found.append(Gap(Portal.PROVINCIAL.value, None, sentence))
    elif through < until and (until < now or now - through > STALE):
        sentence = f"Hồ sơ từ hệ thống của tỉnh mới đầy đủ đến {through.astimezone(TZ):%H:%M ngày %d/%m/%Y}."
        found.append(Gap(Portal.PROVINCIAL.value, through, sentence))
    return found
