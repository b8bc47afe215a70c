"""Open dossiers by their appointment, the soonest first: read along the index of appointments, no further than the
page. The appointment is that of the copy that counts; where it tells none, what the procedure's maximum gives, by which
the dossier is judged."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from datetime import datetime
from decimal import ROUND_HALF_UP, Decimal
from typing import NamedTuple

from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession

from services.indicators.queries import FOREIGN, WITHIN, Scope
from shared.calendar import TZ, deadline, local_day, working_days_between, working_time
from shared.db import driver, session_scope
from shared.errors import Invalid
from shared.reasons import Bit, Reason, explain
from shared.vocabulary import BOTH, DurationUnit

MOST_DAYS, MOST_HOURS = 60, 480
"""Further ahead hardly anything has an appointment."""

_WITHIN = re.compile(r"([0-9]{1,3})([dh]?)")


class Ahead(NamedTuple):
    """An open dossier with an appointment to come, as it is judged in the running month."""

    unit_code: str
    code: str
    procedure_code: str
    procedure_name: str | None
    bits: int
    reason: str
    end_at: datetime | None
    due_at: datetime


class Left(NamedTuple):
    """Until an appointment. days: working days after today up to and with its day. hours: of working sessions."""

    days: int
    hours: Decimal


def until(within: str, now: datetime) -> datetime:
    """`3d` or `3`: the end of the third working day after today; `8h`: eight working hours from now.
    Invalid(field="within"): anything else, nothing or too far ahead."""
    match = _WITHIN.fullmatch(within)
    if match is not None:
        hours = match[2] == "h"
        if 0 < int(match[1]) <= (MOST_HOURS if hours else MOST_DAYS):
            unit = DurationUnit.HOUR if hours else DurationUnit.WORKING_DAY
            return deadline(now, int(match[1]), unit)
    raise Invalid(
        f"Viết số ngày làm việc (1d đến {MOST_DAYS}d) hoặc số giờ làm việc (1h đến {MOST_HOURS}h).",
        f"expected working days (1d to {MOST_DAYS}d) or working hours (1h to {MOST_HOURS}h)",
        field="within",
    )


def left(now: datetime, due_at: datetime) -> Left:
    hours = Decimal(int(working_time(now, due_at).total_seconds())) / 3600
    return Left(
        working_days_between(local_day(now), local_day(due_at)), hours.quantize(Decimal("0.1"), ROUND_HALF_UP)
    )


def why(each: Ahead, remaining: Left) -> str:
    """One sentence: what is due when, and what that does to the figure."""
    kind = "Hạn theo thời hạn tối đa của thủ tục" if each.bits & Bit.BY_MAXIMUM else "Hẹn trả"
    begin = f"{kind}: {each.due_at.astimezone(TZ):%H:%M ngày %d/%m/%Y}"
    if each.reason != Reason.RUNNING:
        return f"{begin}. {explain(each.reason, each.bits, each.end_at, each.due_at).vi}"
    hours = str(remaining.hours).replace(".", ",")
    time = "không còn giờ làm việc nào"
    if remaining.hours:
        time = f"còn {remaining.days} ngày làm việc ({hours} giờ làm việc)"
    return f"{begin}, {time}; sau thời điểm đó hồ sơ bị tính quá hạn."


_OPEN = f"bits & {int(Bit.DONE)} = 0"
_PART = f"""
(SELECT unit_code, a.code, procedure_code, name, bits, reason, end_at, deadline_at
   FROM assessment_period a LEFT JOIN procedure p ON p.code = a.procedure_code
  WHERE basis = %s AND period = $2 AND period ~ '-[01]' AND {WITHIN} AND {_OPEN}
    AND deadline_at >= $4 AND deadline_at <= $6 AND (deadline_at, a.code) > ($4, $5)
  ORDER BY deadline_at, a.code LIMIT $7)
"""  # noqa: S608 - names of ours
NEXT = f"""
SELECT * FROM ({_PART % "$1"} UNION ALL {_PART % f"'{BOTH}'"}) AS found ORDER BY deadline_at, code LIMIT $7
"""  # noqa: S608 - names of ours


async def ahead(
    session: AsyncSession, scope: Scope, *, after: tuple[datetime, str], upto: datetime, limit: int
) -> list[Ahead]:
    """The next ones after (appointment, code), in that order; (now, "") begins. The scope's period is a month."""
    connection = await driver(session)
    rows = await connection.fetch(NEXT, scope.basis.value, scope.period.key, scope.unit, *after, upto, limit)
    foreign = FOREIGN[scope.basis]
    return [each._replace(bits=each.bits & ~foreign) for each in (Ahead(*row) for row in rows)]


async def all_ahead(
    engine: AsyncEngine, scope: Scope, *, now: datetime, upto: datetime, page: int = 1_000
) -> AsyncIterator[Ahead]:
    """All of them, each page in a short transaction of its own."""
    after = (now, "")
    while True:
        async with session_scope(engine) as session:
            found = await ahead(session, scope, after=after, upto=upto, limit=page)
        for each in found:
            yield each
        if len(found) < page:
            return
        after = (found[-1].due_at, found[-1].code)
