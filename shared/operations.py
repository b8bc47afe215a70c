"""/health, /ready and /metrics. What the workers do is read from the database, so one address tells of them all."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from fastapi import APIRouter, Request, Response
from fastapi.responses import HTMLResponse, JSONResponse
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Gauge, generate_latest
from sqlalchemy import text

from migrations import runner
from shared import problems, queue
from shared.alive import SILENCE
from shared.db import Session
from shared.vocabulary import Consumer

router = APIRouter(tags=["operations"])

# By sync_state, which has one row a subject: runs are kept for good, and probes come every few seconds.
_LAST_SYNCS = text(
    "SELECT s.portal, s.subject, r.finished_at FROM sync_state s JOIN sync_run r ON r.id = s.last_run_id"
    " WHERE r.state = 'done'"
)
_LAST_CHECK = text(
    "SELECT checked_at, drift_cells, drift_dossiers FROM tally_check ORDER BY night DESC LIMIT 1"
)

WORKERS = ("ingest", Consumer.RECONCILE.value, Consumer.INDICATORS.value)


@router.get("/health", summary="Alive")
async def health() -> dict[str, str]:
    return {"status": "ok"}


@router.get("/ready", summary="Ready: database, migrations, workers, first sync")
async def ready(request: Request, session: Session) -> JSONResponse:
    """200 when all is well, else 503 with what is missing. A service that runs apart needs its own worker only, and
    tells of all. Under `make run` only after the first sync's summary."""
    settings = request.app.state.settings
    now = settings.now()
    found, head = await runner.current(await session.connection()), runner.head()
    missing: list[str] = []
    detail: dict[str, Any] = {"database": "ok", "migration": found}
    if found != head:
        missing.append(f"migrations: at {found}, this code needs {head}")
    else:
        rows = await session.execute(text("SELECT name, at FROM heartbeat"))
        beats: dict[str, datetime] = {name: at for name, at in rows}  # noqa: C416 - dict() takes a Result for a mapping
        detail["workers"] = {name: _since(now, beats.get(name)) for name in WORKERS}
        # The database's clock and a fixed CHISO_NOW may differ; a heartbeat from the future is no silence.
        needed = request.app.state.workers
        missing += [f"worker {n}" for n in needed if n not in beats or now - beats[n] > SILENCE]
        detail["pending_changes"] = await queue.pending(session, now=now)
        detail["last_sync"] = {
            f"{portal}/{subject}": at.astimezone(now.tzinfo).isoformat()
            for portal, subject, at in await session.execute(_LAST_SYNCS)
        }
        if settings.ready_after_summary and "summary" not in beats:
            missing.append("first sync and its summary")
    return JSONResponse(
        {"ready": not missing, "missing": missing, **detail}, status_code=503 if missing else 200
    )


def _since(now: datetime, at: datetime | None) -> str:
    return "never seen" if at is None else f"seen {max(0, int((now - at).total_seconds()))} s ago"


@router.get("/docs/problems", include_in_schema=False, response_class=HTMLResponse)
async def problem_kinds() -> str:
    return problems.page()


@router.get("/metrics", summary="Prometheus", response_class=Response)
async def metrics(request: Request, session: Session) -> Response:
    registry = CollectorRegistry()
    now = request.app.state.settings.now()
    due = Gauge("chiso_changes_due", "Changes that wait for a consumer", ["consumer"], registry=registry)
    for consumer, count in (await queue.pending(session, now=now)).items():
        due.labels(consumer).set(count)
    findings = Gauge("chiso_findings_open", "Open findings", ["kind"], registry=registry)
    for kind, count in await session.execute(
        text("SELECT kind, count(*) FROM finding WHERE state = 'open' GROUP BY kind")
    ):
        findings.labels(kind).set(count)
    circuits = Gauge(
        "chiso_circuit_open", "Portals that are not asked until a person says so", registry=registry
    )
    circuits.set(await session.scalar(text("SELECT count(*) FROM circuit WHERE closed_at IS NULL")) or 0)
    captured = Gauge("chiso_capture_age_seconds", "Since the newest complete capture", registry=registry)
    newest = await session.scalar(text("SELECT max(captured_at) FROM capture WHERE state = 'complete'"))
    captured.set(float("nan") if newest is None else max(0.0, (now - newest).total_seconds()))
    drift = Gauge("chiso_tally_drift_cells", "Figures that differ from their dossiers", registry=registry)
    drifted = Gauge("chiso_tally_drift_dossiers", "Dossiers judged otherwise than kept", registry=registry)
    checked = Gauge("chiso_tally_check_age_seconds", "Since the last self-check", registry=registry)
    last = (await session.execute(_LAST_CHECK)).first()
    drift.set(float("nan") if last is None else last.drift_cells)
    drifted.set(float("nan") if last is None else last.drift_dossiers)
    checked.set(float("nan") if last is None else max(0.0, (now - last.checked_at).total_seconds()))
    refused = Gauge("chiso_quarantine_items", "Refused items kept", ["door"], registry=registry)
    for door, count in await session.execute(text("SELECT door, count(*) FROM quarantine GROUP BY door")):
        refused.labels(door).set(count)
    age = Gauge(
        "chiso_sync_age_seconds", "Since the last finished pull", ["portal", "subject"], registry=registry
    )
    for portal, subject, at in await session.execute(_LAST_SYNCS):
        age.labels(portal, subject).set(max(0.0, (now - at).total_seconds()))
    body = generate_latest(request.app.state.registry) + generate_latest(registry)
    return Response(body, media_type=CONTENT_TYPE_LATEST)
