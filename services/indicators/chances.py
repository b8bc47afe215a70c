"""Points to win, read from the dossiers of a unit's period and put into words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from decimal import ROUND_HALF_UP, Decimal

from sqlalchemy.ext.asyncio import AsyncSession

from services.indicators import catalogue
from services.indicators.answers import vietnamese
from services.indicators.capture_queries import explaining
from services.indicators.catalogue import behind
from services.indicators.chances_schemas import AlongView, OpportunityView
from services.indicators.petitions import Seen
from services.indicators.queries import OF_BASIS, WITHIN, Figures, Scope
from services.indicators.rules import engine
from services.indicators.rules.catalogue import Judged as JudgedListed
from services.indicators.rules.measures import MEASURES
from services.indicators.rules.opportunities import MASK, Opportunity, Shape, opportunities
from services.indicators.rules.petitions import Judged, part_of
from shared.calendar import Period
from shared.db import driver, rows_to_columns
from shared.dossier_components import Count

FIRST = 10
"""Codes to begin with, of each opportunity."""
_MISSING = ("missing_on_national",)
"""The finding on a dossier that the nation should have and has not."""

_SHAPES = f"""
SELECT t.procedure_code, coalesce(p.facts, 0), t.shape, t.dossiers
FROM (SELECT procedure_code, bits & {MASK} AS shape, count(*) AS dossiers FROM assessment_period
       WHERE {OF_BASIS} AND period = $2 AND {WITHIN} GROUP BY 1, 2) AS t
  LEFT JOIN procedure p ON p.code = t.procedure_code
"""  # noqa: S608 - names of ours
_CODES = f"""
SELECT a.procedure_code, bits & {MASK}, (array_agg(code ORDER BY code))[1:{FIRST}]
FROM assessment_period a JOIN unnest($4::text[], $5::bigint[]) AS w(procedure_code, shape)
  ON a.procedure_code = w.procedure_code AND a.bits & {MASK} = w.shape
