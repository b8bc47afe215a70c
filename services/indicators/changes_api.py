"""GET /v1/changes."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import datetime
from decimal import Decimal
from typing import Annotated, Literal

from fastapi import APIRouter, Query, Request
from fastapi.responses import Response

from services.indicators import changes, history, queries, whole
from services.indicators import changes_schemas as shapes
from services.indicators.answers import period_view
from services.indicators.api import PeriodText, Reader, UnitCode, json_response, scope_of
from services.indicators.changes import Counted, Turned
from services.indicators.rules import engine
from services.indicators.rules.engine import RuleSet
from services.indicators.rules.units import UnitTree
from services.indicators.schemas import UnitView
from shared import coverage
from shared.answers import (
    LIMIT,
    csv_response,
    decode_cursor,
    encode_cursor,
    etag_for,
    not_modified,
    wants_csv,
)
from shared.calendar import local_day
from shared.db import Session
from shared.problems import responses
from shared.reasons import explain
from shared.vocabulary import Basis, Consumer

router = APIRouter(prefix="/v1", tags=["indicators"])

HEADER = (
    "Mã hồ sơ", "Mã đơn vị", "Đơn vị", "Mã thủ tục", "Thủ tục", "Thay đổi", "Phát hiện lúc", "Hạn", "Lý do",
)  # fmt: skip
_BECAME = {"overdue": "quá hạn", "resolved": "hết quá hạn"}


@router.get(
    "/changes",
    summary="Từ một thời điểm đến nay: hồ sơ mới quá hạn, hồ sơ hết quá hạn, điểm được và mất",
    response_model=shapes.ChangesView,
    responses=responses(401, 403, 404, 422, 503),
)
async def read_changes(
    request: Request,
    session: Session,
    principal: Reader,
    unit: UnitCode = None,
    since: Annotated[
        str | None,
        Query(description="A day (its first moment) or a time; none: yesterday", examples=["2026-08-24"]),
    ] = None,
    period: PeriodText = None,
    became: Annotated[
        Literal["overdue", "resolved"] | None, Query(description="Only these dossiers in `items`")
    ] = None,
    basis: Basis = Basis.COUNTED,
    cursor: str | None = None,
    limit: Annotated[int, Query(ge=1, le=LIMIT)] = 100,
) -> Response:
    """Dossiers are told net: one that became overdue and was mended again since is not there. The newest first; with
    `Accept: text/csv` the whole list of dossiers, streamed."""
    now: datetime = request.app.state.settings.now()
    units = await queries.units(session)
    scope = scope_of(principal, units, unit, period, basis, now)
    start = changes.moment(since, now)
    overdue = None if became is None else became == "overdue"
    if wants_csv(request):
        rows = _rows(changes.all_turned(request.app.state.engine, scope, start, overdue=overdue), units, now)
        return csv_response(rows, HEADER, name=f"changes-{local_day(start)}-{scope.unit}")
    before = decode_cursor(cursor, int)[0] if cursor else None
    rules = engine.rule_set_for(scope.period)
    figures = await whole.figures(session, scope, now=now, units=units)
    kept = await changes.kept(session, scope, start)
    new, resolved = await changes.count(session, scope, start)
    page = await changes.turned(session, scope, start, overdue=overdue, before=before, limit=limit + 1)
    covered = await coverage.read(session, now=now)
    more = len(page) > limit
    page = page[:limit]
    components = _moved(kept.components, history.components(figures, rules), rules) if kept else []
    differences = [each.difference for each in components if each.difference is not None]
    view = shapes.ChangesView(
        unit=UnitView(code=scope.unit, name=units.name(scope.unit, scope.period.last_day)),
        basis=basis,
        period=period_view(scope.period, now),
        since=start,
        compared_with=kept.taken_at if kept else None,
        why=None if kept else _nothing_kept(scope),
        rule_set=rules.id,
        points_won=sum((each for each in differences if each > 0), Decimal("0.00")) if kept else None,
        points_lost=sum((each for each in differences if each < 0), Decimal("0.00")) if kept else None,
        components=components,
        became_overdue=new,
        resolved=resolved,
        items=[_item(each, units, now) for each in page],
        next=encode_cursor(page[-1].id) if more else None,
        as_of=figures.as_of,
        pending_changes=covered.backlog[Consumer.INDICATORS].due,
    )
    etag = etag_for(view.model_dump_json())
    return not_modified(request, etag) or json_response(view, etag)


def _nothing_kept(scope: queries.Scope) -> str:
    """Figures are kept of what counts only (history.py)."""
    if scope.basis is not Basis.COUNTED:
        return (
            "Số liệu đầu ngày chỉ được giữ của cách tính theo Cổng quốc gia (basis=counted): không có để so."
        )
    return (
        f"Chưa có số liệu đầu ngày của kỳ {scope.period.key} để so; số liệu được giữ lúc bắt đầu mỗi ngày của kỳ đang"
        " chạy."
    )


def _moved(
    before: dict[str, Counted], after: dict[str, Counted], rules: RuleSet
) -> list[shapes.ComponentChangeView]:
    """The components whose counts or points are not what they were, in the order of the parameters."""
    found = []
    for group in engine.parameters().groups.values():
        for component in group.components:
            old, new = before.get(component.id), after.get(component.id)
            if new is None or old == new:
                continue
            view = _counted(new)
            was = None if old is None else _counted(old)
            both = was is not None and was.points is not None and view.points is not None
            found.append(
                shapes.ComponentChangeView(
                    id=component.id,
                    name=component.name,
                    group=group.slug,
                    before=was,
                    now=view,
                    difference=view.points - was.points if both else None,  # type: ignore[operator, union-attr]
                )
            )
    return found


def _counted(each: Counted) -> shapes.CountedView:
    numerator, denominator, points = each
    return shapes.CountedView(
        numerator=numerator, denominator=denominator, points=None if points is None else Decimal(points)
    )


def _item(each: Turned, units: UnitTree, now: datetime) -> shapes.TurnedView:
    if each.reason is None or each.bits is None:
        why = "Hồ sơ không còn được tính."
    else:
        why = explain(each.reason, each.bits, each.end_at, each.deadline_at).vi
    return shapes.TurnedView(
        code=each.code,
        unit_code=each.unit_code,
        unit_name=units.name(each.unit_code, local_day(now)),
        procedure_code=each.procedure_code or None,
        procedure_name=each.procedure_name,
        became="overdue" if each.overdue else "resolved",
        at=each.at,
        deadline_at=each.deadline_at,
        why=why,
    )


async def _rows(
    found: AsyncIterator[Turned], units: UnitTree, now: datetime
) -> AsyncIterator[tuple[object, ...]]:
    async for each in found:
        view = _item(each, units, now)
        yield (
            view.code, view.unit_code, view.unit_name, view.procedure_code, view.procedure_name,
            _BECAME[view.became], view.at, view.deadline_at, view.why,
        )  # fmt: skip
