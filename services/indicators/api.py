"""Indicators' REST endpoints."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import datetime
from typing import Annotated

from fastapi import APIRouter, Depends, Path, Query, Request
from fastapi.responses import Response
from pydantic import BaseModel

from services.indicators import (
    addresses,
    answers,
    capture_queries,
    catalogue,
    petition_answers,
    petitions,
    queries,
    reports,
)
from services.indicators.petition_schemas import PetitionItemsView, PetitionItemView
from services.indicators.queries import Scope
from services.indicators.rules import engine
from services.indicators.rules.catalogue import Judged
from services.indicators.rules.catalogue import part_of as part_of_catalogue
from services.indicators.rules.measures import AVERAGE_TIME, DOSSIER_SYNC, Measure, Part
from services.indicators.rules.petitions import part_of
from services.indicators.rules.units import UnitTree
from services.indicators.schemas import (
    DossierAssessmentView,
    GroupScoreView,
    IndicatorsView,
    ItemsView,
    ProcedureItemsView,
    ProcedureTimesView,
)
from shared import coverage
from shared.access import READERS, Principal, allow, no_such_unit, unit_in_scope
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
from shared.calendar import Period, check_begun, period_of
from shared.db import Session
from shared.errors import Forbidden, Invalid, NotFound
from shared.identifiers import parse_dossier_code
from shared.problems import responses
from shared.vocabulary import Basis, IndicatorGroup

router = APIRouter(prefix="/v1", tags=["indicators"])

MOST = 20
"""Procedures whose handling time stands beside the group's score; the rest is a list of its own."""

Reader = Annotated[Principal, Depends(allow(*READERS))]
GroupSlug = Annotated[
    str, Path(description=", ".join(group.value for group in IndicatorGroup), examples=["progress"])
]
UnitCode = Annotated[str | None, Query(description="A unit; none: the key's own", examples=["H31.135"])]
PeriodText = Annotated[
    str | None,
    Query(description="2026-08, 2026-Q3 or 2026; none: the running month", examples=["2026-08"]),
]


@router.get(
    "/indicators",
    summary="Các nhóm, thành phần, công thức, điểm tối đa, căn cứ và bộ quy tắc",
    response_model=IndicatorsView,
    responses=responses(401, 403, 503),
)
async def list_indicators(request: Request, principal: Reader) -> Response:
    """The indicator set as dated, cited data. Only what is `computed` has figures in this version."""
    view = answers.indicators()
    etag = etag_for(view.model_dump_json())
    return not_modified(request, etag) or json_response(view, etag)


@router.get(
    "/indicators/{group}",
    summary="Điểm của một nhóm cho một đơn vị (cùng các đơn vị trực thuộc)",
    response_model=GroupScoreView,
    responses=responses(401, 403, 404, 422, 503),
)
async def read_group(
    request: Request,
    session: Session,
    principal: Reader,
    group: GroupSlug,
    unit: UnitCode = None,
    period: PeriodText = None,
    basis: Basis = Basis.COUNTED,
    rule_set: Annotated[
        str | None, Query(description="Score by this rule set instead of the period's")
    ] = None,
) -> Response:
    """Score and components with numerator, denominator, ratio, points and why, over the unit's subtree;
    counts; what may still be missing (`coverage`) and the commit time of the newest change contained
    (`as_of`)."""
    slug, measures = addresses.measures_of(group)
    now: datetime = request.app.state.settings.now()
    units = await queries.units(session)
    scope = scope_of(principal, units, unit, period, basis, now)
    rules = engine.rule_set(rule_set) if rule_set else engine.rule_set_for(scope.period)
    found = await queries.figures(session, scope)
    told = None
    if any(measure.origin == "petitions" for measure in measures):
        seen = await petitions.seen(session, period=scope.period, now=now, units=units)
        found = petitions.added(found, seen, scope.unit)
        ratings = await petitions.ratings(session, unit=scope.unit, period=scope.period, units=units)
        told = petition_answers.kinds(seen.counts(scope.unit), ratings, rules)
    if any(measure.origin == "catalogue" for measure in measures):
        found = catalogue.added(found, await catalogue.seen(session, units=units), scope, units)
    published = None
    if DOSSIER_SYNC in measures:
        given = await reports.given(session, units=[scope.unit], periods=[scope.period])
        found = reports.added(found, given, unit=scope.unit, period=scope.period, basis=basis)
        published = await capture_queries.published_of(
            session, units.province, scope.unit, scope.period.key, slug.value
        )
    covered = await coverage.read(session, now=now)
    handling = None
    if any(measure is AVERAGE_TIME for measure in measures):
        most = await queries.times(session, scope, after=None, limit=MOST)
        procedures = await queries.count_times(session, scope)
        handling = answers.handling(rules, found, procedures, most)
    view = answers.group_score(slug, scope, rules, found, covered, units, now, handling, told, published)
    # The version tells what changed behind equal counts; the rest of the answer is small enough to be
    # hashed whole.
    etag = etag_for(found.version, view.model_dump_json())
    return not_modified(request, etag) or json_response(view, etag)