WHERE {OF_BASIS} AND period = $2 AND {WITHIN} GROUP BY 1, 2
"""  # noqa: S608 - names of ours


async def found(
    session: AsyncSession,
    scope: Scope,
    figures: Figures,
    petitions: Seen,
    listed: catalogue.Seen,
    rules: engine.RuleSet,
    *,
    province: str,
) -> list[OpportunityView]:
    """The most points per subject first, each with the first codes to begin with: of petitions those that still wait
    for something to be done."""
    connection = await driver(session)
    shapes = {
        Shape(code, facts, bits): dossiers
        for code, facts, bits, dossiers in await connection.fetch(_SHAPES, *scope.key)
    }
    other = _other(scope, figures, rules, province=province)
    chances = opportunities(shapes, other, rules)
    wanted = sorted(
        {(shape.procedure_code, shape.bits) for each in chances for shape, _ in each.first[:FIRST]}
    )
    rows = await connection.fetch(_CODES, *scope.key, *rows_to_columns(wanted, 2)) if wanted else []
    codes = {(row[0], row[1]): row[2] for row in rows}
    mine = petitions.within(scope.unit)

    missing = await explaining(session, scope.unit, _MISSING, scope.period.key, limit=FIRST)
    unsynced = [code for row in missing for code in row["codes"]]

    def first(each: Opportunity) -> list[str]:
        if each.measure.origin == "petitions":
            return _petitions(each, mine)
        if each.measure.origin == "catalogue":
            return _listed(each, behind(listed, each.measure, figures, scope))
        if each.measure.origin == "reports":
            return unsynced[: each.subjects]
        return _codes(each, codes)

    return [_view(each, first(each)) for each in chances]


def _other(scope: Scope, figures: Figures, rules: engine.RuleSet, *, province: str) -> dict[Count, int]:
    """The figures that are not counted from the tally and that the unit itself can move: not what it inherits, nor what
    its level does not have."""
    components = engine.parameters().components
    return {
        count: figures.measured[count]
        for measure in MEASURES.values()
        if measure.origin != "tally"
        and (scope.unit == province or not components[measure.component].inherited)
        and figures.level not in components[measure.component].scoring[rules.id].not_at
        for count in (measure.numerator, measure.denominator)
        if count in figures.measured
    }


def _petitions(each: Opportunity, mine: Sequence[Judged]) -> list[str]:
    found = sorted(
        part_of(mine, each.measure, "shortfall"),
        key=lambda one: (one.judgement.end_at is not None, one.judgement.deadline_at, one.petition.code),
    )
    return [one.petition.code for one in found[: min(FIRST, each.subjects)]]


def _listed(each: Opportunity, judged: Sequence[JudgedListed]) -> list[str]:
    short = [one.listed.code for one in judged if not one.holds]
    return short[: min(FIRST, each.subjects)]


def _codes(each: Opportunity, codes: Mapping[tuple[str, int], Sequence[str]]) -> list[str]:
    found: list[str] = []
    for shape, amount in each.first[:FIRST]:
        found += codes.get((shape.procedure_code, shape.bits), ())[:amount]
    return found[:FIRST]


_SUBJECT = {
    "dossier": "hồ sơ",
    "procedure": "thủ tục (mỗi thủ tục một hồ sơ)",
    "petition": "phản ánh, kiến nghị",
}
_LISTED = "thủ tục"


_LATE = "Chỉ khi số liệu ghi sai, ghi thiếu: {}."
_PAST = {
    "1.1": _LATE.format("các thủ tục này đã công bố muộn hoặc đã quá hạn công bố"),
    "1.2": _LATE.format("các thủ tục này đã công khai muộn hoặc đã quá hạn công khai"),
    "2.1": _LATE.format(
        "các hồ sơ này đã quá hạn hoặc không có hạn để so; hồ sơ chưa đến hạn đang được tính là đúng hạn"
    ),
    "5.2": _LATE.format("các phản ánh, kiến nghị này đã quá hạn"),
    "5.3": _LATE.format(
        "các phản ánh, kiến nghị này đã quá hạn, đã phải gửi lại, hoặc bị đánh giá không hài lòng (chỉ còn đổi được nếu"
        " người dân đánh giá lại)"
    ),
    "5.4": _LATE.format(
        "các hồ sơ này đã quá hạn, không có hạn để so, hoặc đã bị phản ánh, kiến nghị; hồ sơ chưa đến hạn và không bị"
        " phản ánh đang được tính là hài lòng"
    ),
}
"""Components whose whole shortfall has happened already: what is not lost yet stands in their numerators."""


def ended(period: Period, now: datetime) -> str | None:
    """What an ended period's points are worth; None: it is running."""
    if now < period.end:
        return None
    return (
        f"Kỳ {period.key} đã kết thúc: chỉ còn đổi được nhờ sửa số liệu ghi sai, bổ sung số liệu ghi thiếu."
    )


def _view(each: Opportunity, codes: list[str]) -> OpportunityView:
    component = engine.parameters().components[each.measure.component]
    per = each.each.quantize(Decimal("0.0001"), ROUND_HALF_UP)
    return OpportunityView(
        component=component.id,
        group=component.group,
        name=component.name,
        subject=each.measure.subject,
        winnable=each.winnable,
        subjects=each.subjects,
        points=each.points,
        own=each.own,
        along=[AlongView(component=key, points=points) for key, points in each.along.items()],
        points_per_subject=per,
        why=" ".join(filter(None, (_sentence(each, component.name, per), _PAST.get(component.id)))),
        only_if_data_wrong=component.id in _PAST,
        caveat=_PAST.get(component.id),
        first=codes,
    )


def _sentence(each: Opportunity, name: str, per: Decimal) -> str:
    along = ", ".join(f"{vietnamese(points)} điểm ở {key}" for key, points in each.along.items())
    subject = _LISTED if each.measure.origin == "catalogue" else _SUBJECT[each.measure.subject]
    return (
        f"Nếu thêm {vietnamese(each.subjects)} {subject} đạt yêu cầu của {each.measure.component} ({name}) thì tăng"
        f" {vietnamese(each.points)} điểm"
        + (f", gồm {vietnamese(each.own)} điểm ở {each.measure.component} và {along}" if along else "")
        + f"; mỗi {subject.partition(' (')[0]} khoảng {vietnamese(per)} điểm."
    )
