"""Holding captured scores against the rule sets: a step of the worker, and of `chiso recount` after a change of
rules. Reconcile makes the finding of what differs."""

from __future__ import annotations

from datetime import datetime

import structlog
from sqlalchemy.ext.asyncio import AsyncSession

from services.indicators.rules import engine
from services.indicators.rules.published import Published, recompute
from shared import queue
from shared.calendar import Period
from shared.db import driver, rows_to_columns
from shared.errors import Invalid
from shared.vocabulary import Consumer

log = structlog.get_logger("indicators")

_LOCK = 0x6361_7074
"""Advisory lock: one worker scores captures at a time."""


async def score_captures(session: AsyncSession, *, now: datetime, again: bool = False) -> int:
    """Score the captures that have ended and were not scored yet (`again`: all), in the caller's transaction. Returns
    how many; reconcile is told."""
    connection = await driver(session)
    await connection.execute("SELECT pg_advisory_xact_lock($1)", _LOCK)
    waiting = await connection.fetch(
        "SELECT id, period FROM capture c WHERE state <> 'open' AND ($1 OR NOT EXISTS"
        " (SELECT FROM capture_scoring s WHERE s.capture_id = c.id)) ORDER BY id",
        again,
    )
    for row in waiting:
        await _score(session, row["id"], Period.parse(row["period"]), now=now)
    if waiting:
        await queue.enqueue(session, [queue.CAPTURES], consumers=(Consumer.RECONCILE,), now=now)
    return len(waiting)


async def _score(session: AsyncSession, capture_id: int, period: Period, *, now: datetime) -> None:
    try:
        rules = engine.rule_set_for(period)
    except Invalid:  # no rule set was in force then: nothing to hold them against
        return
    connection = await driver(session)
    rows = await connection.fetch(
        "SELECT endpoint, department_id, component, given, numerator, denominator, score FROM captured_figure"
        " WHERE capture_id = $1 AND endpoint NOT IN ('national', 'province')",
        capture_id,
    )
    outcome = recompute((Published(*row) for row in rows), rules)
    await connection.execute("DELETE FROM capture_score_check WHERE capture_id = $1", capture_id)
    await connection.execute(
        "INSERT INTO capture_score_check"
        " (capture_id, endpoint, department_id, component, numerator, denominator, published, recomputed)"
        " SELECT $1, * FROM unnest($2::text[], $3::uuid[], $4::text[], $5::bigint[], $6::bigint[], $7::numeric[],"
        " $8::numeric[])",
        capture_id,
        *rows_to_columns(
            [
                (
                    each.figure.group,
                    each.figure.department_id,
                    each.figure.component,
                    each.figure.numerator,
                    each.figure.denominator,
                    each.figure.score,
                    each.recomputed,
                )
                for each in outcome.differences
            ],
            7,
        ),
    )
    await connection.execute(
        "INSERT INTO capture_scoring (capture_id, rule_set, checked, differing, uncheckable, scored_at)"
        " VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT (capture_id) DO UPDATE SET rule_set = excluded.rule_set,"
        " checked = excluded.checked, differing = excluded.differing, uncheckable = excluded.uncheckable,"
        " scored_at = excluded.scored_at",
        capture_id,
        rules.id,
        outcome.checked,
        len(outcome.differences),
        outcome.uncheckable,
        now,
    )
    if outcome.differences:
        log.warning(
            "published scores differ from the rule set", capture=capture_id, scores=len(outcome.differences)
        )