@router.get(
    "/indicators/{group}/{component}/items",
    summary="Các hồ sơ (thủ tục, phản ánh, kiến nghị) đứng sau một con số; số lượng đúng bằng con số đó",
    response_model=ItemsView | ProcedureItemsView | PetitionItemsView,
    responses=responses(401, 403, 404, 422, 503)
    | {200: {"content": {"application/json": {"example": ItemsView.example()}}}},
)
async def read_items(
    request: Request,
    session: Session,
    principal: Reader,
    group: GroupSlug,
    component: Annotated[str, Path(examples=["2.1"])],
    part: Annotated[Part, Query(description="numerator, or what the denominator has beside it")],
    unit: UnitCode = None,
    period: PeriodText = None,
    basis: Basis = Basis.COUNTED,
    cursor: str | None = None,
    limit: Annotated[int, Query(ge=1, le=LIMIT)] = 100,
) -> Response:
    """With `Accept: text/csv` the whole list, streamed."""
    measure = addresses.measure_of(group, component)
    now: datetime = request.app.state.settings.now()
    units = await queries.units(session)
    scope = scope_of(principal, units, unit, period, basis, now)
    found = await queries.figures(session, scope)
    seen = None
    if measure.origin == "petitions":
        seen = await petitions.seen(session, period=scope.period, now=now, units=units)
        found = petitions.added(found, seen, scope.unit)
    listed = None
    if measure.origin == "catalogue":
        listed = await catalogue.seen(session, units=units)
        found = catalogue.added(found, listed, scope, units)
        _check_counted(found, measure, scope)
    if measure is DOSSIER_SYNC and part == "shortfall":
        raise NotFound(
            "Hệ thống báo cáo Chính phủ chỉ cho biết số lượng, không cho biết mã hồ sơ; hồ sơ mà Cổng chưa có: GET"
            " /v1/findings?kind=missing_on_national.",
            "the reporting system tells a number and no codes; dossiers that the nation does not have:"
            " GET /v1/findings?kind=missing_on_national",
            field="part",
        )
    names = await queries.names_version(session)
    csv = wants_csv(request)
    etag = etag_for(*scope.key, component, part, cursor, limit, csv, found.version, names)
    unchanged = not_modified(request, etag)
    if unchanged is not None:
        return unchanged
    if seen is not None:
        return _petitions(seen, scope, measure, part, units, cursor, limit, etag=etag, csv=csv)
    if listed is not None:
        return _listed(listed, scope, measure, part, cursor, limit, etag=etag, csv=csv, found=found)
    if measure.subject == "procedure":
        return await _procedures(
            session, scope, measure, part, cursor, limit, etag=etag, csv=csv, found=found
        )
    if csv:
        rows = _rows(
            queries.all_items(request.app.state.engine, scope, measure, part), scope, units, component
        )
        return csv_response(rows, answers.ITEM_HEADER, name=f"{component}-{part}-{scope.period}-{scope.unit}")
    after_unit, after_code = decode_cursor(cursor, str, str) if cursor else ("", "")
    page = await queries.items(session, scope, measure, part, after=(after_unit, after_code), limit=limit + 1)
    more = len(page) > limit
    page = page[:limit]
    view = ItemsView(
        items=[answers.item(each, scope, units, component) for each in page],
        next=encode_cursor(page[-1].unit_code, page[-1].code) if more else None,
        as_of=found.as_of,
    )
    return json_response(view, etag)


