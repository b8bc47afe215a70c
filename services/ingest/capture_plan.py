"""When the published figures are captured, and which periods (reporting-api.md §8, §10). Pure.

The portal renews its figures about 02:00; we ask once a day about 05:00, and later the same morning where that
failed. The periods: the running year, quarter and month, and the last ended ones while they are still restated, or
until there is a complete capture of them. A day that is not captured can never be had again.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Sequence
from datetime import date, datetime, time, timedelta
from typing import NamedTuple

from shared.calendar import TZ, Period, PeriodKind, local_day, period_of

KINDS: tuple[PeriodKind, ...] = ("month", "quarter", "year")
FIRST_YEAR = 2026
"""The new portal has nothing usable before (§3)."""
RESTATED_DAYS = 15
"""So many days after its end a period is asked for again (§10)."""
HOUR = time(5, 0, tzinfo=TZ)
SPREAD = timedelta(minutes=10)
AGAIN = timedelta(hours=1)
TRIES = 3
"""Runs of one morning."""
WINDOW = timedelta(minutes=30)
"""Within so long all endpoints of a capture are asked; what took longer is two observations (§10, atomicity)."""


def periods(now: datetime, known: Collection[str]) -> list[Period]:
    """What is captured now; the shortest first. `known`: keys of periods with a complete capture from after their
    end."""
    wanted: list[Period] = []
    today = local_day(now)
    for kind in KINDS:
        running = period_of(kind, now)
        ended = running.previous()
        recent = today - ended.last_day <= timedelta(days=RESTATED_DAYS)
        if recent or ended.key not in known:
            wanted.append(ended)
        wanted.append(running)
    return [period for period in wanted if period.year >= FIRST_YEAR]


def start_of(day: date) -> datetime:
    """When a day's capture begins: about 05:00, another minute each day, the same for every worker."""
    seed = int.from_bytes(hashlib.blake2b(day.isoformat().encode(), digest_size=4).digest(), "big")
    spread = int(2 * SPREAD.total_seconds()) + 1
    return datetime.combine(day, HOUR) - SPREAD + timedelta(seconds=seed % spread)


class Tried(NamedTuple):
    """A run of today that has ended. `limited`: the portal asked us to slow down."""

    good: bool
    ended_at: datetime
    limited: bool = False


def is_due(now: datetime, tried: Sequence[Tried]) -> bool:
    """Whether a run is to be asked for, by what was tried today already. A worker that was away at five o'clock
    asks as soon as it is back."""
    if now < start_of(local_day(now)) or len(tried) >= TRIES:
        return False
    if any(each.good or each.limited for each in tried):
        return False
    return all(each.ended_at + AGAIN <= now for each in tried)


def report_day(captured_at: datetime) -> date:
    """The day of which the figures are, where the portal renewed them in the night before."""
    return local_day(captured_at) - timedelta(days=1)
