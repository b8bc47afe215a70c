"""Figures → the points of each group: the same for one unit's answer, a board of all units and a row of months. Pure.

A part of a group is no score of it, and a part of the groups no total (indicators.md §4.1): where a component that
scores is not counted in this version, or cannot be told of a unit, both are None. A component that a unit's level does
not have (§4.9) is none of its group: it has no score, and nothing is missing.
"""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import NamedTuple

from services.indicators.rules import engine
from services.indicators.rules.engine import Component, Group, RuleSet, Score
from services.indicators.rules.measures import MEASURES, Measure
from shared.dossier_components import Count
from shared.vocabulary import IndicatorGroup


class Scored(NamedTuple):
    """measure None: the portal gives the points to everyone, there is nothing to count (4.6)."""

    component: Component
    measure: Measure | None
    score: Score


class GroupScored(NamedTuple):
    """scored: in the order of the parameters. absent: components that score and are not counted; with any, points is
    None. inapplicable: those that the unit's level does not have."""

    scored: tuple[Scored, ...]
    absent: tuple[Component, ...]
    points: Decimal | None
    inapplicable: tuple[Component, ...] = ()


def score_group(
    group: IndicatorGroup, measured: Mapping[Count, int], rules: RuleSet, level: str | None
) -> GroupScored:
    """One group of a unit of a level from the figures of its measures; one whose figures are not there is absent."""
    scored: list[Scored] = []
    absent: list[Component] = []
    inapplicable: list[Component] = []
    for component in engine.parameters().groups[group].components:
        if component.scoring[rules.id].scaling == "information":
            continue
        if level in component.scoring[rules.id].not_at:
            inapplicable.append(component)
            continue
        measure = MEASURES.get(component.id)
        if measure is not None and {measure.numerator, measure.denominator} <= measured.keys():
            counts = measured[measure.numerator], measured[measure.denominator]
            scored.append(Scored(component, measure, engine.score(*counts, component, rules)))
        elif measure is None and component.computed:
            scored.append(Scored(component, None, engine.score(0, 0, component, rules)))
        else:
            absent.append(component)
    points = None if absent else engine.total([each.score for each in scored])
    return GroupScored(tuple(scored), tuple(absent), points, tuple(inapplicable))


def score_groups(
    measured: Mapping[Count, int], rules: RuleSet, level: str | None
) -> dict[IndicatorGroup, GroupScored]:
    """All six, in their order."""
    return {group: score_group(group, measured, rules, level) for group in engine.parameters().groups}


def total(groups: Mapping[IndicatorGroup, GroupScored]) -> Decimal | None:
    """The sum of the groups; None where one is missing."""
    points = [each.points for each in groups.values() if each.points is not None]
    return sum(points, Decimal("0.00")) if len(points) == len(groups) else None


def complete(rules: RuleSet) -> dict[IndicatorGroup, bool]:
    """Which groups this version scores whole."""
    return {
        group.slug: all(
            component.computed or component.scoring[rules.id].scaling == "information"
            for component in group.components
        )
        for group in engine.parameters().groups.values()
    }


class LegalGroup(NamedTuple):
    """A group as QĐ 766 names them: five, of which one is two of the portal's (indicators.md §1)."""

    name: str
    groups: tuple[IndicatorGroup, ...]
    max: Decimal
    points: Decimal | None


def legal_groups(points: Mapping[IndicatorGroup, Decimal | None]) -> list[LegalGroup]:
    """The portal's six groups → the Decision's five, in its order; points None where a part has none."""
    parts: dict[str, list[Group]] = {}
    for group in engine.parameters().groups.values():
        parts.setdefault(group.law_name, []).append(group)
    found = []
    for name, groups in parts.items():
        told = [each for group in groups if (each := points.get(group.slug)) is not None]
        found.append(
            LegalGroup(
                name,
                tuple(group.slug for group in groups),
                sum((group.max for group in groups), Decimal(0)),
                sum(told, Decimal("0.00")) if len(told) == len(groups) else None,
            )
        )
    return found
