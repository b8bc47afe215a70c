"""The province's own procedures (đặc thù): what is true of their decision, their publication and their record, by rules
of the sandbox's own (indicators.md §3, 1.1–1.3)."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterator
from datetime import date, datetime
from functools import cache
from typing import NamedTuple

from services.sandbox import features
from services.sandbox.decisions import is_public
from services.sandbox.facts import procedures
from services.sandbox.workdays import ZONE, Workdays, epoch, moment

BEFORE, WITHIN = 5, 5
"""Working days: before the legal text takes effect, and after the decision."""


class Publication(NamedTuple):
    """told: the record says on which days it was decided and made public."""

    code: str
    decided_on: date
    effective_on: date
    public_on: date
    public_until: date
    on_time: bool
    public_on_time: bool
    complete: bool
    told: bool

    def truth(self) -> dict[str, object]:
        return {
            name: value.isoformat() if isinstance(value, date) else value
            for name, value in self._asdict().items()
        }


@cache
def publications() -> tuple[Publication, ...]:
    """Of those that are public."""
    return tuple(_all())


def _all() -> Iterator[Publication]:
    for procedure in procedures():
        own, public_on = features.own_decision(procedure), features.public_on(procedure)
        if own is None or public_on is None or not is_public(procedure):
            continue
        decided_on, effective_on = own[1], features.takes_effect_on(procedure)
        until = _worked(decided_on, WITHIN)
        yield Publication(
            procedure.code,
            decided_on,
            effective_on,
            public_on,
            until,
            decided_on <= _worked(effective_on, -BEFORE),
            public_on <= until,
            features.is_complete(procedure),
            features.tells_days(procedure),
        )


def counts(begin: int, end: int) -> dict[str, tuple[int, int]]:
    """The figures of 1.1–1.3 by the portal's codes, of [begin, end)."""
    first, last = moment(begin).date(), moment(end - 1).date()
    mine = publications()
    announced = [each for each in mine if first <= each.decided_on <= last]
    published = [
        each for each in mine if any(first <= day <= last for day in (each.public_on, each.public_until))
    ]
    return {
        "PUBLISH_ON_TIME": (sum(each.on_time for each in announced), len(announced)),
        "PUBLIC_UPDATE_ON_TIME": (sum(each.public_on_time for each in published), len(published)),
        "PUBLIC_CONTENT_FULL": (sum(each.complete for each in mine), len(mine)),
    }


@cache
def _days() -> list[int]:
    return Workdays(date(2023, 1, 1), date(2031, 12, 31)).days


def _worked(day: date, count: int) -> date:
    """The count-th working day after a day, or before it."""
    at = epoch(datetime(day.year, day.month, day.day, tzinfo=ZONE))
    place = bisect_right(_days(), at) + count - 1 if count > 0 else bisect_left(_days(), at) + count
    return moment(_days()[place]).date()
