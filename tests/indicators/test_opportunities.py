"""What is promised is what a recount gives."""

from __future__ import annotations

from collections import Counter
from decimal import Decimal

from hypothesis import given
from hypothesis import strategies as st

from services.indicators.rules import engine
from services.indicators.rules.measures import MEASURES
from services.indicators.rules.opportunities import MASK, Shape, lifted, opportunities
from shared.calendar import Period
from shared.dossier_components import Count
from shared.reasons import Bit
from shared.vocabulary import ProcedureFact

RULES = engine.rule_set_for(Period.parse("2026-08"))
MEMBER = int(Bit.MEMBER)
SCORING = [
    measure
    for measure in MEASURES.values()
    if measure.origin == "tally"
    and engine.parameters().components[measure.component].scoring[RULES.id].scaling != "information"
]
FACTS = {"1.001": 0, "1.002": int(sum(ProcedureFact)), "1.003": int(ProcedureFact.FEE | ProcedureFact.PEOPLE)}


def by_hand(dossiers: list[Shape]) -> dict[str, Decimal]:
    """Component → points, each dossier looked at by itself."""

    def figure(count: Count) -> int:
        held = [each.procedure_code for each in dossiers if count.holds(each.bits, each.facts)]
        return len(set(held)) if count.procedures else len(held)

    return {
        measure.component: engine.score(
            figure(measure.numerator),
            figure(measure.denominator),
            engine.parameters().components[measure.component],
            RULES,
        ).points
        or Decimal(0)
        for measure in SCORING
    }


dossiers = st.lists(
    st.tuples(
        st.sampled_from(sorted(FACTS)), st.integers(0, MASK).map(lambda bits: bits & MASK | MEMBER)
    ).map(lambda drawn: Shape(drawn[0], FACTS[drawn[0]], drawn[1])),
    max_size=40,
)


@given(dossiers)
def test_winning_so_many_gives_exactly_the_promised_points(drawn: list[Shape]) -> None:
    before = by_hand(drawn)
    found = opportunities(Counter(drawn), {}, RULES)
    assert [each.each for each in found] == sorted((each.each for each in found), reverse=True)
    for each in found:
        left = list(drawn)
        for shape, amount in each.first:
            for _ in range(amount):
                left.remove(shape)
                left.append(lifted(shape, each.measure))
        after = by_hand(left)
        assert sum(amount for _, amount in each.first) == each.subjects <= each.winnable
        component = each.measure.component
        assert after[component] - before[component] == each.own > 0
        assert sum(after.values()) - sum(before.values()) == each.points
        assert {key: after[key] - before[key] for key in before if after[key] != before[key]} == {
            component: each.own,
            **each.along,
        }


def test_the_fewest_that_reach_the_target_with_its_rounding() -> None:
    """4.3: 2 points at 80 %. Of 1,000 dossiers 799 give 1.9975, which is 2.00."""
    shape = Shape("", 0, MEMBER | int(Bit.ON_TIME))
    found = {each.measure.component: each for each in opportunities({shape: 1000}, {}, RULES)}
    scoring = engine.parameters().components["4.3"].scoring[RULES.id]
    assert scoring.target is not None
    each = found["4.3"]
    assert each.own == scoring.max
    component = engine.parameters().components["4.3"]
    assert engine.score(each.subjects, 1000, component, RULES).points == scoring.max
    assert engine.score(each.subjects - 1, 1000, component, RULES).points != scoring.max
    assert each.subjects < 1000 * scoring.target


def test_a_result_file_counts_in_two_components() -> None:
    with_paper = Shape("1.002", FACTS["1.002"], MEMBER | int(Bit.COMPONENT_FILE))
    found = {each.measure.component: each for each in opportunities({with_paper: 10}, {}, RULES)}
    assert found["4.1"].along.keys() >= {"4.2"}


def test_where_nothing_is_short_there_is_nothing_to_win() -> None:
    assert opportunities({}, {}, RULES) == []
    full = Shape("1.001", 0, MASK & ~int(Bit.FEE_FREE))
    assert [each for each in opportunities({full: 3}, {}, RULES) if each.measure.subject == "dossier"] == []
