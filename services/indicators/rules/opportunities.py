"""Points to win: what the scores would be if more of a component's shortfall were in its numerator. Pure.

What counts in several components (a dossier on time counts in 2.1 and, where it is not complained of, in 5.4; a result
file in 4.1 and 4.2) is found by the measures' own conditions: a dossier is given the bits that the numerator asks for
beyond the denominator, and everything is counted again. So targets, rounding and double counting are those of the
scores themselves, and a promise is what a recount would give. A component that is not counted from the tally of
dossiers is taken by its two counts alone.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from decimal import Decimal
from functools import lru_cache
from typing import NamedTuple

from services.indicators.rules import engine
from services.indicators.rules.engine import RuleSet, Score
from services.indicators.rules.measures import MEASURES, Measure, figures_of
from shared.dossier_components import Condition, Count
from shared.reasons import Bit
from shared.vocabulary import ProcedureFact


class Shape(NamedTuple):
    """Dossiers of one procedure that every measure takes alike. facts: of vocabulary.ProcedureFact, bits: of
    shared.reasons.Bit."""

    procedure_code: str
    facts: int
    bits: int


class Opportunity(NamedTuple):
    """subjects: how many of the shortfall to win, the fewest that give the component all that winning the whole
    `winnable` would. points: what that gives over all components, `own` of it in this one, `along`: component → points
    in the others. first: the shapes to begin with and how many of each, one dossier for each procedure where procedures
    are counted; empty where the subjects are not counted from dossiers."""

    measure: Measure
    winnable: int
    subjects: int
    points: Decimal
    own: Decimal
    along: Mapping[str, Decimal]
    first: tuple[tuple[Shape, int], ...]

    @property
    def each(self) -> Decimal:
        """Points per subject, not rounded."""
        return self.points / self.subjects


def lifted(shape: Shape, measure: Measure) -> Shape:
    """The shape with the bits that the numerator has beyond the denominator."""
    asked = (
        _condition(measure.numerator, shape.facts).having
        & ~_condition(measure.denominator, shape.facts).having
    )
    return shape._replace(bits=shape.bits | int(asked))


def opportunities(
    shapes: Mapping[Shape, int], other: Mapping[Count, int], rules: RuleSet
) -> list[Opportunity]:
    """The most points per subject first. shapes: dossiers of a unit's period. other: the figures of the measures that
    are not counted from the tally; a measure without one is left out."""
    tallied = _Tallied.of(shapes, other)
    measures = [
        each
        for each in MEASURES.values()
        if engine.parameters().components[each.component].scoring[rules.id].scaling != "information"
        and (each.origin == "tally" or {each.numerator, each.denominator} <= other.keys())
    ]
    before = _scores(measures, tallied.counts, rules)
    found = [_opportunity(each, shapes, tallied, measures, before, rules) for each in measures]
    return sorted(
        (each for each in found if each is not None), key=lambda each: (-each.each, each.measure.component)
    )


def _opportunity(
    measure: Measure,
    shapes: Mapping[Shape, int],
    tallied: _Tallied,
    measures: Sequence[Measure],
    before: Mapping[str, Score],
    rules: RuleSet,
) -> Opportunity | None:
    by_dossier = measure.origin == "tally"
    candidates = _candidates(measure, shapes, tallied, measures, before, rules) if by_dossier else []
    n, whole = tallied.counts[measure.numerator], tallied.counts[measure.denominator]
    winnable = sum(amount for _, amount in candidates) if by_dossier else whole - n
    component = engine.parameters().components[measure.component]

    def reached(k: int) -> Decimal:
        return engine.score(n + k, whole, component, rules).points or Decimal(0)

    if not winnable or reached(winnable) == reached(0):
        return None
    low, high = 1, winnable  # points never fall with k
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if reached(middle) == reached(winnable) else (middle + 1, high)
    first = _first(candidates, low)
    counts = tallied.after(first, measure) if by_dossier else {**tallied.counts, measure.numerator: n + low}
    after = _scores(measures, counts, rules)
    won = {key: (after[key].points or Decimal(0)) - (before[key].points or Decimal(0)) for key in before}
    own = won.pop(measure.component)
    along = {key: points for key, points in won.items() if points}
    return Opportunity(measure, winnable, low, own + sum(along.values()), own, along, first)


def _candidates(
    measure: Measure,
    shapes: Mapping[Shape, int],
    tallied: _Tallied,
    measures: Sequence[Measure],
    before: Mapping[str, Score],
    rules: RuleSet,
) -> list[tuple[Shape, int]]:
    """What can be won, in the order to begin with: what counts most elsewhere too, then what is still open."""
    found = []
    for shape, amount in shapes.items():
        winner = lifted(shape, measure)
        if (
            amount
            and measure.denominator.holds(shape.bits, shape.facts)
            and not measure.numerator.holds(shape.bits, shape.facts)
            and measure.numerator.holds(winner.bits, winner.facts)
            and not tallied.procedures.get((measure.numerator, shape.procedure_code))
        ):
            along = sum(
                (
                    before[each.component].max / max(tallied.counts[each.denominator], 1)
                    for each in measures
                    if before[each.component].points != before[each.component].max
                    and each.subject == "dossier"
                    and each.numerator.holds(winner.bits, winner.facts)
                    and not each.numerator.holds(shape.bits, shape.facts)
                ),
                Decimal(0),
            )
            found.append(((-along, bool(shape.bits & Bit.DONE), shape), amount))
    found.sort()
    if not measure.numerator.procedures:
        return [(key[2], amount) for key, amount in found]
    best: dict[str, Shape] = {}
    for key, _ in found:
        best.setdefault(key[2].procedure_code, key[2])
    return [(shape, 1) for shape in best.values()]


def _first(candidates: Sequence[tuple[Shape, int]], subjects: int) -> tuple[tuple[Shape, int], ...]:
    found = []
    for shape, amount in candidates:
        if not subjects:
            break
        taken = min(amount, subjects)
        found.append((shape, taken))
        subjects -= taken
    return tuple(found)


class _Tallied(NamedTuple):
    """procedures: dossiers behind each figure that counts procedures, by procedure."""

    counts: dict[Count, int]
    procedures: dict[tuple[Count, str], int]

    @staticmethod
    def of(shapes: Mapping[Shape, int], other: Mapping[Count, int]) -> _Tallied:
        counts: Counter[Count] = Counter(dict.fromkeys(_COUNTS, 0))
        procedures: Counter[tuple[Count, str]] = Counter()
        for shape, amount in shapes.items():
            for count in _held(shape.bits, shape.facts):
                if count.procedures:
                    procedures[count, shape.procedure_code] += amount
                else:
                    counts[count] += amount
        counts.update(count for (count, _), amount in procedures.items() if amount)
        return _Tallied({**counts, **other}, dict(procedures))

    def after(self, chosen: Sequence[tuple[Shape, int]], measure: Measure) -> dict[Count, int]:
        """The counts once these are in the measure's numerator."""
        counts, moved = dict(self.counts), Counter[tuple[Count, str]]()
        for shape, amount in chosen:
            winner = lifted(shape, measure)
            for held, sign in ((_held(shape.bits, shape.facts), -1), (_held(winner.bits, winner.facts), 1)):
                for count in held:
                    if count.procedures:
                        moved[count, shape.procedure_code] += sign * amount
                    else:
                        counts[count] += sign * amount
        for key, change in moved.items():
            there = self.procedures.get(key, 0)
            counts[key[0]] += (there + change > 0) - (there > 0)
        return counts


_COUNTS = figures_of("tally")
MASK = int(Bit.DONE)
"""Bits that tell shapes apart; all others are the same to every measure."""
for _count in _COUNTS:
    MASK |= _count.plain.mask | _count.resulting.mask


@lru_cache(maxsize=65_536)
def _held(bits: int, facts: int) -> tuple[Count, ...]:
    return tuple(count for count in _COUNTS if count.holds(bits, facts))


def _condition(count: Count, facts: int) -> Condition:
    return count.resulting if facts & ProcedureFact.RESULT else count.plain


def _scores(measures: Sequence[Measure], counts: Mapping[Count, int], rules: RuleSet) -> dict[str, Score]:
    described = engine.parameters().components
    return {
        each.component: engine.score(
            counts[each.numerator], counts[each.denominator], described[each.component], rules
        )
        for each in measures
    }
