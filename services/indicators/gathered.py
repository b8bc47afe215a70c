"""The temporary table `gathered` of a recount: each dossier with its shape, as far as SQL can tell it (plain.py).

A dossier is plain where its copy that counts and the provincial one tell the same, it has ended at a told moment or
goes on, and nothing of it lies ahead but its appointment; with at most one request for more papers; without an
appointment where the procedure's maximum is counted in days, or nobody knows any.
"""

from __future__ import annotations

from datetime import datetime, time, timedelta

import asyncpg

from services.indicators.copies import maxima
from services.indicators.rules.assess import SINCE
from services.indicators.rules.facts import LEAST, NEEDED, Duration
from services.indicators.rules.handling import LONGEST
from shared.calendar import TZ, deadline, local_day, period_of
from shared.db import rows_to_columns
from shared.errors import Invalid
from shared.vocabulary import TERMINAL, DurationUnit, Portal

SHAPE = "place, a1, b1, a2, b2, a3, b3, received_in, ended_in, due_in, turn, complained_in, asked_in, due_by"
PLACES = {1: Portal.NATIONAL, 2: Portal.SENT}
"""Which copy SQL supposes to count; 0: none, then the provincial one is looked at."""

_ENDS = ", ".join(str(int(state)) for state in sorted(TERMINAL))

# Two numbers hold all that is asked of a copy beside its moments and names, each in the width of its type: 32 bits for
# a mask, 16 for the state, 13 for the channel. $1: now.
_SEEN = f"""
SELECT code, unit_code, procedure_code, received_at, due_at, vanished_at IS NULL AS there,
       CASE WHEN state IN ({_ENDS}) THEN finished_at END AS end_at,
       CASE WHEN requests = 1 THEN nullif(supplements -> 0 ->> 'requested_at', '')::timestamptz END AS asked_at,
       CASE WHEN requests = 1 THEN nullif(supplements -> 0 ->> 'completed_at', '')::timestamptz END AS answered_at,
       requests = 1 AND coalesce(supplements -> 0 ->> 'due_after', '') <> '' AS moved,
       (known::bigint << 32) | facts AS a,
       (facts_known::bigint << 32) | ((coalesce(state, 0)::bigint & 65535) << 16) | (coalesce(channel, 0)::bigint << 3)
         | ((vanished_at IS NOT NULL)::int << 2) | (cancelled::int << 1) | (version IS NULL)::int AS b,
       version IS NOT NULL AND vanished_at IS NULL AND known & {int(LEAST)} = {int(LEAST)} AS tells,
       known & {int(NEEDED)} = {int(NEEDED)} AS whole,
       NOT cancelled AND received_at <= $1 AND coalesce(channel, 0) BETWEEN 0 AND 8191
         AND (requests = 0 OR requests = 1
           AND coalesce(nullif(supplements -> 0 ->> 'requested_at', '')::timestamptz <= $1, false))
         AND (coalesce(state NOT IN ({_ENDS}), true)
           OR finished_at <= least($1, received_at + interval '{LONGEST} seconds')) AS plain
  FROM (SELECT *, CASE WHEN step_status <> 0 AND step_status_at IS NOT NULL
                        AND (version IS NULL OR step_status_at > version)
                       THEN step_status ELSE status END AS state,
               CASE jsonb_typeof(supplements) WHEN 'array' THEN jsonb_array_length(supplements) ELSE 0 END AS requests
          FROM dossier WHERE portal = '%s') AS d
"""  # noqa: S608 - numbers of ours
_OWN = (
    "unit_code", "procedure_code", "received_at", "due_at", "end_at", "asked_at", "answered_at", "moved",
)  # fmt: skip
_CASES = ", ".join(
    f"CASE place WHEN 1 THEN n.{each} WHEN 2 THEN s.{each} ELSE p.{each} END AS {each}" for each in _OWN
)
_COPIES = f"""
SELECT code, place, coalesce(n.a, -1) AS a1, coalesce(n.b, -1) AS b1, coalesce(s.a, -1) AS a2, coalesce(s.b, -1) AS b2,
       coalesce(p.a, -1) AS a3, coalesce(p.b, -1) AS b3, {_CASES},
       coalesce(CASE place WHEN 1 THEN n.plain WHEN 2 THEN s.plain AND n.there ELSE p.tells AND p.plain END, false)
         AND (place = 0 OR p.tells IS NOT TRUE OR p.plain AND CASE place
           WHEN 1 THEN {" AND ".join(f"n.{each} IS NOT DISTINCT FROM p.{each}" for each in _OWN)}
           ELSE {" AND ".join(f"s.{each} IS NOT DISTINCT FROM p.{each}" for each in _OWN)} END) AS plain
  FROM ({_SEEN % Portal.NATIONAL.value}) AS n FULL JOIN ({_SEEN % Portal.SENT.value}) AS s USING (code)
       FULL JOIN ({_SEEN % Portal.PROVINCIAL.value}) AS p USING (code)
       CROSS JOIN LATERAL (
         SELECT CASE WHEN n.tells AND n.whole THEN 1 WHEN s.tells THEN 2 WHEN n.tells THEN 1 ELSE 0 END AS place
       ) AS chosen
"""  # noqa: S608
_COMPLAINED = """
SELECT dossier_code AS code, min(sent_at) AS complained_at FROM petition WHERE dossier_code IS NOT NULL GROUP BY 1
"""
_OWN_DATE, _MAXIMUM, _NO_MAXIMUM, _NO_PROCEDURE = 1, 2, 3, 4
"""due_by; 0: only the core can tell."""
# $3, $4: procedure and number of its maximum; $5 to $7: number, day of receipt, the last moment of the duration (null:
# it says nothing). Looked up only for those without an appointment.
_LIMITED = f"""
SELECT g.code, place, a1, b1, a2, b2, a3, b3, plain, unit_code, procedure_code, received_at, end_at, asked_at,
       answered_at, moved, coalesce(due_at, l.at) AS due_at,
       CASE WHEN due_at IS NOT NULL THEN {_OWN_DATE} WHEN coalesce(procedure_code, '') = '' THEN {_NO_PROCEDURE}
            WHEN m.no IS NULL THEN {_NO_MAXIMUM} WHEN l.no IS NULL THEN 0 WHEN l.at IS NULL THEN {_NO_MAXIMUM}
            ELSE {_MAXIMUM} END AS due_by
  FROM ({_COPIES}) AS g
       LEFT JOIN unnest($3::text[], $4::int[]) AS m(code, no)
         ON m.code = CASE WHEN due_at IS NULL THEN procedure_code END
       LEFT JOIN unnest($5::int[], $6::date[], $7::timestamptz[]) AS l(no, day, at)
         ON l.no = m.no AND l.day = (received_at AT TIME ZONE '{TZ.key}')::date
"""  # noqa: S608
_WAITED = f"""
SELECT l.*, CASE WHEN asked_at IS NULL OR answered_at IS NULL OR end_at IS NULL OR moved AND due_by <> {_MAXIMUM}
                 THEN interval '0'
                 ELSE greatest(least(answered_at, end_at) - asked_at, interval '0') END AS wait
  FROM ({_LIMITED}) AS l
"""  # noqa: S608
# $2: the first moments of the months. told_end: the end after the rules. turn: which moment comes first.
_GATHER = f"""
CREATE TEMP TABLE gathered ON COMMIT DROP AS
SELECT w.code, place, a1, b1, a2, b2, a3, b3, due_by, unit_code, procedure_code, received_at, due_at, end_at, asked_at,
       end_at - wait AS told_end, plain AND due_by <> 0 AND coalesce(complained_at <= $1, true) AS plain,
       coalesce(width_bucket(complained_at, $2::timestamptz[]), -1) AS complained_in,
       coalesce(width_bucket(end_at, $2::timestamptz[]), -1) AS ended_in,
       coalesce(width_bucket(asked_at, $2::timestamptz[]), -1) AS asked_in,
       coalesce(width_bucket(due_at, $2::timestamptz[]), -1) AS due_in,
       width_bucket(received_at, $2::timestamptz[]) AS received_in,
       coalesce((due_at >= asked_at)::int, 0) << 3 | (wait > interval '0')::int << 4 | coalesce(
         CASE WHEN end_at IS NULL THEN (due_at >= $1)::int ELSE (due_at >= end_at - wait)::int << 1 END, 0)
         | coalesce((end_at >= received_at)::int, 0) << 2 AS turn
  FROM ({_WAITED}) AS w LEFT JOIN ({_COMPLAINED}) AS c ON c.code = w.code
"""  # noqa: S608


