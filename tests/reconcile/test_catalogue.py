"""Replay of decisions, and the comparison with the national database: decisions.md §2, §3."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.reconcile.catalogue import (
    RULES,
    Catalogue,
    Change,
    Decision,
    DecisionRow,
    NationalProcedure,
    compare,
    counts,
    replay,
)
from shared.vocabulary import UnitLevel

DATA = Path(__file__).parents[2] / ".." / "shared" / "data"
KNOWN = datetime(2026, 1, 1, tzinfo=UTC)
PROVINCE, COMMUNE, MINISTRY = UnitLevel.PROVINCE, UnitLevel.COMMUNE, UnitLevel.MINISTRY
DAY = date(2026, 3, 2)
LATE = date(2026, 12, 31)


def row(
    change: str, code: str | None = "1.000001", level: UnitLevel = PROVINCE, position: str | None = "A.I.1"
) -> DecisionRow:
    return DecisionRow(position, Change(change), code, "Đăng ký thử", level, "Hộ tịch")


def decision(number: int, *rows: DecisionRow, on: date = DAY, issued: date = DAY) -> Decision:
    return Decision(f"{number}/QĐ-UBND", issued, on, "H31.16", KNOWN, rows)


def shown(
    code: str = "1.000001", *levels: UnitLevel, public: bool | None = True, field: str = "Hộ tịch"
) -> NationalProcedure:
    return NationalProcedure(code, "Đăng ký thử", field, frozenset(levels or (PROVINCE,)), public, "1")


# --- replay


def test_new_amended_abolished() -> None:
    first = decision(1, row("new"), row("new", level=COMMUNE, position="A.II.1"), on=date(2026, 1, 1))
    second = decision(2, replace(row("amended", position="B.1"), name="Tên mới"), on=date(2026, 2, 1))
    third = decision(3, row("abolished", position="C.1"), on=date(2026, 3, 1))
    fourth = decision(4, row("abolished", level=COMMUNE, position="C.2"), on=date(2026, 4, 1))
    register = [fourth, second, first, third]

    assert replay(register, date(2025, 12, 31)).in_force == {}
    amended = replay(register, date(2026, 2, 1)).in_force["1.000001"]
    assert amended.name == "Tên mới"
    assert {level: at[:2] for level, at in amended.levels.items()} == {
        PROVINCE: ("2/QĐ-UBND", "B.1"),
        COMMUNE: ("1/QĐ-UBND", "A.II.1"),
    }
    halved = replay(register, date(2026, 3, 1)).in_force["1.000001"]
    assert (set(halved.levels), set(halved.abolished)) == ({COMMUNE}, {PROVINCE})
    gone = replay(register, date(2026, 4, 1))
    assert gone.in_force == {}
    assert gone.abolished["1.000001"].name == "Tên mới"
    assert gone.abolished["1.000001"].levels[COMMUNE][:2] == ("4/QĐ-UBND", "C.2")


def test_amended_without_history_and_after_an_abolition_is_in_force() -> None:
    assert "1.000001" in replay([decision(1, row("amended"))], LATE).in_force
    register = [decision(1, row("abolished")), decision(2, row("amended"), on=DAY + timedelta(days=1))]
    assert "1.000001" in replay(register, DAY).abolished
    assert "1.000001" in replay(register, LATE).in_force
    assert replay(register, LATE).abolished == {}


def test_decisions_of_one_day_go_by_signing_then_by_number() -> None:
    assert replay([decision(712, row("abolished")), decision(99, row("new"))], DAY).in_force == {}
    earlier = decision(712, row("abolished"), issued=DAY - timedelta(days=1))
    assert "1.000001" in replay([earlier, decision(99, row("new"))], DAY).in_force


def test_a_decision_sent_again_replaces_its_older_text() -> None:
    wrong = decision(1, row("new", "1.000009"))
    right = replace(decision(1, row("new")), known_at=KNOWN + timedelta(days=3), number="01/QD-UBND")
    assert list(replay([right, wrong], LATE).in_force) == ["1.000001"]
    assert list(replay([right, wrong], LATE, known_at=KNOWN).in_force) == ["1.000009"]


def test_rows_that_cannot_be_replayed_are_told() -> None:
    register = [decision(1, row("new", None), row("amended", "2.00048"), row("new", "1.000002.H31"))]
    catalogue = replay(register, LATE)
    assert list(catalogue.in_force) == ["1.000002"]
    assert [each.reason for each in catalogue.unplaced] == ["no_code", "broken_code"]


def test_a_real_decision() -> None:
    path = DATA / "qd1523_bca_c06_rows.csv"
    if not path.exists():
        pytest.skip("the documents' data are not beside the project: qd1523_bca_c06_rows.csv")
    with path.open(encoding="utf-8", newline="") as file:
        source = list(csv.DictReader(file))
    levels = {"trung-uong": MINISTRY, "tinh": PROVINCE, "huyen": UnitLevel.DISTRICT, "xa": COMMUNE}
    rows = tuple(
        DecisionRow(
            each["vi_tri"],
            Change(each["loai_thay_doi"].lower()),
            each["ma_tthc"] or None,
            each["ten_tthc"],
            levels[each["cap"]],
            each["linh_vuc"],
        )
        for each in source
    )
    one = Decision(source[0]["so_quyet_dinh"], DAY, date(2026, 3, 26), None, KNOWN, rows)
    catalogue = replay([one], LATE)
    amended = {each.code for each in rows if each.change is Change.AMENDED}
    assert len(amended) == 36  # in 39 rows
    assert set(catalogue.in_force) == amended
    assert len(catalogue.unplaced) == 5


# --- comparison


def test_missing_on_national() -> None:
    catalogue = replay([decision(712, row("new"))], LATE)
    (found,) = compare(catalogue, [], listing_complete=True)
    assert (found.kind, found.code, found.levels) == ("missing_on_national", "1.000001", (PROVINCE,))
    assert (found.decision, found.position, found.unit_code) == ("712/QĐ-UBND", "A.I.1", "H31.16")
    assert (found.responsible, found.then) == ("centre", "department")
    assert found.sentence_vi == (
        "Thủ tục 1.000001 “Đăng ký thử” còn hiệu lực theo Quyết định 712/QĐ-UBND, dòng A.I.1 (cấp tỉnh) "
        "nhưng không có trên CSDLQG về TTHC."
    )
    (hidden,) = compare(catalogue, [shown(public=False)], listing_complete=True)
    assert hidden.kind == "missing_on_national"
    assert "chưa được công khai" in hidden.sentence_vi


def test_extra_on_national() -> None:
    (found,) = compare(replay([], LATE), [shown("2.000002", COMMUNE)], listing_complete=True)
    assert (found.kind, found.code, found.levels) == ("extra_on_national", "2.000002", (COMMUNE,))
    assert (found.decision, found.position) == (None, None)
    assert (found.responsible, found.then) == ("department", "ministry")
    assert found.sentence_vi == (
        "Thủ tục 2.000002 “Đăng ký thử” đang công khai trên CSDLQG về TTHC (cấp xã) "
        "nhưng không có trong quyết định công bố nào đang có hiệu lực."
    )


def test_abolished_still_public() -> None:
    catalogue = replay([decision(5, row("abolished", position=None))], LATE)
    (found,) = compare(catalogue, [shown()], listing_complete=True)
    assert (found.kind, found.decision, found.position) == ("abolished_still_public", "5/QĐ-UBND", None)
    assert found.sentence_vi == (
        "Thủ tục 1.000001 “Đăng ký thử” đã bị bãi bỏ theo Quyết định 5/QĐ-UBND, dòng không ghi số (cấp tỉnh) "
        "nhưng vẫn đang công khai trên CSDLQG về TTHC."
    )
    assert compare(catalogue, [shown(public=False)], listing_complete=True) == []
    assert compare(catalogue, [], listing_complete=True) == []


def test_level_differs() -> None:
    register = [decision(1, row("new"), row("new", level=COMMUNE, position="A.II.1"))]
    (found,) = compare(replay(register, LATE), [shown()], listing_complete=True)
    assert (found.kind, found.levels) == ("level_differs", (COMMUNE,))
    assert (found.decision, found.position) == ("1/QĐ-UBND", "A.II.1")
    assert found.sentence_vi == (
        "Thủ tục 1.000001 “Đăng ký thử” thực hiện ở cấp tỉnh, cấp xã theo quyết định "
        "(Quyết định 1/QĐ-UBND, dòng A.II.1 (cấp xã)) nhưng CSDLQG về TTHC ghi cấp tỉnh."
    )
    register.append(decision(2, row("abolished", level=COMMUNE, position="C.1"), on=DAY + timedelta(days=1)))
    (taken,) = compare(replay(register, LATE), [shown("1.000001", PROVINCE, COMMUNE)], listing_complete=True)
    assert (taken.kind, taken.decision, taken.position) == ("level_differs", "2/QĐ-UBND", "C.1")


def test_what_is_unknown_gives_no_finding() -> None:
    catalogue = replay([decision(1, row("new")), decision(2, row("abolished", "1.000002"))], LATE)
    unread = [shown("1.000001", public=None), shown("1.000002", public=None), shown("1.000003", public=None)]
    assert compare(catalogue, unread, listing_complete=True) == []
    levels_unknown = replace(shown(), levels=frozenset())
    assert compare(replay([decision(1, row("new"))], LATE), [levels_unknown], listing_complete=True) == []


def test_the_ministrys_own_level_is_none_of_the_provinces() -> None:
    catalogue = replay([decision(1, row("new"))], LATE)
    assert compare(catalogue, [shown("1.000001", PROVINCE, MINISTRY)], listing_complete=True) == []
    assert compare(replay([], LATE), [shown("1.000001", MINISTRY)], listing_complete=True) == []


def test_abolished_at_one_level_and_public_only_at_another() -> None:
    catalogue = replay([decision(1, row("abolished", level=COMMUNE))], LATE)
    (found,) = compare(catalogue, [shown("1.000001", PROVINCE)], listing_complete=True)
    assert found.kind == "extra_on_national"


def test_every_rule_says_what_unknown_means_and_who_acts() -> None:
    assert len({rule.kind for rule in RULES}) == len(RULES) == 4
    for rule in RULES:
        assert rule.unknown
        assert rule.responsible
        assert rule.sentence.endswith(".")


# --- properties

codes = st.integers(0, 6).map("1.{:06}".format)
levels = st.sampled_from([PROVINCE, COMMUNE])
rows = st.builds(
    DecisionRow,
    position=st.one_of(st.none(), st.sampled_from(["A.I.1", "B.2"])),
    change=st.sampled_from(Change),
    code=st.one_of(codes, st.just("2.00048"), st.none()),
    name=st.sampled_from(["Cấp giấy phép", "Đăng ký", ""]),
    level=levels,
    field=st.sampled_from(["Hộ tịch", "hộ  tịch", "Đất đai"]),
)
some_days = st.dates(date(2026, 1, 1), date(2026, 1, 6))
decisions = st.builds(
    Decision,
    number=st.sampled_from(["1/QĐ-UBND", "2/QĐ-UBND", "10/QD-UBND", "1681"]),
    issued_on=some_days,
    effective_on=some_days,
    unit_code=st.one_of(st.none(), st.just("H31.16")),
    known_at=st.integers(0, 2).map(lambda n: KNOWN + timedelta(hours=n)),
    rows=st.lists(rows, max_size=5).map(tuple),
)
registers = st.lists(decisions, max_size=6)


def distinct(register: list[Decision]) -> list[Decision]:
    """Numbered apart, so that none replaces another."""
    return [replace(each, number=f"{n}/QĐ-UBND") for n, each in enumerate(register, 1)]


def mirror(catalogue: Catalogue) -> list[NationalProcedure]:
    return [
        NationalProcedure(each.code, each.name, each.field, frozenset(each.levels), True)
        for each in catalogue.in_force.values()
    ]


@given(registers, st.randoms(use_true_random=False), some_days)
def test_replay_does_not_depend_on_the_order_of_arrival(register: list[Decision], random, on: date) -> None:  # type: ignore[no-untyped-def]
    shuffled = random.sample(register, len(register))
    assert replay(shuffled, on) == replay(register, on)


@given(registers, some_days)
def test_what_was_abolished_last_is_out(register: list[Decision], on: date) -> None:
    register = distinct(register)
    catalogue = replay(register, on)
    assert not set(catalogue.in_force) & set(catalogue.abolished)
    last: dict[tuple[str, UnitLevel], bool] = {}
    for each in sorted(
        register, key=lambda each: (each.effective_on, each.issued_on, int(each.number.split("/")[0]))
    ):
        if each.effective_on > on:
            continue
        touched = {(one.code, one.level) for one in each.rows if one.code and one.code != "2.00048"}
        for key in touched:
            last[key] = any(
                (one.code, one.level) == key and one.change is not Change.ABOLISHED for one in each.rows
            )
    assert {(code, level) for code, entry in catalogue.in_force.items() for level in entry.levels} == {
        key for key, standing in last.items() if standing
    }
    assert set(catalogue.abolished) == {code for code, _ in last} - set(catalogue.in_force)


@given(registers)
def test_a_catalogue_equals_its_mirror(register: list[Decision]) -> None:
    catalogue = replay(register, LATE)
    assert compare(catalogue, mirror(catalogue), listing_complete=True) == []
    figures = counts(catalogue, mirror(catalogue))
    assert figures.decided == figures.national
    assert all(cell.decided == cell.national for cell in figures.cells)


@given(registers, st.data())
def test_one_change_gives_one_mismatch(register: list[Decision], data: st.DataObject) -> None:
    catalogue = replay(register, LATE)
    national = mirror(catalogue)
    extra = compare(catalogue, [*national, shown("9.999999")], listing_complete=True)
    assert [(each.kind, each.code) for each in extra] == [("extra_on_national", "9.999999")]
    if catalogue.abolished:
        code = data.draw(st.sampled_from(sorted(catalogue.abolished)))
        back = NationalProcedure(code, "", "", frozenset(catalogue.abolished[code].levels), True)
        found = compare(catalogue, [*national, back], listing_complete=True)
        assert [(each.kind, each.code) for each in found] == [("abolished_still_public", code)]
    if national:
        at = data.draw(st.integers(0, len(national) - 1))
        rest = national[:at] + national[at + 1 :]
        found = compare(catalogue, rest, listing_complete=True)
        assert [(each.kind, each.code) for each in found] == [("missing_on_national", national[at].code)]
        moved = replace(national[at], levels=national[at].levels ^ {PROVINCE} or frozenset({COMMUNE}))
        found = compare(catalogue, [*rest, moved], listing_complete=True)
        assert [(each.kind, each.code) for each in found] == [("level_differs", moved.code)]


records = st.builds(
    NationalProcedure,
    code=codes,
    name=st.just("Đăng ký"),
    field=st.sampled_from(["Hộ tịch", "Đất đai"]),
    levels=st.frozensets(st.sampled_from([PROVINCE, COMMUNE, MINISTRY])),
    public=st.sampled_from([True, False, None]),
)


@given(registers, st.lists(records, max_size=8), st.randoms(use_true_random=False))
def test_kinds_are_exclusive_and_answers_ordered(register, national, random) -> None:  # type: ignore[no-untyped-def]
    catalogue = replay(register, LATE)
    found = compare(catalogue, national, listing_complete=True)
    assert [each.code for each in found] == sorted({each.code for each in found})
    assert compare(catalogue, national, listing_complete=False) == []
    for each in found:
        assert each.code in each.sentence_vi
        assert each.decision is None or each.decision in each.sentence_vi
        assert (each.decision is None) == (each.kind == "extra_on_national")
        assert each.levels or each.kind == "extra_on_national"
        json.dumps(each.evidence)
    distinct_codes = {each.code: each for each in national}
    shuffled = random.sample(list(distinct_codes.values()), len(distinct_codes))
    assert compare(catalogue, shuffled, listing_complete=True) == compare(
        catalogue, distinct_codes.values(), listing_complete=True
    )


# --- counts


def test_counts_are_of_unique_codes_with_rows_beside() -> None:
    register = [
        decision(1, row("new"), row("new", level=COMMUNE), replace(row("new", "1.000002"), field="Đất đai")),
        decision(2, row("abolished", "1.000003")),
    ]
    national = [
        shown("1.000001", PROVINCE, COMMUNE, field="HỘ TỊCH"),
        shown("1.000003", PROVINCE, field="Đất đai"),
        shown("1.000004", PROVINCE, public=False),
        shown("1.000005", MINISTRY),
        replace(shown("1.000006"), levels=frozenset()),
    ]
    figures = counts(replay(register, LATE), national)
    assert figures.decided == (2, 3)
    assert figures.national == (3, 4)
    assert figures.by_level == {PROVINCE: (2, 2), COMMUNE: (1, 1), None: (0, 1)}
    assert figures.by_field == {"Hộ tịch": (1, 2), "Đất đai": (1, 1)}
    assert (PROVINCE, "Hộ tịch", 1, 1) in figures.cells
    assert list(figures.by_level) == [PROVINCE, COMMUNE, None]
