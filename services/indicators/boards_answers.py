"""Figures of many units and periods → the shapes of the answers. No I/O."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime
from decimal import Decimal

from services.indicators import answers, near_due
from services.indicators import boards_schemas as shapes
from services.indicators.boards import Place, together
from services.indicators.near_due import Ahead
from services.indicators.queries import Figures, Scope
from services.indicators.rules import engine, scoring
from services.indicators.rules.engine import RuleSet
from services.indicators.rules.ranking import ranks
from services.indicators.rules.scoring import GroupScored
from services.indicators.rules.units import UnitTree
from services.indicators.schemas import UnitView
from shared import coverage
from shared.calendar import Period, local_day
from shared.errors import Invalid
from shared.identifiers import is_within
from shared.reasons import Bit
from shared.vocabulary import IndicatorGroup

LEVELS: dict[shapes.Level, str] = {"department": "Sở, ban, ngành", "commune": "Xã, phường, đặc khu"}
WHOLE = Decimal(100)
"""The groups' maxima sum to it (engine checks)."""


def rank_by(asked: shapes.RankBy | None, whole: Mapping[IndicatorGroup, bool]) -> tuple[shapes.RankBy, str]:
    """What the ranks stand on, and why in words. whole: group → whether all units that have dossiers have points in it.
    Invalid(field="by"): asked for what some have no points in."""
    missing = [group for group, each in whole.items() if not each]
    possible = [group.value for group, each in whole.items() if each]
    possible += [] if missing else ["total"]
    chosen = asked or ("progress" if missing else "total")
    if chosen not in possible:
        raise Invalid(
            f"Chưa xếp hạng được theo «{chosen}» vì có đơn vị mà một thành phần chưa được tính; có:"
            f" {', '.join(possible)}.",
            f"nothing to rank by {chosen}: a component is not computed for all units; there are: {', '.join(possible)}",
            field="by",
        )
    if chosen == "total":
        return chosen, "Xếp hạng theo tổng điểm của sáu nhóm."
    name = engine.parameters().groups[IndicatorGroup(chosen)].name
    if asked is None:
        return chosen, f"Chưa đủ sáu nhóm để có tổng điểm nên xếp hạng theo nhóm {name}."
    return chosen, f"Xếp hạng theo nhóm {name}."


def scoreboard(
    scope: Scope,
    asked: shapes.RankBy | None,
    levels: Mapping[shapes.Level, list[str]],
    found: Mapping[Place, Figures],
    rules: RuleSet,
    covered: coverage.Coverage,
    units: UnitTree,
    now: datetime,
) -> shapes.ScoreboardView:
    """levels: the units of each board. All of a level are ranked; the rows are those within the scope's unit. asked:
    as rank_by, which may raise."""
    period = scope.period
    boards: list[shapes.BoardView] = []
    shown: dict[str, Figures] = {}
    every = {code: found[Place(code, period.key)] for codes in levels.values() for code in codes}
    scored = {
        code: scoring.score_groups(figures.measured, rules, figures.level) for code, figures in every.items()
    }
    active = [code for code, figures in every.items() if figures.counts["dossiers"]] or list(every)
    whole = {
        group: counted and all(scored[code][group].points is not None for code in active)
        for group, counted in scoring.complete(rules).items()
    }
    by, why = rank_by(asked, whole)
    for level, codes in levels.items():
        points: dict[str, Decimal] = {}
        for code in codes:
            reached = (
                scoring.total(scored[code]) if by == "total" else scored[code][IndicatorGroup(by)].points
            )
            if reached is not None and every[code].counts["dossiers"]:
                points[code] = reached
        places = ranks(points)
        inside = {code: found[Place(code, period.key)] for code in codes if is_within(code, scope.unit)}
        shown |= inside
        rows = [
            _row(code, each, scored[code], places.get(code), period, units) for code, each in inside.items()
        ]
        rows.sort(key=lambda row: (not row.active, row.rank or len(codes) + 1, row.unit.code))
        boards.append(
            shapes.BoardView(
                level=level,
                name=LEVELS[level],
                ranked=len(places),
                inactive=sum(not found[Place(code, period.key)].counts["dossiers"] for code in codes),
                rows=rows,
            )
        )
    apart = [
        each
        for code, each in shown.items()
        if not any(other != code and is_within(code, other) for other in shown)
    ]
    as_of = max((each.as_of for each in shown.values() if each.as_of is not None), default=None)
    return shapes.ScoreboardView(
        period=answers.period_view(period, now),
        basis=scope.basis,
        rule_set=answers.rule_set(rules),
        ranked_by=by,
        why=why,
        missing=[group for group, each in whole.items() if not each],
        boards=boards,
        coverage=answers.coverage_view(scope, together(apart), covered, now),
        as_of=as_of,
    )


