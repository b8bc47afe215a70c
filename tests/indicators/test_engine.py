"""Parameters and scoring: shipped data hold together, published scores come out exactly."""

from __future__ import annotations

import csv
import tomllib
from datetime import date, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.indicators.rules import engine, scoring
from services.indicators.rules.assess import SINCE
from services.indicators.rules.measures import MEASURES
from shared.calendar import Period
from shared.dossier_components import COUNTS
from shared.errors import Invalid
from shared.reasons import Bit
from shared.vocabulary import IndicatorGroup, ProcedureFact

ROOT = Path(__file__).parents[2]
CASES = tomllib.loads((ROOT / "tests/cases/published.toml").read_text(encoding="utf-8"))
TABLES = [
    ROOT.parent / "shared/data" / name
    for name in (
        "hungyen_766_thanh_phan_2026.csv",
        "phutho_766_2026-08.csv",
        "phutho_766_thanhtoan_2026-08.csv",
    )
]
FILES = {
    path.name: path.read_text(encoding="utf-8")
    for path in (ROOT / "services/indicators/rules/parameters").iterdir()
}


def points(identifier: str, numerator: int, denominator: int, period: str = "2026-08") -> Decimal | None:
    rules = engine.rule_set_for(Period.parse(period))
    return engine.score(numerator, denominator, engine.parameters().components[identifier], rules).points


@pytest.mark.parametrize("case", CASES["published"], ids=lambda case: f"{case['component']} {case['unit']}")
def test_published_scores_come_out_exactly(case: dict[str, Any]) -> None:
    found = points(case["component"], case["numerator"], case["denominator"], case["period"])
    assert str(found or Decimal("0.00")) == case["points"], "published as 0 where there is none"


@pytest.mark.parametrize("case", CASES["group"], ids=lambda case: case["points"])
def test_published_groups_come_out_exactly(case: dict[str, Any]) -> None:
    rules, components = engine.rule_set_for(Period.parse(case["period"])), engine.parameters().components
    scores = [
        engine.score(part["numerator"], part["denominator"], components[part["component"]], rules)
        for part in case["parts"]
    ]
    assert str(engine.total(scores)) == case["points"]


@pytest.mark.parametrize("case", CASES["total"], ids=lambda case: case["told"])
def test_published_totals_and_legal_groups_come_out_exactly(case: dict[str, Any]) -> None:
    """Six groups of the portal, five of QĐ 766, one sum."""
    groups: dict[IndicatorGroup, Decimal | None] = {
        IndicatorGroup(slug): Decimal(told) for slug, told in case["groups"].items()
    }
    legal = scoring.legal_groups(groups)
    assert [each.max for each in legal] == [18, 20, 22, 22, 18]
    (online,) = [each for each in legal if len(each.groups) == 2]
    assert online.points == Decimal(case["online"])
    assert sum(each.points or Decimal(0) for each in legal) == Decimal(case["points"])
    without = scoring.legal_groups(groups | {IndicatorGroup.ONLINE_PAYMENT: None})
    assert [each.points is None for each in without] == [False, False, True, False, False]


def test_published_payments_come_out_exactly() -> None:
    """Units of one province: three components, of which only the sum was published."""
    table = ROOT.parent / "shared/data/phutho_766_thanhtoan_2026-08.csv"
    if not table.is_file():
        pytest.skip("the published tables (../shared/data) are not beside this clone")
    rules, components = engine.rule_set_for(Period.parse("2026-08")), engine.parameters().components
    with table.open(encoding="utf-8-sig", newline="") as lines:
        rows = [row for row in csv.DictReader(lines) if row["diem_cong_bo"]]
    for row in rows:
        counts = (
            ("3.6", row["hs_tt_thanhcong"], row["hs_nghiavu"]),
            ("3.5b", row["tthc_giaodich"], row["tthc_co_phi_phatsinh"]),
            ("3.5", row["tthc_tichhop"], row["tthc_co_phi"]),
        )
        scores = [engine.score(int(a), int(b), components[which], rules) for which, a, b in counts]
        assert engine.total(scores) == Decimal(row["diem_cong_bo"]), row
    assert len(rows) >= 11


