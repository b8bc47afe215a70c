"""The group and the component that an address names; what it does not find says where to look. Pure."""

from __future__ import annotations

from services.indicators.rules import engine
from services.indicators.rules.measures import MEASURES, Measure
from shared.errors import NotFound
from shared.vocabulary import IndicatorGroup


def measures_of(group: str) -> tuple[IndicatorGroup, list[Measure]]:
    """A group with what is counted of it. Raises NotFound(group) that names those there are."""
    if group not in set(IndicatorGroup):
        known = ", ".join(each.value for each in IndicatorGroup)
        raise NotFound(
            f"Không có nhóm chỉ số này; có: {known}.",
            f"there is no such group; there are: {known}",
            field="group",
        )
    return IndicatorGroup(group), [measure for measure in MEASURES.values() if measure.group == group]


def measure_of(group: str, component: str) -> Measure:
    """The measure behind a component of this group. Raises NotFound(group, component): of another group, which it
    names; with points and nothing to count (4.6); or of no group. The problem names those that have items."""
    _, measures = measures_of(group)
    for measure in measures:
        if measure.component == component:
            return measure
    having = ", ".join(measure.component for measure in measures)
    listed = f"thành phần có danh sách trong nhóm {group}: {having}", f"with items in {group}: {having}"
    known = engine.parameters().components.get(component)
    if known is not None and known.group != group:
        other = known.group.value
        raise NotFound(
            f"Thành phần {known.id} thuộc nhóm {other} (/v1/indicators/{other}); {listed[0]}.",
            f"{known.id} belongs to the group {other} (/v1/indicators/{other}); {listed[1]}",
            field="component",
        )
    if known is not None:
        raise NotFound(
            f"Thành phần {known.id} có điểm nhưng không có gì để đếm, nên không có danh sách; {listed[0]}.",
            f"{known.id} has points but nothing to count, so no items; {listed[1]}",
            field="component",
        )
    raise NotFound(
        f"Không có thành phần này; {listed[0]}.",
        f"there is no such component; {listed[1]}",
        field="component",
    )
