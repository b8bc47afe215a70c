"""What the national portal publishes, captured: one period after another, each within one window, one call at a
time (reporting-api.md §10)."""

from __future__ import annotations

import time
from typing import Any
from uuid import UUID

from services.ingest import capture_circuit, capture_plan, captures, runs
from services.ingest.portals.http import PortalAnswerInvalid, PortalAway, PortalBlocked, PortalRefused
from services.ingest.portals.reporting import PortalLimited, ReportingPortal, status_of
from services.ingest.portals.reporting_messages import ReportInvalid, read, root_of
from services.ingest.portals.reporting_requests import PATHS, Endpoint, request
from shared.calendar import Period, local_day
from shared.errors import Unavailable


class CaptureImpossible(Unavailable):
    """The province's id is not known: the national list did not come, and never came before."""


async def national_captures(job: runs.Job) -> None:
    """The periods of the run's cursor (asked for), else those that are due. A run that is taken up again goes on with
    the bodies that it lacks, where the window is still open. Raises CircuitOpen, what the client raises, RunLost,
    Stopped. A block opens the circuit; what has come by then is kept as a partial capture."""
    async with job.page() as session:
        await capture_circuit.check(session)
        periods = await _plan(job, session)
    async with ReportingPortal.of(job.settings, retry=job.retry) as portal:
        missing: dict[str, list[str]] = {}
        for place, key in enumerate(periods):
            missing[key] = await _capture(job, portal, Period.parse(key), periods[place + 1 :])
    lacking = {key: found for key, found in missing.items() if found}
    async with job.page() as session:
        now = job.settings.now()
        await runs.finish(
            session,
            job.run,
            now=now,
            complete=not lacking,
            complete_through=None if lacking else now,
            remark=_remark(lacking) if lacking else None,
        )


async def _plan(job: runs.Job, session: Any) -> list[str]:
    """What is left to capture. Captures that no run will end are ended as they are."""
    run, now = job.run, job.settings.now()
    scope = job.settings.province_code
    periods: list[str] | None = run.cursor.get("periods")
    started = "captures" in run.cursor
    if periods is None:
        known = await captures.known_periods(session, scope)
        periods = [period.key for period in capture_plan.periods(now, known)]
    if not started:
        for left in await captures.under_way(session):
            await captures.end(session, left.id, now=now, politeness={"left": True})
        cursor = {"periods": periods, "captures": True}
        await runs.advance(session, run, cursor=cursor, items=0, total=len(periods) * len(Endpoint))
    return periods


async def _capture(job: runs.Job, portal: ReportingPortal, period: Period, rest: list[str]) -> list[str]:
    """One period to its end. Returns the endpoints that are missing."""
    began, calls, repeats = time.monotonic(), portal.calls, portal.repeats

    def politeness() -> dict[str, Any]:
        return {
            "calls": portal.calls - calls,
            "repeats": portal.repeats - repeats,
            "pause_seconds": portal.pause,
            "seconds": round(time.monotonic() - began, 1),
        }

    capture, root = await _begin(job, period)
    for endpoint in Endpoint:
        if endpoint in capture.answered:
            if endpoint is Endpoint.NATIONAL:
                root = await _root_in(job, capture.id) or root
            continue
        if root is None and endpoint is not Endpoint.NATIONAL:
            error = CaptureImpossible(
                "Không rõ mã định danh của tỉnh trên Cổng DVC quốc gia.",
                "the id of the province is not known: the national list has not come yet",
            )
            await _stop(job, capture.id, error, politeness())
            raise error
        root = await _ask(job, portal, capture.id, endpoint, period, root, politeness)
    async with job.page() as session:
        missing = await captures.end(session, capture.id, now=job.settings.now(), politeness=politeness())
        await runs.advance(
            session,
            job.run,
            cursor={"periods": rest, "captures": True},
            items=0,
            accepted=0 if missing else 1,
            rejected=1 if missing else 0,
        )
    return missing


async def _begin(job: runs.Job, period: Period) -> tuple[captures.Open, UUID | None]:
    """The capture of this period that lies open, if its window does, else a new one; and the last known root."""
    now, scope = job.settings.now(), job.settings.province_code
    async with job.page() as session:
        root = await captures.last_root(session, scope)
        for found in await captures.under_way(session):
            if found.period == period.key and now - found.began_at <= capture_plan.WINDOW:
                return found, root
            await captures.end(session, found.id, now=now, politeness={"left": True})
        capture = await captures.begin(session, run_id=job.run.id, period=period, scope=scope, now=now)
    return capture, root


async def _ask(
    job: runs.Job,
    portal: ReportingPortal,
    capture_id: int,
    endpoint: Endpoint,
    period: Period,
    root: UUID | None,
    politeness: Any,
) -> UUID | None:
    """One endpoint: its body is kept before it is read. Returns the root, which the national list tells."""
    now = job.settings.now()
    body = request(endpoint, period, root, local_day(now))
    path = PATHS[endpoint]
    try:
        answered = await portal.ask(path, body)
    except (PortalBlocked, PortalLimited, PortalAway, PortalRefused, PortalAnswerInvalid) as error:
        async with job.page() as session:
            await captures.keep_failure(
                session,
                capture_id,
                endpoint,
                body,
                status=status_of(error),
                error=runs.sentence(error),
                now=job.settings.now(),
            )
        if isinstance(error, PortalAnswerInvalid):
            return root  # no JSON, yet no block: the others may answer
        await _stop(job, capture_id, error, politeness())
        raise
    async with job.page() as session:
        await captures.keep_body(session, capture_id, endpoint, body, answered, now=job.settings.now())
        if endpoint is Endpoint.NATIONAL:
            root = _root(answered.body, job.settings.province_code) or root
            if root is not None:
                await captures.set_root(session, capture_id, root)
        await runs.advance(session, job.run, cursor=job.run.cursor, items=1)
    return root


def _root(body: bytes, code: str) -> UUID | None:
    try:
        return root_of(read(Endpoint.NATIONAL, body), code)
    except ReportInvalid:
        return None


async def _root_in(job: runs.Job, capture_id: int) -> UUID | None:
    async with job.page() as session:
        body = await captures.content(session, capture_id, Endpoint.NATIONAL)
    return None if body is None else _root(body, job.settings.province_code)


async def _stop(job: runs.Job, capture_id: int, error: Exception, politeness: dict[str, Any]) -> None:
    """What has come is kept as a partial capture; a block opens the circuit, and so does silence that lasts."""
    async with job.page() as session:
        now = job.settings.now()
        await captures.end(session, capture_id, now=now, politeness=politeness)
        silent = isinstance(error, PortalAway) and await capture_circuit.away_too_often(session)
        if isinstance(error, PortalBlocked) or silent:
            await capture_circuit.open_up(
                session, status=status_of(error), reason=runs.sentence(error), now=now
            )


def _remark(lacking: dict[str, list[str]]) -> str:
    told = "; ".join(f"{key}: {', '.join(found)}" for key, found in lacking.items())
    return f"Kết xuất chưa đủ: {told}. | incomplete captures: {told}"