@pytest.mark.parametrize("table", TABLES, ids=[table.name for table in TABLES])
def test_published_tables_come_out_exactly(table: Path) -> None:
    """Every row with counts and a score, of every component: scoring is data, so all of it can be checked."""
    if not table.is_file():
        pytest.skip("the published tables (../shared/data) are not beside this clone")
    components = {component.code: component for component in engine.parameters().components.values()}
    rules = engine.rule_set_for(Period.parse("2026-08"))
    checked = 0
    with table.open(encoding="utf-8-sig", newline="") as lines:
        for row in csv.DictReader(lines):
            component = components.get(row.get("chi_so") or "")
            if component is None or not row["diem_cong_bo"] or not row["tu_so"]:
                continue
            found = engine.score(int(row["tu_so"]), int(row["mau_so"]), component, rules)
            assert (found.points or Decimal(0)) == Decimal(row["diem_cong_bo"]), row
            checked += component.id == "2.1"
    assert checked or "PROGRESS_ON_TIME" not in table.read_text(encoding="utf-8-sig")


def test_every_day_has_exactly_one_rule_set() -> None:
    day = SINCE
    while day < date(2028, 1, 1):
        assert sum(each.in_force(day) for each in engine.parameters().rule_sets) == 1
        day += timedelta(days=1)


@pytest.mark.parametrize(
    ("period", "expected"),
    [("2022-06", "portal-2025-10"), ("2025", "portal-2025-10"), ("2025-12", "portal-2025-10"),
     ("2026-01", "portal-2026-09"), ("2026-Q1", "portal-2026-09"), ("2099", "portal-2026-09")],
)  # fmt: skip
def test_the_rule_set_of_a_period_is_the_one_in_force_on_its_last_day(period: str, expected: str) -> None:
    assert engine.rule_set_for(Period.parse(period)).id == expected


def test_nothing_in_force_is_an_error() -> None:
    with pytest.raises(Invalid) as caught:
        engine.rule_set_for(Period.parse("2022-05"))
    assert caught.value.field == "period"
    with pytest.raises(Invalid):
        engine.rule_set("portal-1999")
    with pytest.raises(Invalid):
        engine.rating(Decimal(1), Decimal(2), SINCE - timedelta(days=1))


def test_an_empty_denominator_is_data() -> None:
    """indicators.md §4.5: no score (null) and score 0 are different things."""
    assert points("2.1", 0, 0) == 0
    assert points("1.1", 0, 0) is None
    assert points("1.1", 0, 0, "2025-10") == 6
    assert points("4.1", 0, 0) is None
    assert points("4.6", 0, 0) == 2
    assert points("5.2", 0, 0) == 6


def test_halves_go_up() -> None:
    assert points("2.1", 1, 4000) == Decimal("0.01")  # 0.005
    assert points("2.1", 1, 4001) == Decimal("0.00")
    assert points("2.1", 3, 16_000) == Decimal("0.00")


def test_a_group_is_the_sum_of_its_rounded_components() -> None:
    """Phường Vân Phú: 6.46 published, 6.47 if the parts were summed unrounded (indicators.md §4.1)."""
    rules, components = engine.rule_set("portal-2026-09"), engine.parameters().components
    third = engine.score(1, 3, components["4.4"], rules)  # 1.3333 → 1.33
    assert engine.total([third, third, third]) == Decimal("3.99")
    nothing = engine.score(0, 0, components["4.4"], rules)
    assert engine.total([nothing, third]) == Decimal("1.33")
    assert engine.total([]) == 0


@pytest.mark.parametrize(
    ("percent", "name"),
    [("100", "Xuất sắc"), ("90", "Xuất sắc"), ("89.99", "Tốt"), ("80", "Tốt"), ("79.99", "Khá"), ("70", "Khá"),
     ("50", "Trung bình"), ("49.99", "Yếu"), ("0", "Yếu")],
)  # fmt: skip
def test_rating_bands_include_their_lower_bound(percent: str, name: str) -> None:
    assert engine.rating(Decimal(percent), Decimal(100), date(2026, 8, 31)) == name
    assert engine.rating(Decimal(percent) / 5, Decimal(20), date(2026, 8, 31)) == name


