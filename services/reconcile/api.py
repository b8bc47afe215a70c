"""Reconcile's REST endpoints about dossiers: the work list of findings, and the copies side by side."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import Annotated, Any, Literal
from uuid import UUID

from fastapi import APIRouter, Depends, Path, Query, Request
from fastapi.responses import Response

from services.reconcile import views
from services.reconcile.kinds import KINDS
from services.reconcile.parameters import version_on
from services.reconcile.schemas import (
    DossierReconciliationView,
    FindingDetailView,
    FindingsView,
    ResponsibleName,
    SourceSystemName,
    SubjectName,
)
from services.reconcile.views import FindingFilter
from shared.access import READERS, Principal, allow, unit_in_scope
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
from shared.calendar import Period, local_day
from shared.db import Session, session_scope
from shared.errors import Invalid, NotFound
from shared.problems import responses

router = APIRouter(prefix="/v1", tags=["reconcile"])

Reader = Annotated[Principal, Depends(allow(*READERS))]
UnitCode = Annotated[
    str | None,
    Query(
        max_length=100, description="A unit with what is below it; none: the key's own", examples=["H31.135"]
    ),
]
SourceSystem = Annotated[
    SourceSystemName | None,
    Query(
        description="Handled in the province's own system or in a ministry's; none: any",
        examples=["ministry"],
    ),
]
_KIND_NAMES = sorted({kind for _, kind in KINDS})


@router.get(
    "/findings",
    summary="Danh sách sai lệch cần xử lý",
    response_model=FindingsView,
    responses=responses(401, 403, 422, 503),
)
async def list_findings(
    request: Request,
    session: Session,
    principal: Reader,
    unit: UnitCode = None,
    subject: Annotated[SubjectName | None, Query(description="None: all")] = None,
    kind: Annotated[str | None, Query(max_length=60, examples=["missing_on_national"])] = None,
    state: Annotated[Literal["open", "resolved", "all"], Query()] = "open",
    responsible: Annotated[ResponsibleName | None, Query(description="Who acts first")] = None,
    source_system: SourceSystem = None,
    limit: Annotated[int, Query(ge=1, le=LIMIT)] = 100,
    cursor: Annotated[str | None, Query(max_length=200)] = None,
) -> Any:
    """Oldest first. With `Accept: text/csv` the whole filtered list, streamed. Findings of procedures
    belong to the department in whose field they are, or to the province."""
    if kind is not None and kind not in _KIND_NAMES:
        raise Invalid(
            f"Không có loại sai lệch này; các loại: {', '.join(_KIND_NAMES)}.",
            f"no such kind; expected one of {', '.join(_KIND_NAMES)}",
            field="kind",
        )
    wanted = FindingFilter(
        unit_code=unit_in_scope(principal, unit),
        subject=subject,
        kind=kind,
        state=None if state == "all" else state,
        responsible=responsible,
        source_system=source_system,
    )
    if wants_csv(request):
        return csv_response(_rows(request, wanted), views.CSV_HEADER, name="findings")
    rows = await views.findings(session, wanted, after=_after(cursor), limit=limit + 1)
    items = [views.finding_view(row) for row in rows[:limit]]
    return {"items": items, "next": encode_cursor(str(items[-1]["id"])) if len(rows) > limit else None}


def _after(cursor: str | None) -> UUID | None:
    if cursor is None:
        return None
    (text,) = decode_cursor(cursor, str)
    try:
        return UUID(text)
    except ValueError:
        raise Invalid(
            "Con trỏ trang (cursor) không đúng; hãy lấy lại từ trang đầu.",
            "The cursor is not one of ours; begin with the first page.",
            field="cursor",
        ) from None


async def _rows(request: Request, wanted: FindingFilter) -> AsyncIterator[Sequence[object]]:
    """A session a page: a slow reader holds no transaction open."""
    after = None
    while True:
        async with session_scope(request.app.state.engine) as session:
            rows = await views.findings(session, wanted, after=after, limit=LIMIT)
        for row in rows:
            shown = FindingsView.model_validate({"items": [views.finding_view(row)], "next": None}).items[0]
            yield [getattr(shown, name) for name in views.CSV_HEADER]
        if len(rows) < LIMIT:
            return
        after = rows[-1].id


@router.get(
    "/findings/{finding_id}",
    summary="Một sai lệch: bằng chứng, quy tắc, lịch sử",
    response_model=FindingDetailView,
    responses=responses(401, 403, 404, 422, 503),
)
async def read_finding(
    session: Session, principal: Reader, finding_id: Annotated[UUID, Path(description="`id` of the list")]
) -> dict[str, Any]:
    """Both values with where and when they were learnt, the rule in words, and the history."""
    row = await views.finding(session, finding_id)
    if row is None:
        raise NotFound("Không có sai lệch này.", "There is no such finding.")
    principal.check(row.unit_code)
    described = KINDS[row.subject, row.kind]
    return views.finding_view(row) | {
        "evidence": row.evidence,
        "rule": {
            "kind": row.kind,
            "title": described.title,
            "sentence": described.sentence,
            "unknown": described.unknown,
            "responsible": described.responsible,
            "source": described.source,
        },
        "events": [
            {"at": each.at, "event": each.event, "actor": each.actor, "evidence": each.evidence}
            for each in await views.events(session, row)
        ],
    }


@router.get(
    "/reconciliation/dossiers",
    summary="Đối chiếu số lượng hồ sơ giữa các bản, và sai lệch theo loại",
    response_model=DossierReconciliationView,
    responses=responses(401, 403, 422, 503),
)
async def reconcile_dossiers(
    request: Request,
    session: Session,
    principal: Reader,
    unit: UnitCode = None,
    period: Annotated[
        str | None, Query(max_length=10, description="Of receipt; none: all", examples=["2026-08"])
    ] = None,
    source_system: SourceSystem = None,
) -> Response:
    """How many received dossiers each portal holds, how many of them a look-up confirmed on the national
    portal or proved absent, and the open findings by kind and by source system."""
    code = unit_in_scope(principal, unit)
    during = Period.parse(period) if period else None
    scope = views.Scope(code, during.start if during else None, during.end if during else None, source_system)
    by_source, as_of = await views.copies_counted(session, scope)
    counts, found = views.all_copies(by_source), await views.findings_counted(session, scope)
    sources = await views.sources(session)
    missing = []
    if sources[0]["complete_through"] is None:
        missing.append("Chưa lần nào đọc hết hồ sơ của hệ thống một cửa của tỉnh.")
    if counts["not_asked"]:
        missing.append(f"{counts['not_asked']} hồ sơ chưa được tra cứu trên Cổng DVCQG.")
    view = DossierReconciliationView.model_validate(
        {
            "unit": code,
            "period": period,
            "source_system": source_system,
            "copies": counts,
            "source_systems": [
                {"source_system": name, "copies": copies, "findings": found.by_source[name]}
                for name, copies in by_source.items()
            ],
            "findings": found.kinds,
            "rules": version_on(local_day(request.app.state.settings.now())),
            "coverage": {"complete": not missing, "missing": missing, "sources": sources},
            "as_of": as_of,
        }
    )
    content = view.model_dump_json()
    etag = etag_for(content)
    return not_modified(request, etag) or Response(
        content, media_type="application/json", headers=figure_headers(etag)
    )
