"""A unit through time: which periods are asked for, and the figures of each as an answer. No I/O."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from decimal import ROUND_HALF_UP, Decimal

from services.indicators import answers
from services.indicators import trends_schemas as shapes
from services.indicators.boards import Place, newest
from services.indicators.boards_answers import group_points, total_rating
from services.indicators.queries import Figures, Scope
from services.indicators.rules import engine, scoring
from services.indicators.rules.scoring import Scored
from services.indicators.rules.units import UnitTree
from services.indicators.schemas import UnitView
from shared.calendar import Period, check_begun, period_of
from shared.errors import Invalid

MOST = 60
"""Periods of one answer: five years of months."""
_USUAL = 12
_RATIO = Decimal("0.000001")


def periods(first: str | None, last: str | None, now: datetime) -> list[Period]:
    """From the first to the last, both of one kind; none given: the running period of that kind (a month), and the
    twelve up to the last as far as a rule set was in force. Invalid names the field."""
    given = Period.parse(first or last or "") if first or last else period_of("month", now)
    end = Period.parse(last) if last else period_of(given.kind, now)
    check_begun(end, now, field="to")
    if first:
        begin = Period.parse(first)
        if begin.kind != end.kind or begin.start > end.start:
            raise Invalid(
                "Kỳ đầu phải cùng loại (tháng, quý hoặc năm) và không sau kỳ cuối.",
                "the first period must be of the last one's kind and not after it",
                field="from",
            )
        engine.rule_set_for(begin)
    found = [end]
    engine.rule_set_for(end)
    while found[-1].start > begin.start if first else len(found) < _USUAL:
        before = found[-1].previous()
        if not first and not engine.governed(before):
            break
        found.append(before)
        if len(found) > MOST:
            raise Invalid(
                f"Nhiều nhất {MOST} kỳ một lần.", f"at the most {MOST} periods at once", field="from"
            )
    return found[::-1]


def view(
    scope: Scope, found: Mapping[Place, Figures], asked: Sequence[Period], units: UnitTree, now: datetime
) -> shapes.TrendsView:
    """scope.period is not looked at."""
    return shapes.TrendsView(
        unit=UnitView(code=scope.unit, name=units.name(scope.unit, asked[-1].last_day)),
        basis=scope.basis,
        periods=[_period(found[Place(scope.unit, each.key)], each, now) for each in asked],
        as_of=newest(found),
    )


def _period(figures: Figures, period: Period, now: datetime) -> shapes.TrendPeriodView:
    rules, counts = engine.rule_set_for(period), figures.counts
    scored = scoring.score_groups(figures.measured, rules, figures.level)
    total = scoring.total(scored)
    return shapes.TrendPeriodView(
        period=answers.period_view(period, now),
        rule_set=rules.id,
        groups=[
            shapes.TrendGroupView(
                group=each.group,
                points=each.points,
                max=each.max,
                rating=each.rating,
                components=[_component(one, figures) for one in scored[each.group].scored],
            )
            for each in group_points(scored, period)
        ],
        legal_groups=[
            shapes.LegalPointsView(name=each.name, groups=list(each.groups), max=each.max, points=each.points)
            for each in scoring.legal_groups({group: one.points for group, one in scored.items()})
        ],
        total=total,
        rating=total_rating(total, period),
        dossiers=counts["dossiers"],
        on_time=counts["on_time"],
        overdue=counts["dossiers"] - counts["on_time"] - counts["undetermined"],
        undetermined=counts["undetermined"],
    )


def _component(each: Scored, figures: Figures) -> shapes.TrendComponentView:
    measure, score = each.measure, each.score
    return shapes.TrendComponentView(
        id=each.component.id,
        numerator=None if measure is None else figures.measured[measure.numerator],
        denominator=None if measure is None else figures.measured[measure.denominator],
        ratio=None if score.ratio is None else score.ratio.quantize(_RATIO, ROUND_HALF_UP),
        points=score.points,
        max=score.max,
    )
