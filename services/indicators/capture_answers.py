"""Captures → the shapes of the answers. No I/O."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal
from typing import Any
from uuid import UUID

import msgspec

from services.indicators import capture_schemas as schemas
from services.indicators.answers import vietnamese
from services.indicators.capture_queries import GROUPS, TOTAL, Figure, Head, Unit
from services.indicators.rules import engine
from services.indicators.rules.published import WITHOUT_COUNTS, by_code
from services.indicators.rules.scoring import GroupScored, Scored
from shared.vocabulary import Given, IndicatorGroup

_FIELDS: tuple[tuple[Given, schemas.NotProvided], ...] = (
    (Given.NUMERATOR, "numerator"),
    (Given.DENOMINATOR, "denominator"),
    (Given.RATIO, "ratio"),
    (Given.SCORE, "score"),
    (Given.MAX, "max_score"),
)
_LATENESS = (
    "missing_on_national", "missing_on_provincial", "possible_duplicate", "appointment_differs",
    "appointment_missing", "appointment_invented", "end_differs", "end_stamped_as_receipt",
    "processing_date_is_push_time", "status_differs", "status_overwritten", "unit_differs", "impossible_record",
)  # fmt: skip
EXPLAINING: Mapping[str, tuple[str, ...]] = {"2.1": _LATENESS, "5.4": _LATENESS}
"""Findings that can move a component's counts, by component. What is not here: those that move whether a dossier is
there at all (MEMBERSHIP)."""
MEMBERSHIP = (
    "missing_on_national", "missing_on_provincial", "possible_duplicate", "unit_differs", "procedure_differs",
)  # fmt: skip
"""Findings that move the denominator of whatever counts dossiers."""


def capture(head: Head) -> dict[str, Any]:
    """capture_schemas.CaptureView."""
    found = head._asdict()
    del found["politeness"]
    return found


def politeness(head: Head) -> dict[str, Any]:
    found: dict[str, Any] = msgspec.json.decode(head.politeness)
    return found


def shown(figure: Figure) -> str:
    """What to show of the counts (reporting-api.md §9): null, zero and not published are three things."""
    if not figure.given & (Given.NUMERATOR | Given.DENOMINATOR):
        return "–"
    if figure.numerator is None and figure.denominator is None:
        return "100 % (không có mẫu số)" if figure.code in WITHOUT_COUNTS else "không có dữ liệu"
    if figure.denominator == 0:
        return "không phát sinh" if figure.group != "satisfaction" else "không có hồ sơ, phản ánh"
    numerator, denominator = (
        "–" if value is None else vietnamese(value) for value in (figure.numerator, figure.denominator)
    )
    provisional = " (tạm tính)" if figure.data_quality == "TEMP_NATIONAL_REPORT_DENOMINATOR" else ""
    return f"{numerator}/{denominator}{provisional}"


def figure(each: Figure) -> schemas.FigureView:
    component = by_code(each.group).get(each.code)
    return schemas.FigureView(
        component=component.id if component else None,
        code=each.code,
        name=component.name if component else None,
        numerator=each.numerator,
        denominator=each.denominator,
        ratio=each.ratio,
        score=each.score,
        max_score=each.max_score,
        not_provided=[name for bit, name in _FIELDS if not each.given & bit],
        data_quality=each.data_quality,
        shown=shown(each),
    )


def groups(figures: Iterable[Figure]) -> list[schemas.GroupFigureView]:
    """The six groups of one unit, in their order; one that does not have the unit says so."""
    by_group: dict[str, list[Figure]] = defaultdict(list)
    for each in figures:
        by_group[each.group].append(each)
    described = engine.parameters().groups
    found = []
    for slug in GROUPS:
        mine = by_group.get(slug, [])
        total = next((each for each in mine if each.code == TOTAL), None)
        found.append(
            schemas.GroupFigureView(
                group=slug,
                name=described[IndicatorGroup(slug)].name,
                present=total is not None,
                score=total.score if total else None,
                max_score=total.max_score if total else None,
                ratio=total.ratio if total else None,
                counts=msgspec.json.decode(total.counts) if total and total.counts else {},
                components=[figure(each) for each in mine if each.code != TOTAL],
            )
        )
    return found


def unit_totals(units: Sequence[Unit], sums: Iterable[Figure]) -> list[schemas.UnitTotalView]:
    scores: dict[UUID, dict[str, Decimal | None]] = defaultdict(dict)
    for each in sums:
        scores[each.department_id][each.group] = each.score
    return [
        schemas.UnitTotalView(
            unit_code=unit.unit_code,
            department_id=str(unit.department_id),
            department_code=unit.department_code,
            name=unit.name,
            kind=unit.kind,
            total=scores[unit.department_id].get("province"),
            groups={group: scores[unit.department_id].get(group) for group in GROUPS},
            missing=unit.missing,
        )
        for unit in units
    ]


def checks(
    found: Iterable[tuple[str, bool | None, int, int, list[dict[str, Any]]]], sees: set[str], whole: bool
) -> list[schemas.CheckView]:
    """`sees`: ids of the units in scope; `whole`: the province, which sees what is of no unit as well."""
    return [
        schemas.CheckView(
            code=code,
            holds=holds,
            checked=checked,
            failed=failed,
            examples=[
                each
                for each in detail
                if whole or (each["department_id"] is not None and each["department_id"] in sees)
            ],
        )
        for code, holds, checked, failed, detail in found
    ]


def moved(row: Mapping[str, Any]) -> schemas.MovedView:
    component = by_code(row["endpoint"]).get(row["component"])
    before, after = (
        schemas.ValuesView(numerator=row[f"n{side}"], denominator=row[f"d{side}"], score=row[f"s{side}"])
        if row["after" if side else "before"]
        else None
        for side in (0, 1)
    )
    change = None
    if before is not None and after is not None and before.score is not None and after.score is not None:
        change = after.score - before.score
    return schemas.MovedView(
        unit_code=row["unit_code"],
        name=row["name"],
        group=row["endpoint"],
        code=row["component"],
        component_name=component.name if component else None,
        before=before,
        after=after,
        score_change=change,
    )


FIGURE_HEADER = (
    "Mã đơn vị", "Mã trên Cổng", "Đơn vị", "Nhóm", "Chỉ tiêu", "Tên chỉ tiêu", "Tử số", "Mẫu số", "Tỷ lệ", "Điểm",
    "Điểm tối đa", "Cổng ghi chú", "Không công bố",
)  # fmt: skip


def figure_row(unit: Unit, each: Figure) -> tuple[object, ...]:
    """A row under FIGURE_HEADER."""
    view = figure(each)
    return (
        unit.unit_code,
        unit.department_code,
        unit.name,
        each.group,
        each.code,
        view.name,
        each.numerator,
        each.denominator,
        each.ratio,
        each.score,
        each.max_score,
        each.data_quality,
        ", ".join(view.not_provided),
    )


MOVED_HEADER = (
    "Mã đơn vị", "Đơn vị", "Nhóm", "Chỉ tiêu", "Tử số trước", "Mẫu số trước", "Điểm trước", "Tử số sau", "Mẫu số sau",
    "Điểm sau", "Thay đổi điểm",
)  # fmt: skip


def moved_row(row: Mapping[str, Any]) -> tuple[object, ...]:
    """A row under MOVED_HEADER."""
    change = moved(row).score_change
    values = [row[name] for name in ("n0", "d0", "s0", "n1", "d1", "s1")]
    return (row["unit_code"], row["name"], row["endpoint"], row["component"], *values, change)


def kinds_explaining(component: str, *, of_dossiers: bool) -> tuple[str, ...]:
    return EXPLAINING.get(component, MEMBERSHIP if of_dossiers else ())


def compared_group(
    group: IndicatorGroup,
    published: Mapping[str, Figure],
    ours: GroupScored,
    counts: Mapping[str, tuple[int, int]],
    explained: Mapping[str, list[schemas.ExplanationView]],
    uncounted: Mapping[str, str],
) -> schemas.ComparedGroupView:
    """`published`: by the portal's codes; `counts`: ours, by component; `explained`: by component; `uncounted`: why a
    component cannot be told."""
    described = engine.parameters().groups[group]
    scored = {each.component.id: each for each in ours.scored}
    absent = {each.id: each for each in ours.absent}
    components = [
        _compared(
            component,
            published.get(component.code),
            scored.get(component.id),
            counts.get(component.id),
            explained,
            uncounted.get(component.id),
        )
        for component in described.components
        if component.id in scored or component.id in absent
    ]
    total = published.get(TOTAL)
    theirs = total.score if total else None
    return schemas.ComparedGroupView(
        group=group.value,
        name=described.name,
        max=described.max,
        published=theirs,
        ours=ours.points,
        difference=None if theirs is None or ours.points is None else theirs - ours.points,
        components=components,
    )


def _compared(
    component: engine.Component,
    published: Figure | None,
    scored: Scored | None,
    counts: tuple[int, int] | None,
    explained: Mapping[str, list[schemas.ExplanationView]],
    why: str | None,
) -> schemas.ComparedView:
    numerator, denominator = counts or (None, None)
    points = scored.score.points if scored else None
    missing = None if scored else why or "Phiên bản này chưa đếm thành phần này."
    view = figure(published) if published else None
    score = view.score if view else None
    return schemas.ComparedView(
        component=component.id,
        name=component.name,
        published=view,
        ours=schemas.OursView(numerator=numerator, denominator=denominator, points=points, missing=missing),
        numerator_difference=_minus(view.numerator if view else None, numerator),
        denominator_difference=_minus(view.denominator if view else None, denominator),
        points_difference=None if score is None or points is None else score - points,
        explained_by=explained.get(component.id, []),
    )


def _minus(a: int | None, b: int | None) -> int | None:
    return None if a is None or b is None else a - b
