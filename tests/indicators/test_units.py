"""The dated tree: a dossier of a unit of 2023 counts for whoever stands for that unit on the period's last day."""

from __future__ import annotations

from datetime import date, timedelta

from hypothesis import given
from hypothesis import strategies as st

from services.indicators.rules.units import UnitSpan, UnitTree
from shared.calendar import Period

PROVINCE = "H31"
FIRST = date(2010, 1, 1)
CHANGES = [date(2023, 12, 31), date(2024, 10, 31), date(2025, 6, 30), date(2026, 3, 31)]
"""Last days of an old tree: that of 2025 abolished the districts and merged communes."""
PERIODS = [
    Period.parse(key)
    for key in ("2023-01", "2023", "2024-10", "2024-11", "2024", "2025-06", "2025-07", "2025-Q2", "2025", "2026-04")
]  # fmt: skip


@st.composite
def trees(draw: st.DrawFn) -> dict[str, UnitSpan]:
    """Generations of units, each merged into some unit of a later one; a few end without a successor. One unit of the
    first generation may outlive all changes."""
    spans: dict[str, UnitSpan] = {}
    generations: list[list[str]] = []
    since = FIRST
    for number, last in enumerate([*CHANGES, None]):
        codes = [f"{PROVINCE}.{number}{each}" for each in range(draw(st.integers(1, 4)))]
        generations.append(codes)
        for code in codes:
            spans[code] = UnitSpan(code, since, last, code, "commune", None)
        since = last + timedelta(days=1) if last else since
    for number, codes in enumerate(generations[:-1]):
        later = generations[number + 1]
        for code in codes:
            successor = draw(st.sampled_from([*later, None]))
            lives_on = number == 0 and draw(st.booleans()) and code == codes[0]
            spans[code] = spans[code]._replace(
                successor=None if lives_on else successor, valid_to=None if lives_on else spans[code].valid_to
            )
    return spans


def by_hand(spans: dict[str, UnitSpan], code: str, day: date) -> str:
    """Day by day, as a clerk would pass the file on."""
    at = FIRST
    while at < day:
        at += timedelta(days=1)
        span = spans[code]
        if span.valid_to is not None and span.valid_to < at and span.successor is not None:
            code = span.successor
    return code


@given(trees(), st.data())
def test_a_dossier_counts_for_the_successor_on_the_period_s_last_day(
    spans: dict[str, UnitSpan], data: st.DataObject
) -> None:
    tree = UnitTree(spans.values(), PROVINCE)
    code = data.draw(st.sampled_from(sorted(spans)))
    period = data.draw(st.sampled_from(PERIODS))
    standing = tree.standing_for(code, period.last_day)
    born = spans[code].valid_from
    if born > period.last_day:
        assert standing == code, "a unit that is not there yet stands for itself"
        return
    # Several changes may lie between: the chain is followed to its end, and never past the period's.
    chain, hop = code, None
    while hop != chain:
        hop, chain = chain, by_hand({**spans}, chain, period.last_day)
    assert standing == chain
    held = spans[standing]
    assert held.valid_from <= period.last_day
    assert held.valid_to is None or held.valid_to >= period.last_day or held.successor is None
    assert tree.standing_for(standing, period.last_day) == standing, "who stands for a unit stands for itself"


@given(trees())
def test_nothing_is_counted_twice_or_lost(spans: dict[str, UnitSpan]) -> None:
    """Each unit's dossiers are some one unit's on every day."""
    tree = UnitTree(spans.values(), PROVINCE)
    for period in PERIODS:
        for code in spans:
            assert tree.standing_for(code, period.last_day) in spans


def test_a_ring_of_successors_ends() -> None:
    day = date(2025, 6, 30)
    ring = [
        UnitSpan("H31.1", FIRST, day, "một", "commune", "H31.2"),
        UnitSpan("H31.2", FIRST, day, "hai", "commune", "H31.1"),
    ]
    assert UnitTree(ring, PROVINCE).standing_for("H31.1", date(2026, 1, 31)) in ("H31.1", "H31.2")
