"""Reconcile's REST endpoints about decisions, the catalogue by decision, and the national database beside
it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Sequence
from datetime import date
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Path, Query, Request
from fastapi.responses import Response
from pydantic import AwareDatetime

from services.reconcile import decision_views, decisions
from services.reconcile.api import Reader, UnitCode
from services.reconcile.decision_schemas import (
    CatalogueEntry,
    CatalogueView,
    Day,
    DecisionAccepted,
    DecisionIn,
    DecisionSummary,
    DecisionsView,
    DecisionView,
    LevelName,
    ProcedureReconciliationView,
)
from shared import idempotency
from shared.access import Principal, allow, unit_in_scope
from shared.answers import (
    LIMIT,
    csv_response,
    decode_cursor,
    encode_cursor,
    etag_for,
    figure_headers,
    not_modified,
    wants_csv,
)
from shared.calendar import local_day
from shared.db import Session, session_scope
from shared.problems import responses
from shared.vocabulary import Role

router = APIRouter(prefix="/v1", tags=["decisions"])

Limit = Annotated[int, Query(ge=1, le=LIMIT)]
Cursor = Annotated[str | None, Query(max_length=200)]
_DECISIONS_HEADER = tuple(DecisionSummary.model_fields)
_CATALOGUE_HEADER = tuple(CatalogueEntry.model_fields)


@router.post(
    "/decisions",
    summary="Nạp một quyết định công bố thủ tục hành chính",
    status_code=201,
    response_model=DecisionAccepted,
    responses=responses(400, 401, 403, 409, 413, 422, 503)
    | {200: {"model": DecisionAccepted, "description": "This very text was known already"}},
)
async def add_decision(
    request: Request,
    document: DecisionIn,
    session: Session,
    principal: Annotated[Principal, Depends(allow(Role.CENTRE))],
    key: idempotency.Key = None,
) -> Response:
    """201 for a new decision or a new text of one, 200 where nothing is new. `notes`: what a person should
    look at."""
    text = decisions.normalised(document)
    principal.check(text.unit_code)
    now = request.app.state.settings.now()

    async def make() -> idempotency.Made:
        stored = await decisions.add(session, text, now=now, by=principal.key_id)
        content = await decision_views.decision(session, stored.id) | {
            "result": "created" if stored.created else "unchanged",
            "supersedes": stored.supersedes,
            "notes": decisions.notes(text),
        }
        return idempotency.Made(201 if stored.created else 200, DecisionAccepted.model_validate(content))

    return await idempotency.once(session, request, principal, key, make, now=now)


@router.get(
    "/decisions",
    summary="Các quyết định đã nạp",
    response_model=DecisionsView,
    responses=responses(401, 403, 422, 503),
)
async def list_decisions(
    request: Request,
    session: Session,
    principal: Reader,
    superseded: Annotated[bool, Query(description="Older texts too")] = False,
    limit: Limit = 100,
    cursor: Cursor = None,
) -> Any:
    """In the order in which they became known. Decisions are public: every key that reads may read them
    all. With `Accept: text/csv` the whole list."""
    if wants_csv(request):
        return csv_response(_decisions(request, superseded), _DECISIONS_HEADER, name="decisions")
    after = decode_cursor(cursor, int)[0] if cursor else 0
    after = min(max(after, 0), 2**63 - 1)
    items = await decision_views.decisions(session, superseded=superseded, after=after, limit=limit + 1)
    return {"items": items[:limit], "next": _next(items, limit, "id")}


async def _decisions(request: Request, superseded: bool) -> AsyncIterator[Sequence[object]]:
    after = 0
    while True:
        async with session_scope(request.app.state.engine) as session:
            items = await decision_views.decisions(session, superseded=superseded, after=after, limit=LIMIT)
        for item in items:
            shown = DecisionSummary.model_validate(item)
            yield [getattr(shown, name) for name in _DECISIONS_HEADER]
        if len(items) < LIMIT:
            return
        after = items[-1]["id"]


@router.get(
    "/decisions/{decision_id}",
    summary="Một quyết định với các dòng phụ lục",
    response_model=DecisionView,
    responses=responses(401, 403, 404, 422, 503),
)
async def read_decision(
    session: Session, principal: Reader, decision_id: Annotated[int, Path(ge=1, le=2**63 - 1)]
) -> dict[str, Any]:
    """One text of a decision, also a superseded one."""
    head = await decision_views.decision(session, decision_id)
    return head | {"content": await decision_views.decision_rows(session, decision_id)}


@router.get(
    "/catalogue",
    summary="Danh mục thủ tục còn hiệu lực theo quyết định, vào một ngày",
    response_model=CatalogueView,
    responses=responses(401, 403, 404, 422, 503),
)
async def read_catalogue(
    request: Request,
    session: Session,
    principal: Reader,
    on: Annotated[Day | None, Query(description="None: today", examples=["2026-03-02"])] = None,
    known_at: Annotated[
        AwareDatetime | None, Query(description="As it was believed then, with offset")
    ] = None,
    unit: UnitCode = None,
    level: Annotated[LevelName | None, Query()] = None,
    field: Annotated[str | None, Query(max_length=500, description="Name of the field")] = None,
    limit: Limit = 100,
    cursor: Cursor = None,
) -> Any:
    """Decisions replayed in order of effect, whatever the order in which they came. `unit_means` says how
    the unit narrows the list. With `Accept: text/csv` the whole filtered list."""
    seen = await decision_views.lens(session, unit_in_scope(principal, unit))
    day = on or local_day(request.app.state.settings.now())
    entries = await decision_views.catalogue_entries(
        session, on=day, known_at=known_at, seen=seen, level=level, field=field
    )
    if wants_csv(request):
        rows = ([entry[name] for name in _CATALOGUE_HEADER] for entry in entries)
        return csv_response(_stream(rows), _CATALOGUE_HEADER, name=f"catalogue-{day}")
    after = tuple(decode_cursor(cursor, str, str)) if cursor else ("", "")
    items = [entry for entry in entries if (entry["code"], entry["level"]) > after][: limit + 1]
    view = CatalogueView.model_validate(
        {
            "on": day,
            "known_at": known_at,
            "unit": seen.unit_code,
            "unit_means": seen.means,
            "codes": len({entry["code"] for entry in entries}),
            "rows": len(entries),
            "items": items[:limit],
            "next": _next(items, limit, "code", "level"),
        }
    )
    return _tagged(request, view.model_dump_json())


async def _stream(rows: Iterable[Sequence[object]]) -> AsyncIterator[Sequence[object]]:
    for row in rows:
        yield row


@router.get(
    "/reconciliation/procedures",
    summary="Đối chiếu số lượng thủ tục: theo quyết định và trên CSDLQG",
    response_model=ProcedureReconciliationView,
    responses=responses(401, 403, 404, 422, 503),
)
async def reconcile_procedures(
    request: Request,
    session: Session,
    principal: Reader,
    on: Annotated[Day | None, Query(description="Of the decisions; none: today")] = None,
    unit: UnitCode = None,
) -> Response:
    """Unique codes by level and field, and differences by kind. The decisions are replayed to `on`; the
    national database is as of its newest listing, whatever the day. A code at two levels counts at each,
    and once in `codes`."""
    seen = await decision_views.lens(session, unit_in_scope(principal, unit))
    day: date = on or local_day(request.app.state.settings.now())
    view = ProcedureReconciliationView.model_validate(
        await decision_views.side_by_side(session, on=day, seen=seen)
    )
    return _tagged(request, view.model_dump_json())


def _tagged(request: Request, content: str) -> Response:
    etag = etag_for(content)
    return not_modified(request, etag) or Response(
        content, media_type="application/json", headers=figure_headers(etag)
    )


def _next(items: Sequence[dict[str, Any]], limit: int, *keys: str) -> str | None:
    return encode_cursor(*(items[limit - 1][key] for key in keys)) if len(items) > limit else None
