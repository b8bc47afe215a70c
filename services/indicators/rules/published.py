"""Published scores, computed once more from their own counts by the rule set in force (reporting-api.md §13.3). Pure.

Where they differ, the portal no longer scores as the rule set says: its formula has changed, or a parameter of ours is
wrong. How the counts came about is not asked here; no published figure could tell.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from decimal import Decimal
from functools import lru_cache
from typing import NamedTuple
from uuid import UUID

from services.indicators.rules import engine
from services.indicators.rules.engine import Component, RuleSet, Score
from shared.vocabulary import Given, IndicatorGroup

TOTAL = "TOTAL"
"""The component under which a group's own sum stands."""
WITHOUT_COUNTS = frozenset({"ELECTRONIC_CERTIFIED_COPY"})
"""Published as null of null, which scores like an empty denominator (§9)."""


class Published(NamedTuple):
    """A figure of a capture, of one group of one unit. `given`: which fields the body had (Given)."""

    group: str
    department_id: UUID
    component: str
    given: int
    numerator: int | None
    denominator: int | None
    score: Decimal | None


class Difference(NamedTuple):
    """A published score that the rule set does not give."""

    figure: Published
    recomputed: Decimal | None


class Outcome(NamedTuple):
    """checked: scores that could be computed. uncheckable: scores without the counts for it."""

    checked: int
    uncheckable: int
    differences: list[Difference]


def by_code(group: str) -> Mapping[str, Component]:
    """The components of a group by the portal's codes."""
    return _by_code().get(group, {})


@lru_cache(maxsize=1)
def _by_code() -> Mapping[str, Mapping[str, Component]]:
    return {
        group.slug.value: {component.code: component for component in group.components}
        for group in engine.parameters().groups.values()
    }


def recompute(figures: Iterable[Published], rules: RuleSet) -> Outcome:
    """All scores of the six groups. Sums are held against the published scores of their components, where those have
    one, so that one changed component is told once."""
    units: dict[tuple[str, UUID], list[Published]] = defaultdict(list)
    for figure in figures:
        if figure.group in _GROUPS:
            units[figure.group, figure.department_id].append(figure)
    checked = uncheckable = 0
    differences: list[Difference] = []
    for group in units.values():
        for figure, score in _scores(group, rules):
            if score is None:
                uncheckable += 1
                continue
            checked += 1
            if score.points != figure.score:
                differences.append(Difference(figure, score.points))
    return Outcome(checked, uncheckable, differences)


_GROUPS = frozenset(IndicatorGroup)


def _scores(group: list[Published], rules: RuleSet) -> Iterator[tuple[Published, Score | None]]:
    """Each published score of one group of one unit, with what it should be; None: that cannot be said."""
    parts: list[Score | None] = []
    total: Published | None = None
    for figure in group:
        if figure.component == TOTAL:
            total = figure
            continue
        score, informs = _score(figure, rules)
        if informs:
            continue
        if figure.given & Given.SCORE:
            yield figure, score
            maximum = score.max if score is not None else Decimal(0)
            parts.append(Score(None, figure.score, maximum))
        else:
            parts.append(score)
    if total is not None and total.given & Given.SCORE:
        told = [part for part in parts if part is not None]
        whole = len(told) == len(parts) and bool(parts)
        yield total, Score(None, engine.total(told), Decimal(0)) if whole else None


def _score(figure: Published, rules: RuleSet) -> tuple[Score | None, bool]:
    """What the counts of a component score, or None; and whether it is for information only."""
    component = by_code(figure.group).get(figure.component)
    if component is None:
        # Petitions by kind are one component of ours with a code for each kind.
        informs = any(
            each.scoring[rules.id].scaling == "information" and figure.component.startswith(code)
            for code, each in by_code(figure.group).items()
        )
        return None, informs
    if component.scoring[rules.id].scaling == "information":
        return None, True
    numerator, denominator = figure.numerator, figure.denominator
    if figure.component in WITHOUT_COUNTS and numerator is None and denominator is None:
        numerator = denominator = 0
    if numerator is None or denominator is None or not 0 <= numerator <= denominator:
        return None, False
    return engine.score(numerator, denominator, component, rules), False