@router.get(
    "/indicators/{group}/{component}/procedures",
    summary="Thời gian giải quyết trung bình của từng thủ tục (chỉ số 2.2)",
    response_model=ProcedureTimesView,
    responses=responses(401, 403, 404, 422, 503),
)
async def read_times(
    request: Request,
    session: Session,
    principal: Reader,
    group: GroupSlug,
    component: Annotated[str, Path(examples=["2.2"])],
    unit: UnitCode = None,
    period: PeriodText = None,
    basis: Basis = Basis.COUNTED,
    cursor: str | None = None,
    limit: Annotated[int, Query(ge=1, le=LIMIT)] = 100,
) -> Response:
    """Procedures with the most dossiers first; with `Accept: text/csv` the whole list."""
    if AVERAGE_TIME not in addresses.measures_of(group)[1] or component != AVERAGE_TIME.component:
        raise NotFound(
            "Chỉ chỉ số 2.2 có số liệu theo từng thủ tục.",
            "only 2.2 has figures by procedure",
            field="component",
        )
    now: datetime = request.app.state.settings.now()
    units = await queries.units(session)
    scope = scope_of(principal, units, unit, period, basis, now)
    found = await queries.figures(session, scope)
    names = await queries.names_version(session)
    csv = wants_csv(request)
    etag = etag_for(*scope.key, component, cursor, limit, csv, found.version, names)
    unchanged = not_modified(request, etag)
    if unchanged is not None:
        return unchanged
    if csv:
        # Some thousands at the most: there are no more procedures.
        every = await queries.times(session, scope, after=None, limit=100_000)
        name = f"{component}-{scope.period}-{scope.unit}"
        return csv_response(_time_rows(every), answers.TIME_HEADER, name=name)
    after = None
    if cursor:
        dossiers, code = decode_cursor(cursor, int, str)
        if not 0 < dossiers < 2**63:
            raise Invalid("Con trỏ trang (cursor) không đúng.", "Not a cursor of ours.", field="cursor")
        after = (dossiers, code)
    page = await queries.times(session, scope, after=after, limit=limit + 1)
    more = len(page) > limit
    page = page[:limit]
    view = ProcedureTimesView(
        items=[answers.procedure_time(each) for each in page],
        next=encode_cursor(page[-1].dossiers, page[-1].procedure_code) if more else None,
        as_of=found.as_of,
    )
    return json_response(view, etag)


async def _procedures(
    session: Session,
    scope: Scope,
    measure: Measure,
    part: Part,
    cursor: str | None,
    limit: int,
    *,
    etag: str,
    csv: bool,
    found: queries.Figures,
) -> Response:
    """As read_items, of a figure that counts procedures: some thousands at the most."""
    after = "" if csv or not cursor else decode_cursor(cursor, str)[0]
    limit = 100_000 if csv else limit
    page = await queries.procedure_items(session, scope, measure, part, after=after, limit=limit + 1)
    more = len(page) > limit
    page = page[:limit]
    if csv:
        name = f"{measure.component}-{part}-{scope.period}-{scope.unit}"
        return csv_response(_procedure_rows(page, measure, part), answers.PROCEDURE_HEADER, name=name)
    view = ProcedureItemsView(
        items=[answers.procedure_item(each, measure, part) for each in page],
        next=encode_cursor(page[-1].code) if more else None,
        as_of=found.as_of,
    )
    return json_response(view, etag)


def _petitions(
    seen: petitions.Seen,
    scope: Scope,
    measure: Measure,
    part: Part,
    units: UnitTree,
    cursor: str | None,
    limit: int,
    *,
    etag: str,
    csv: bool,
) -> Response:
    """As read_items, of a figure that counts petitions: those that were counted."""
    behind = part_of(seen.within(scope.unit), measure, part)
    if not csv and cursor:
        after = tuple(decode_cursor(cursor, str, str))
        behind = [each for each in behind if (each.unit_code, each.petition.code) > after]
    limits = engine.petition_limits(scope.period)
    page = behind if csv else behind[:limit]
    items = [petition_answers.item(each, scope.period, units, limits) for each in page]
    if csv:
        name = f"{measure.component}-{part}-{scope.period}-{scope.unit}"
        return csv_response(_petition_rows(items), petition_answers.HEADER, name=name)
    last = page[-1] if len(behind) > limit else None
    view = PetitionItemsView(
        items=items,
        next=None if last is None else encode_cursor(last.unit_code, last.petition.code),
        as_of=seen.as_of,
    )
    return json_response(view, etag)


async def _petition_rows(found: list[PetitionItemView]) -> AsyncIterator[tuple[object, ...]]:
    for each in found:
        yield petition_answers.row(each)


