"""REST endpoints that set units, months or dossiers side by side."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from datetime import datetime
from typing import Annotated

from fastapi import APIRouter, Query, Request
from fastapi.responses import Response

from services.indicators import boards_answers as answers
from services.indicators import catalogue, chances, near_due, petitions, queries, trends, whole
from services.indicators.answers import period_view
from services.indicators.api import PeriodText, Reader, UnitCode, json_response, scope_of
from services.indicators.boards_schemas import Level, NearDueView, RankBy, ScoreboardView
from services.indicators.chances_schemas import OpportunitiesView
from services.indicators.rules import engine
from services.indicators.rules.units import UnitTree
from services.indicators.schemas import UnitView
from services.indicators.trends_schemas import TrendsView
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
from shared.calendar import TZ
from shared.db import Session
from shared.errors import Invalid
from shared.problems import responses
from shared.vocabulary import Basis, Consumer

router = APIRouter(prefix="/v1", tags=["indicators"])


@router.get(
    "/scoreboard",
    summary="Bảng điểm, xếp hạng các đơn vị của một cấp; sở và xã xếp riêng",
    response_model=ScoreboardView,
    responses=responses(401, 403, 404, 422, 503),
)
async def read_scoreboard(
    request: Request,
    session: Session,
    principal: Reader,
    unit: UnitCode = None,
    period: PeriodText = None,
    level: Annotated[Level | None, Query(description="None: both boards")] = None,
    by: Annotated[
        RankBy | None,
        Query(description="What to rank by; none: the total, or progress while a group is missing"),
    ] = None,
    basis: Basis = Basis.COUNTED,
) -> Response:
    """All units of a level that stand on the period's last day, each over its own subtree. Equal scores share a rank
    and the next is skipped. A key of one unit sees its own row, with its rank among all. CSV on
    `Accept: text/csv`."""
    now: datetime = request.app.state.settings.now()
    units = await queries.units(session)
    scope = scope_of(principal, units, unit, period, basis, now)
    rules = engine.rule_set_for(scope.period)
    levels = {
        each: units.standing(each, scope.period.last_day) for each in answers.LEVELS if level in (each, None)
    }
    codes = [code for found in levels.values() for code in found]
    found = await whole.figures_of_all(
        session, basis=basis, periods=[scope.period], codes=codes, now=now, units=units
    )
    covered = await coverage.read(session, now=now)
    view = answers.scoreboard(scope, by, levels, found, rules, covered, units, now)
    # Ranks move with other units' figures, whose versions are not this key's to see: the answer is hashed whole.
    etag = etag_for(wants_csv(request), view.model_dump_json())
    unchanged = not_modified(request, etag)
    if unchanged is not None:
        return unchanged
    if wants_csv(request):
        name = f"scoreboard-{scope.period}-{scope.unit}"
        return csv_response(_each(answers.board_rows(view)), answers.board_header(), name=name)
    return json_response(view, etag)


async def _each(rows: Iterable[tuple[object, ...]]) -> AsyncIterator[tuple[object, ...]]:
    for row in rows:
        yield row


@router.get(
    "/near-due",
    summary="Hồ sơ đang xử lý sắp đến hạn, tính theo ngày hẹn trả mà Cổng quốc gia dùng",
    response_model=NearDueView,
    responses=responses(401, 403, 404, 422, 503),
)
async def read_near_due(
    request: Request,
    session: Session,
    principal: Reader,
    unit: UnitCode = None,
    within: Annotated[
        str, Query(description="3d: by the end of the third working day from now; 8h: in eight working hours")
    ] = "3d",
    basis: Basis = Basis.COUNTED,
    cursor: str | None = None,
    limit: Annotated[int, Query(ge=1, le=LIMIT)] = 100,
) -> Response:
    """The soonest first, over the unit's subtree; with `Accept: text/csv` the whole list, streamed."""
    now: datetime = request.app.state.settings.now()
    units = await queries.units(session)
    scope = scope_of(principal, units, unit, None, basis, now)
    upto = near_due.until(within, now)
    if wants_csv(request):
        rows = _near_due_rows(
            near_due.all_ahead(request.app.state.engine, scope, now=now, upto=upto), now, units
        )
        return csv_response(rows, answers.NEAR_DUE_HEADER, name=f"near-due-{within}-{scope.unit}")
    after = _after(cursor) if cursor else (now, "")
    page = await near_due.ahead(session, scope, after=after, upto=upto, limit=limit + 1)
    covered = await coverage.read(session, now=now)
    more = len(page) > limit
    page = page[:limit]
    view = NearDueView(
        items=[answers.near_due_item(each, now, units) for each in page],
        until=upto,
        next=encode_cursor(page[-1].due_at.isoformat(), page[-1].code) if more else None,
        pending_changes=covered.backlog[Consumer.INDICATORS].due,
    )
    etag = etag_for(view.model_dump_json())
    return not_modified(request, etag) or json_response(view, etag)