async def gather(connection: asyncpg.Connection, now: datetime) -> None:
    """Make the table, which the transaction's end drops. now: aware."""
    durations: dict[Duration, int] = {}
    procedures = [
        (code, durations.setdefault(each, len(durations)))
        for code, each in (await maxima(connection)).items()
    ]
    limits = [
        (number, start.date(), _limit(start, duration))
        for duration, number in durations.items()
        if duration.unit is not DurationUnit.HOUR  # there the time of day counts
        for start in _days(now)
    ]
    await connection.execute(
        _GATHER, now, _months(now), *rows_to_columns(procedures, 2), *rows_to_columns(limits, 3)
    )


def _limit(start: datetime, duration: Duration) -> datetime | None:
    try:
        return deadline(start, duration.value, duration.unit)
    except (Invalid, OverflowError):
        return None


def _days(now: datetime) -> list[datetime]:
    """Noon of each day from the rule's first on: of what was received before, the core knows the limit."""
    noon = datetime.combine(SINCE, time(12), TZ)
    return [noon + timedelta(days=n) for n in range((local_day(now) - SINCE).days + 1)]


def _months(now: datetime) -> list[datetime]:
    """The first moments of the months that figures can be about, and of one more."""
    month = period_of("month", datetime(SINCE.year, SINCE.month, SINCE.day, tzinfo=TZ))
    last = period_of("year", now).end
    found = [month.start]
    while month.start < last:
        month = month.next()
        found.append(month.start)
    return found