def group_points(
    scored: Mapping[IndicatorGroup, GroupScored], period: Period
) -> list[shapes.GroupPointsView]:
    found = []
    for group, each in scored.items():
        described = engine.parameters().groups[group]
        found.append(
            shapes.GroupPointsView(
                group=group,
                name=described.name,
                points=each.points,
                max=described.max,
                rating=None
                if each.points is None
                else engine.rating(each.points, described.max, period.last_day),
            )
        )
    return found


def total_rating(total: Decimal | None, period: Period) -> str | None:
    return None if total is None else engine.rating(total, WHOLE, period.last_day)


def _row(
    code: str,
    figures: Figures,
    scored: Mapping[IndicatorGroup, GroupScored],
    rank: int | None,
    period: Period,
    units: UnitTree,
) -> shapes.BoardRowView:
    counts, total = figures.counts, scoring.total(scored)
    return shapes.BoardRowView(
        rank=rank,
        unit=UnitView(code=code, name=units.name(code, period.last_day)),
        active=counts["dossiers"] > 0,
        groups=group_points(scored, period),
        total=total,
        rating=total_rating(total, period),
        dossiers=counts["dossiers"],
        on_time=counts["on_time"],
        overdue=counts["dossiers"] - counts["on_time"] - counts["undetermined"],
        undetermined=counts["undetermined"],
    )


def board_header() -> tuple[str, ...]:
    groups = (group.name for group in engine.parameters().groups.values())
    return ("Cấp", "Hạng", "Mã đơn vị", "Đơn vị", "Có hồ sơ", *groups, "Tổng điểm", "Xếp loại", "Hồ sơ", "Đúng hạn",
            "Quá hạn", "Không xác định")  # fmt: skip


def board_rows(view: shapes.ScoreboardView) -> Iterator[tuple[object, ...]]:
    """Rows under board_header()."""
    for board in view.boards:
        for row in board.rows:
            yield (
                board.name, row.rank, row.unit.code, row.unit.name, "có" if row.active else "không",
                *(each.points for each in row.groups), row.total, row.rating, row.dossiers, row.on_time, row.overdue,
                row.undetermined,
            )  # fmt: skip


NEAR_DUE_HEADER = (
    "Mã hồ sơ", "Mã đơn vị", "Đơn vị", "Mã thủ tục", "Thủ tục", "Hạn", "Còn (ngày làm việc)", "Còn (giờ làm việc)",
    "Vì sao",
)  # fmt: skip


def near_due_item(each: Ahead, now: datetime, units: UnitTree) -> shapes.NearDueItemView:
    remaining = near_due.left(now, each.due_at)
    return shapes.NearDueItemView(
        code=each.code,
        unit_code=each.unit_code,
        unit_name=units.name(each.unit_code, local_day(now)),
        procedure_code=each.procedure_code or None,
        procedure_name=each.procedure_name,
        due_at=each.due_at,
        by_maximum=bool(each.bits & Bit.BY_MAXIMUM),
        working_days_left=remaining.days,
        working_hours_left=remaining.hours,
        on_time=bool(each.bits & Bit.ON_TIME),
        copy_counted=answers.copy_counted(each.bits),
        why=near_due.why(each, remaining),
    )


def near_due_row(view: shapes.NearDueItemView) -> tuple[object, ...]:
    """A row under NEAR_DUE_HEADER."""
    return (
        view.code, view.unit_code, view.unit_name, view.procedure_code, view.procedure_name, view.due_at,
        view.working_days_left, view.working_hours_left, view.why,
    )  # fmt: skip
