"""REST endpoints of captures: what the national portal showed, when, what changed between, and ours beside it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import datetime
from typing import Annotated, Any

from fastapi import APIRouter, Path, Query, Request
from fastapi.responses import Response
from sqlalchemy.ext.asyncio import AsyncSession

from services.indicators import capture_answers as answers
from services.indicators import capture_queries as reading
from services.indicators import queries, whole
from services.indicators.answers import coverage_view
from services.indicators.api import PeriodText, Reader, UnitCode, json_response, scope_of
from services.indicators.capture_schemas import (
    CaptureComparisonView,
    CaptureDetailView,
    CaptureList,
    CaptureState,
    CaptureView,
    ComparisonView,
    DifferenceView,
    ExplanationView,
)
from services.indicators.queries import Scope
from services.indicators.rules import engine, scoring
from services.indicators.rules.measures import MEASURES
from services.indicators.schemas import UnitView
from shared import coverage
from shared.access import Principal, no_such_unit, unit_in_scope
from shared.answers import (
    LIMIT,
    csv_response,
    decode_cursor,
    encode_cursor,
    etag_for,
    not_modified,
    wants_csv,
)
from shared.calendar import Period
from shared.db import Session
from shared.errors import Invalid, NotFound
from shared.problems import responses
from shared.vocabulary import Basis, IndicatorGroup

router = APIRouter(prefix="/v1", tags=["indicators"])

CaptureId = Annotated[int, Path(ge=1, lt=2**63)]
SHOWN = 100
"""Differing scores that one answer tells."""
CODES = 20
"""Codes of dossiers that stand beside an explanation; the rest is a list of its own."""


@router.get(
    "/captures",
    summary="Các lần kết xuất số liệu mà Cổng quốc gia công bố, mới nhất trước",
    response_model=CaptureList,
    responses=responses(401, 403, 422, 503),
)
async def list_captures(
    request: Request,
    session: Session,
    principal: Reader,
    period: PeriodText = None,
    state: Annotated[CaptureState | None, Query(description="None: both")] = None,
    limit: Annotated[int, Query(ge=1, le=LIMIT)] = 100,
    cursor: Annotated[str | None, Query(max_length=200)] = None,
) -> Response:
    """With what is not consistent in each, and how many of its scores the rule set does not give. A capture never
    changes: a month that the portal restates is another capture."""
    key = Period.parse(period).key if period else None
    before = decode_cursor(cursor, int)[0] if cursor else None
    if before is not None and not 0 < before < 2**63:
        raise Invalid("Con trỏ trang (cursor) không đúng.", "The cursor is not one of ours.", field="cursor")
    if wants_csv(request):
        found = await reading.heads(session, period=key, state=state, before=None, limit=1_000_000)
        return csv_response(_heads(found), list(CaptureView.model_fields), name="captures")
    found = await reading.heads(session, period=key, state=state, before=before, limit=limit + 1)
    view = CaptureList.model_validate(
        {
            "items": [answers.capture(head) for head in found[:limit]],
            "next": encode_cursor(found[limit - 1].id) if len(found) > limit else None,
        }
    )
    etag = etag_for(view.model_dump_json())
    return not_modified(request, etag) or json_response(view, etag)


async def _heads(found: list[reading.Head]) -> AsyncIterator[list[object]]:
    for head in found:
        view = CaptureView.model_validate(answers.capture(head))
        told = view.model_dump()
        yield [", ".join(value) if isinstance(value, list) else value for value in told.values()]


@router.get(
    "/captures/compare",
    summary="Giữa hai lần kết xuất, những con số nào đã thay đổi",
    response_model=CaptureComparisonView,
    responses=responses(401, 403, 404, 422, 503),
)
async def compare_captures(
    request: Request,
    session: Session,
    principal: Reader,
    a: Annotated[int, Query(ge=1, lt=2**63, description="The earlier one", examples=[12])],
    b: Annotated[int, Query(ge=1, lt=2**63, description="The later one", examples=[19])],
    unit: UnitCode = None,
    limit: Annotated[int, Query(ge=1, le=LIMIT)] = 100,
) -> Response:
    """Of the unit and what is below it; with `Accept: text/csv` all of them. Months can be held against months only,
    quarters against quarters, years against years."""
    first, second = await _head(session, a, "a"), await _head(session, b, "b")
    kinds = [Period.parse(head.period).kind for head in (first, second)]
    if kinds[0] != kinds[1]:
        raise Invalid(
            "Chỉ so sánh được hai kỳ cùng loại: tháng với tháng, quý với quý, năm với năm.",
            "periods of one kind only can be compared: months, quarters or years",
            field="b",
        )
    shown = await _unit(session, principal, unit, second)
    csv = wants_csv(request)
    rows = await reading.moved(session, a, b, shown.code, limit=None if csv else limit)
    if csv:
        return csv_response(_moved(rows), answers.MOVED_HEADER, name=f"captures-{a}-{b}-{shown.code}")
    view = CaptureComparisonView.model_validate(
        {
            "a": answers.capture(first),
            "b": answers.capture(second),
            "unit": shown,
            "same_period": first.period == second.period,
            "changed": rows[0]["changed"] if rows else 0,
            "items": [answers.moved(row) for row in rows],
        }
    )
    etag = etag_for(view.model_dump_json())
    return not_modified(request, etag) or json_response(view, etag)


async def _moved(rows: list[Any]) -> AsyncIterator[tuple[object, ...]]:
    for row in rows:
        yield answers.moved_row(row)


@router.get(
    "/captures/{capture_id}",
    summary="Một lần kết xuất: số liệu của đơn vị, kiểm tra, nội dung thô đã lưu",
    response_model=CaptureDetailView,
    responses=responses(401, 403, 404, 422, 503),
)
async def read_capture(
    request: Request, session: Session, principal: Reader, capture_id: CaptureId, unit: UnitCode = None
) -> Response:
    """The six groups of the unit with every component as published (null, 0 and not published apart), the units below
    it in a line each, the checks, and the scores that the rule set does not give. With `Accept: text/csv` every figure
    of every unit in scope."""
    head = await _head(session, capture_id)
    shown = await _unit(session, principal, unit, head)
    if wants_csv(request):
        rows = _figures(reading.all_figures(request.app.state.engine, capture_id, shown.code))
        return csv_response(rows, answers.FIGURE_HEADER, name=f"capture-{capture_id}-{shown.code}")
    units = await reading.units(session, capture_id, shown.code)
    sees = [each.department_id for each in units]
    sums = await reading.sums(session, capture_id, sees)
    own = [each.department_id for each in units if each.unit_code == shown.code]
    differing = await reading.differences(session, capture_id, shown.code, limit=SHOWN)
    totals = answers.unit_totals(units, sums)
    view = CaptureDetailView.model_validate(
        answers.capture(head)
        | {
            "unit": shown,
            "total": next((each.total for each in totals if each.unit_code == shown.code), None),
            "groups": answers.groups(await reading.figures(session, capture_id, own)),
            "units": totals,
            "checks": answers.checks(
                await reading.checks(session, capture_id),
                {str(each) for each in sees},
                whole=shown.code == head.scope,
            ),
            "differences": [
                DifferenceView(
                    unit_code=row["unit_code"],
                    name=row["name"],
                    group=row["endpoint"],
                    code=row["component"],
                    numerator=row["numerator"],
                    denominator=row["denominator"],
                    published=row["published"],
                    recomputed=row["recomputed"],
                )
                for row in differing
            ],
            "bodies": [dict(row) for row in await reading.bodies(session, capture_id)],
            "politeness": answers.politeness(head),
        }
    )
    etag = etag_for(view.model_dump_json())
    return not_modified(request, etag) or json_response(view, etag)


async def _figures(
    found: AsyncIterator[tuple[reading.Unit, reading.Figure]],
) -> AsyncIterator[tuple[object, ...]]:
    async for unit, figure in found:
        yield answers.figure_row(unit, figure)


@router.get(
    "/comparison",
    summary="Số liệu Cổng quốc gia công bố bên cạnh số của hệ thống này, từng chỉ tiêu, kèm nguyên nhân đã biết",
    response_model=ComparisonView,
    responses=responses(401, 403, 404, 422, 503),
)
async def read_comparison(
    request: Request,
    session: Session,
    principal: Reader,
    unit: UnitCode = None,
    period: PeriodText = None,
) -> Response:
    """The newest complete capture of the period beside what is counted here as the nation counts; differences are what
    is published minus ours. Where a component differs: open findings of dossiers that can move it, with the first
    codes."""
    now: datetime = request.app.state.settings.now()
    units = await queries.units(session)
    scope = scope_of(principal, units, unit, period, Basis.COUNTED, now)
    rules = engine.rule_set_for(scope.period)
    found = await whole.figures(session, scope, now=now, units=units)
    covered = await coverage.read(session, now=now)
    head = await reading.newest(session, units.province, scope.period.key)
    published = await _published(session, head, scope)
    groups = []
    for group in engine.parameters().groups:
        ours = scoring.score_group(group, found.measured, rules, found.level)
        counts = {
            each.component.id: (
                found.measured[each.measure.numerator],
                found.measured[each.measure.denominator],
            )
            for each in ours.scored
            if each.measure is not None
        }
        theirs = published.get(group.value, {})
        differing = [
            component
            for component, (numerator, denominator) in counts.items()
            if (code := engine.parameters().components[component].code) in theirs
            and (theirs[code].numerator, theirs[code].denominator) != (numerator, denominator)
        ]
        explained = {component: await _explained(session, scope, component) for component in differing}
        groups.append(
            answers.compared_group(IndicatorGroup(group), theirs, ours, counts, explained, found.uncounted)
        )
    total = published.get("province", {}).get(reading.TOTAL)
    view = ComparisonView(
        unit=UnitView(code=scope.unit, name=units.name(scope.unit, scope.period.last_day)),
        period=scope.period.key,
        rule_set=rules.id,
        capture=CaptureView.model_validate(answers.capture(head)) if head else None,
        why=None if head else _not_captured(scope.period),
        published_total=total.score if total else None,
        groups=groups,
        as_of=found.as_of,
        missing=coverage_view(scope, found.counts, covered, now).missing,
    )
    etag = etag_for(found.version, view.model_dump_json())
    return not_modified(request, etag) or json_response(view, etag)


def _not_captured(period: Period) -> str:
    return (
        f"Chưa có lần kết xuất đủ nào số liệu Cổng quốc gia công bố của kỳ {period.key}: không có số để so. Lấy bằng"
        f" lệnh `chiso capture --period {period.key}`."
    )


async def _published(
    session: AsyncSession, head: reading.Head | None, scope: Scope
) -> dict[str, dict[str, reading.Figure]]:
    """The unit's figures by group and code."""
    if head is None:
        return {}
    units = await reading.units(session, head.id, scope.unit)
    own = [each.department_id for each in units if each.unit_code == scope.unit]
    by_group: dict[str, dict[str, reading.Figure]] = {}
    for figure in await reading.figures(session, head.id, own):
        by_group.setdefault(figure.group, {})[figure.code] = figure
    return by_group


async def _explained(session: AsyncSession, scope: Scope, component: str) -> list[ExplanationView]:
    of_dossiers = MEASURES[component].subject == "dossier"
    kinds = answers.kinds_explaining(component, of_dossiers=of_dossiers)
    rows = await reading.explaining(session, scope.unit, kinds, scope.period.key, limit=CODES)
    return [
        ExplanationView(
            kind=row["kind"],
            findings=row["findings"],
            codes=row["codes"],
            list_at=f"/v1/findings?subject=dossier&kind={row['kind']}&unit={scope.unit}",
        )
        for row in rows
    ]


async def _head(session: AsyncSession, capture_id: int, field: str | None = None) -> reading.Head:
    head = await reading.head(session, capture_id)
    if head is None:
        raise NotFound("Không có lần kết xuất này.", "There is no such capture.", field=field)
    return head


async def _unit(
    session: AsyncSession, principal: Principal, unit: str | None, head: reading.Head
) -> UnitView:
    """The unit asked for, else the key's own. Raises Forbidden, Invalid, NotFound."""
    units = await queries.units(session)
    code = unit_in_scope(principal, unit)
    if code not in units:
        raise no_such_unit()
    return UnitView(code=code, name=units.name(code, Period.parse(head.period).last_day))