@given(st.integers(0, 10**7), st.integers(0, 10**7))
def test_points_stay_between_nothing_and_the_maximum(one: int, other: int) -> None:
    numerator, denominator = sorted((one, other))
    for component in engine.parameters().components.values():
        for rules in engine.parameters().rule_sets:
            if component.scoring[rules.id].scaling == "information":
                continue
            found = engine.score(numerator, denominator, component, rules)
            assert found.points is None or 0 <= found.points <= found.max
            assert found.points is None or found.points.as_tuple().exponent == -2


def test_counts_that_cannot_be() -> None:
    for numerator, denominator in ((3, 2), (-1, 2)):
        with pytest.raises(ValueError, match="cannot be"):
            points("2.1", numerator, denominator)
    with pytest.raises(ValueError, match="information"):
        points("2.2", 1, 2)


@pytest.mark.parametrize(
    ("file", "old", "new", "message"),
    [
        ("rule_sets.toml", "until = 2025-12-31", "until = 2025-12-30", "gap or an overlap"),
        ("rule_sets.toml", "until = 2025-12-31", "until = 2026-01-31", "gap or an overlap"),
        ("rule_sets.toml", "since = 2022-06-23\nuntil", "since = 2022-06-24\nuntil", "gap or an overlap"),
        ("rule_sets.toml", "since = 2026-01-01", "since = 2026-01-01\nuntil = 2026-12-31", "no rule set from"),
        ("rule_sets.toml", "from = 0,", "from = 1,", "begins at 0"),
        ("progress.toml", "max = 20, ", "max = 19, ", "do not sum"),
        ("progress.toml", 'mark = "practice"', 'mark = "sure"', "sure"),
        ("progress.toml", 'source = "portal-2026"', 'source = "hearsay"', "hearsay"),
        ("progress.toml", "max = 20\n", "max = 21\n", "sum"),
        ("progress.toml", 'id = "2.2"', 'id = "2.1"', "twice"),
        ("progress.toml", 'scaling = "linear"', 'scaling = "full_at"', "target"),
        ("progress.toml", 'empty = "zero"', 'empty = "maybe"', "maybe"),
        ("progress.toml", "[group]", "[group", "progress.toml"),
        ("progress.toml", 'rule_set = "portal-2025-10"', 'rule_set = "x"', "each rule set"),
    ],
)  # fmt: skip
def test_parameters_that_contradict_themselves_are_refused(
    file: str, old: str, new: str, message: str
) -> None:
    assert old in FILES[file]
    with pytest.raises(engine.ParametersInvalid, match=message):
        engine.load(FILES | {file: FILES[file].replace(old, new)})


def test_a_missing_file_is_noticed() -> None:
    for file in FILES:
        with pytest.raises(engine.ParametersInvalid):
            engine.load({name: text for name, text in FILES.items() if name != file})


def test_measures_fit_the_parameters() -> None:
    found = engine.parameters()
    assert set(found.groups) == set(IndicatorGroup)
    # 4.6 is given to everyone: there is nothing to count.
    assert {key for key, component in found.components.items() if component.computed} == {*MEASURES, "4.6"}
    for measure in MEASURES.values():
        assert found.components[measure.component].group == measure.group
        tallied = measure.origin == "tally"
        assert tallied is ({measure.numerator.column, measure.denominator.column} <= set(COUNTS))
        assert (
            measure.numerator.procedures == measure.denominator.procedures == (measure.subject == "procedure")
        )


@given(st.integers(0, sum(Bit)), st.integers(0, sum(ProcedureFact)))
def test_what_is_in_a_numerator_is_in_its_denominator(bits: int, procedure: int) -> None:
    for measure in (each for each in MEASURES.values() if each.origin == "tally"):
        assert measure.numerator.holds(bits, procedure) <= measure.denominator.holds(bits, procedure)