def _listed(
    seen: catalogue.Seen,
    scope: Scope,
    measure: Measure,
    part: Part,
    cursor: str | None,
    limit: int,
    *,
    etag: str,
    csv: bool,
    found: queries.Figures,
) -> Response:
    """As read_items, of a figure that is counted from the catalogue: the procedures that were counted."""
    behind = part_of_catalogue(catalogue.behind(seen, measure, found, scope), part)
    if csv:
        name = f"{measure.component}-{part}-{scope.period}-{scope.unit}"
        return csv_response(_listed_rows(behind), answers.LISTED_HEADER, name=name)
    after = decode_cursor(cursor, str)[0] if cursor else ""
    behind = [each for each in behind if each.listed.code > after]
    page = behind[:limit]
    view = ProcedureItemsView(
        items=[answers.listed(each) for each in page],
        next=encode_cursor(page[-1].listed.code) if len(behind) > limit else None,
        as_of=found.as_of,
    )
    return json_response(view, etag)


async def _listed_rows(found: list[Judged]) -> AsyncIterator[tuple[object, ...]]:
    for each in found:
        view = answers.listed(each)
        yield view.code, view.name, view.why, "có" if view.observed else "không"


def _check_counted(found: queries.Figures, measure: Measure, scope: Scope) -> None:
    """Raises NotFound where the unit has no such figure, with the reason."""
    component = engine.parameters().components[measure.component]
    if found.level in component.scoring[engine.rule_set_for(scope.period).id].not_at:
        raise NotFound(
            f"Đơn vị cấp này không có thành phần {component.id}.",
            f"units of this level do not have {component.id}",
            field="component",
        )
    if why := found.uncounted.get(component.id):
        raise NotFound(why, f"{component.id} cannot be computed for this unit", field="component")


async def _procedure_rows(
    found: list[queries.ProcedureItem], measure: Measure, part: Part
) -> AsyncIterator[tuple[object, ...]]:
    for each in found:
        view = answers.procedure_item(each, measure, part)
        yield view.code, view.name, view.dossiers, view.why


async def _time_rows(found: list[queries.ProcedureTime]) -> AsyncIterator[tuple[object, ...]]:
    for each in found:
        yield answers.time_row(each)


@router.get(
    "/dossiers/{code}/assessment",
    summary="Một hồ sơ được tính vào kỳ nào, đúng hạn hay không, vì sao",
    response_model=DossierAssessmentView,
    responses=responses(401, 403, 404, 422, 503),
)
async def read_assessment(
    request: Request,
    session: Session,
    principal: Reader,
    code: Annotated[str, Path(examples=["H31.135-260803-0012"])],
) -> Response:
    """Per basis: which copy counts or why none does; per period: on time or not, and by which rule; and per component
    whether the dossier counts in it and meets it, and why."""
    canonical = parse_dossier_code(code).code
    found = await queries.assessed(session, canonical)
    if found is None:
        raise NotFound("Không có hồ sơ này.", "There is no such dossier.", field="code")
    _check_any(principal, found.units)
    view = answers.dossier(canonical, found)
    etag = etag_for(view.model_dump_json())
    return not_modified(request, etag) or json_response(view, etag)


def scope_of(
    principal: Principal, units: UnitTree, unit: str | None, period: str | None, basis: Basis, now: datetime
) -> Scope:
    """Raises Forbidden, Invalid (also for a period that has not begun), NotFound for an unknown unit."""
    code = unit_in_scope(principal, unit)
    if code not in units:
        raise no_such_unit()
    chosen = Period.parse(period) if period else period_of("month", now)
    engine.rule_set_for(chosen)
    check_begun(chosen, now)
    return Scope(basis, chosen, code)


def _check_any(principal: Principal, units: list[str | None]) -> None:
    """A dossier is seen by whoever sees one of the units that its copies name. Raises Forbidden."""
    for place, unit in enumerate(units):
        try:
            principal.check(unit)
        except Forbidden:
            if place == len(units) - 1:
                raise
        else:
            return


async def _rows(
    found: AsyncIterator[queries.Item], scope: Scope, units: UnitTree, component: str
) -> AsyncIterator[tuple[object, ...]]:
    async for each in found:
        yield answers.item_row(each, scope, units, component)


def json_response(view: BaseModel, etag: str) -> Response:
    return Response(view.model_dump_json(), media_type="application/json", headers=figure_headers(etag))