def _after(cursor: str) -> tuple[datetime, str]:
    text, code = decode_cursor(cursor, str, str)
    try:
        at = datetime.fromisoformat(text)
        return at.astimezone(TZ), code
    except (ValueError, OverflowError):
        raise Invalid("Con trỏ trang (cursor) không đúng.", "Not a cursor of ours.", field="cursor") from None


async def _near_due_rows(
    found: AsyncIterator[near_due.Ahead], now: datetime, units: UnitTree
) -> AsyncIterator[tuple[object, ...]]:
    async for each in found:
        yield answers.near_due_row(answers.near_due_item(each, now, units))


@router.get(
    "/trends",
    summary="Điểm các nhóm, thành phần của một đơn vị qua các tháng, quý hoặc năm",
    response_model=TrendsView,
    responses=responses(401, 403, 404, 422, 503),
)
async def read_trends(
    request: Request,
    session: Session,
    principal: Reader,
    unit: UnitCode = None,
    first: Annotated[
        str | None,
        Query(alias="from", description="First period; none: twelve in all", examples=["2026-01"]),
    ] = None,
    last: Annotated[
        str | None, Query(alias="to", description="Last period, of the same kind", examples=["2026-08"])
    ] = None,
    basis: Basis = Basis.COUNTED,
) -> Response:
    """Each period by the rule set in force on its last day, from one query over the tally and one over
    the petitions."""
    now: datetime = request.app.state.settings.now()
    units = await queries.units(session)
    asked = trends.periods(first, last, now)
    scope = scope_of(principal, units, unit, asked[-1].key, basis, now)
    found = await whole.figures_of_all(
        session, basis=basis, periods=asked, codes=[scope.unit], now=now, units=units
    )
    view = trends.view(scope, found, asked, units, now)
    etag = etag_for(view.model_dump_json())
    return not_modified(request, etag) or json_response(view, etag)


@router.get(
    "/opportunities",
    summary="Điểm còn có thể giành được của từng thành phần, rẻ nhất trước, và bắt đầu từ hồ sơ nào",
    response_model=OpportunitiesView,
    responses=responses(401, 403, 404, 422, 503),
)
async def read_opportunities(
    request: Request,
    session: Session,
    principal: Reader,
    unit: UnitCode = None,
    period: PeriodText = None,
    basis: Basis = Basis.COUNTED,
) -> Response:
    """What winning the shortfall of each component would give, with targets, rounding and what the same dossiers count
    elsewhere; the most points per dossier first.

    What if: where an item says `only_if_data_wrong`, the points are lost unless the record is wrong ("chỉ khi số liệu
    ghi sai"); of a period that has ended `note` says that nothing but its data can change."""
    now: datetime = request.app.state.settings.now()
    units = await queries.units(session)
    scope = scope_of(principal, units, unit, period, basis, now)
    rules = engine.rule_set_for(scope.period)
    figures = await whole.figures(session, scope, now=now, units=units)
    name = units.name(scope.unit, scope.period.last_day)
    running = now < scope.period.end
    etag = etag_for("opportunities", *scope.key, name, running, figures.version)
    unchanged = not_modified(request, etag)
    if unchanged is not None:
        return unchanged
    seen = await petitions.seen(session, period=scope.period, now=now, units=units)
    listed = await catalogue.seen(session, units=units)
    view = OpportunitiesView(
        unit=UnitView(code=scope.unit, name=name),
        period=period_view(scope.period, now),
        basis=basis,
        rule_set=rules.id,
        items=await chances.found(session, scope, figures, seen, listed, rules, province=units.province),
        note=chances.ended(scope.period, now),
        as_of=figures.as_of,
    )
    return json_response(view, etag)
