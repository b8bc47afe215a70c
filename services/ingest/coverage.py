"""How far each unit's dossiers are known from each source, and how late they come. Set-based, and bounded by the
dossiers that were received in the last WINDOW: the index on (portal, received_at) leads to them."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from shared import coverage
from shared.calendar import TZ
from shared.vocabulary import Consumer, Portal, Subject

WINDOW = timedelta(days=30)

# The delay of a copy's newest message: from the newest thing that it tells of (its head's version, or its newest step)
# to when we learnt it. A copy from a file has none: files come when somebody sends them.
_DELAYS = """
WITH recent AS (
  SELECT unit_code, portal, via, learnt_at,
         greatest(extract(epoch FROM learnt_at - greatest(version, officer_at)), 0) AS delay
    FROM dossier
   WHERE portal IN ('provincial', 'sent', 'national') AND received_at >= :since AND received_at <= :now
     AND version IS NOT NULL AND vanished_at IS NULL
     AND (:everything OR unit_code = :within OR starts_with(unit_code, :below))
)
SELECT unit_code, portal, via, count(*) AS dossiers, max(learnt_at) AS last_seen_at,
       CASE WHEN via <> 'import' THEN percentile_cont(0.5) WITHIN GROUP (ORDER BY delay) END AS delay_median,
       CASE WHEN via <> 'import' THEN percentile_cont(0.9) WITHIN GROUP (ORDER BY delay) END AS delay_p90
  FROM recent GROUP BY unit_code, portal, via ORDER BY unit_code COLLATE "C" NULLS FIRST, portal, via
"""


async def by_unit(
    session: AsyncSession, *, within: str, province: str, now: datetime
) -> list[dict[str, Any]]:
    """One row per unit at or below `within`, portal and way. What has no unit is the province's (unit_code None)."""
    rows = await session.execute(
        text(_DELAYS),
        {
            "since": now - WINDOW,
            "now": now,
            "everything": within == province,
            "within": within,
            "below": within + ".",
        },
    )
    return [
        {
            "unit_code": row.unit_code,
            "portal": row.portal,
            "via": row.via,
            "dossiers": row.dossiers,
            "last_seen_at": row.last_seen_at.astimezone(TZ),
            "delay_median_seconds": None if row.delay_median is None else round(row.delay_median),
            "delay_p90_seconds": None if row.delay_p90 is None else round(row.delay_p90),
        }
        for row in rows
    ]


_PULLS = {
    "provincial": (Portal.PROVINCIAL, Subject.DOSSIERS),
    "national_list": (Portal.NATIONAL, Subject.DOSSIERS),
    "national_lookups": (Portal.NATIONAL, Subject.LOOKUPS),
}


async def sources(session: AsyncSession, covered: coverage.Coverage, now: datetime) -> list[dict[str, Any]]:
    """Every source of the whole province: when it was last heard of, through when all that it held is known, and what
    went wrong last."""
    seen = await _last_seen(session, now)
    found: list[dict[str, Any]] = []
    for name, (portal, subject) in _PULLS.items():
        run = (
            await session.execute(
                text(
                    "SELECT state, finished_at, error FROM sync_run WHERE portal = :portal AND subject = :subject"
                    " AND state IN ('done', 'failed') ORDER BY id DESC LIMIT 1"
                ),
                {"portal": portal.value, "subject": subject.value},
            )
        ).one_or_none()
        found.append(
            {
                "source": name,
                "last_seen_at": run.finished_at if run and run.state == "done" else None,
                "last_error": run.error if run and run.state == "failed" else None,
            }
        )
    provincial, listed, lookups = found
    provincial |= {"complete_through": covered.provincial_complete_through}
    provincial["last_seen_at"] = _later(provincial["last_seen_at"], seen.get(("provincial", "pull")))
    listed |= {"complete_through": covered.national_complete_through}
    # Every dossier that was to be looked up has been asked for since this moment.
    asked = None if covered.lookups_waiting else covered.oldest_lookup_at
    lookups |= {"complete_through": asked, "waiting": covered.lookups_waiting}
    imported = await session.scalar(text("SELECT max(finished_at) FROM import_run WHERE state = 'done'"))
    found.append({"source": "sent", "last_seen_at": seen.get(("sent", "push"))})
    found.append({"source": "pushed", "last_seen_at": seen.get(("provincial", "push"))})
    found.append({"source": "imports", "last_seen_at": imported})
    gaps = {gap.source: gap for gap in coverage.gaps(covered, Consumer.INDICATORS, until=now, now=now)}
    gap = gaps.get("provincial")
    return [
        _NOTHING
        | {key: value.astimezone(TZ) if isinstance(value, datetime) else value for key, value in row.items()}
        | (
            {"missing_since": gap.since and gap.since.astimezone(TZ), "missing": gap.sentence}
            if gap and row["source"] == "provincial"
            else {}
        )
        for row in found
    ]


_NOTHING: dict[str, Any] = dict.fromkeys(
    ("last_seen_at", "complete_through", "waiting", "last_error", "missing", "missing_since")
)


def _later(one: datetime | None, other: datetime | None) -> datetime | None:
    return max((each for each in (one, other) if each is not None), default=None)


async def _last_seen(session: AsyncSession, now: datetime) -> dict[tuple[str, str], datetime]:
    rows = await session.execute(
        text(
            "SELECT portal, via, max(learnt_at) AS at FROM dossier"
            " WHERE portal IN ('provincial', 'sent', 'national') AND received_at >= :since AND received_at <= :now"
            " GROUP BY portal, via"
        ),
        {"since": now - WINDOW, "now": now},
    )
    return {(row.portal, row.via): row.at for row in rows}
