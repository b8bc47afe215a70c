"""2.1 as cases that an official could read (tests/cases/progress_2_1.toml), and what holds for any dossier."""

from __future__ import annotations

import tomllib
from datetime import date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.indicators.rules.assess import ORIGINS, Assessment, assess, assess_both, judge
from services.indicators.rules.facts import Copy, Duration, Facts, Supplement, choose, papers_of
from services.indicators.rules.units import UnitSpan, UnitTree
from shared.calendar import TZ, Period, period_keys_of
from shared.reasons import Bit, Source, explain, explain_satisfaction, explain_source
from shared.vocabulary import BOTH, Basis, DurationUnit, Fact, Known, Portal
from tests.make import ALL_KNOWN, moment

CASES = tomllib.loads(
    (Path(__file__).parents[1] / "cases" / "progress_2_1.toml").read_text(encoding="utf-8"),
    parse_float=Decimal,
)["case"]
UNITS = UnitTree((), "H31")
_NOW = datetime(2026, 11, 15, 8, tzinfo=TZ)
BASE = Copy(
    portal=Portal.NATIONAL,
    known=ALL_KNOWN,
    vanished=False,
    cancelled=False,
    version=moment("2026-08-03 09:30"),
    status=4,
    received_at=moment("2026-08-03 09:30"),
    due_at=moment("2026-08-10 17:00"),
    finished_at=None,
    returned_at=None,
    rejected_at=None,
    supplements=(),
    step_at=None,
    step_status=None,
    step_times={},
    unit_code="H31.135",
    procedure_code="1.001612",
)


def local(value: Any) -> datetime | None:
    return value.replace(tzinfo=TZ) if value else None


def facts_of(case: dict[str, Any]) -> Facts:
    fields: dict[str, Any] = {key: case[key] for key in ("status", "cancelled") if key in case}
    for key in ("received_at", "due_at", "finished_at", "returned_at", "rejected_at", "version"):
        if key in case:
            fields[key] = local(case[key])
    if "procedure" in case:
        fields["procedure_code"] = case["procedure"] or None
    fields["supplements"] = tuple(
        Supplement(local(each["requested_at"]), local(each.get("completed_at")), each.get("moved", False))
        for each in case.get("supplements", ())
    )
    fields["step_times"] = {int(key): local(at) for key, at in case.get("steps", {}).items()}
    if "last_step" in case:
        fields["step_at"], fields["step_status"] = local(case["last_step"]["at"]), case["last_step"]["status"]
    maximum = case.get("maximum")
    return Facts(
        Source.NATIONAL,
        BASE._replace(**fields),
        Duration(Decimal(maximum["value"]), DurationUnit(maximum["unit"])) if maximum else None,
    )


def verdict(bits: int) -> str:
    if bits & Bit.UNDETERMINED:
        return "chưa xác định"
    return "đúng hạn" if bits & Bit.ON_TIME else "quá hạn"


@pytest.mark.parametrize("case", CASES, ids=[case["name"] for case in CASES])
def test_case(case: dict[str, Any]) -> None:
    now = local(case.get("now")) or _NOW
    facts = facts_of(case)
    found = assess(facts, now, UNITS)
    judged = {key: verdict(each.bits) for key, each in found.contributions.items()}
    assert {key for key in judged if "-" in key and "Q" not in key} == {
        key for key in case["expect"] if "-" in key and "Q" not in key
    }, case["rule"]
    assert {key: judged[key] for key in case["expect"]} == case["expect"], case["rule"]
    assert found.source == case.get("source", "national")
    if "reason" in case:
        assert {each.reason for key, each in found.contributions.items() if key in case["expect"]} == {
            case["reason"]
        }
    if "wake_at" in case:
        assert found.wake_at == local(case["wake_at"])
    last = list(found.contributions.values())[-1:]
    for key in ("end_at", "deadline_at"):
        if key in case:
            assert getattr(last[0], key) == local(case[key])
    for each in found.contributions.values():
        sentence = explain(each.reason, each.bits, each.end_at, each.deadline_at).vi
        assert verdict(each.bits) in sentence or each.bits & Bit.UNDETERMINED
        assert "{" not in sentence
    assert explain_source(found.source).vi


def test_the_names_of_cases_are_distinct_and_many() -> None:
    assert len({case["name"] for case in CASES}) == len(CASES) >= 25
    assert all(case["rule"] for case in CASES)


def test_sentences_say_what_was_compared() -> None:
    at, due = moment("2026-08-07 15:00"), moment("2026-08-10 17:00")
    on_time = int(Bit.MEMBER | Bit.ON_TIME)
    assert explain("finished", on_time | Bit.WAIT_SUBTRACTED, at, due).vi == (
        "Tính là đúng hạn: xử lý xong lúc 15:00 ngày 07/08/2026 (đã trừ thời gian chờ bổ sung),"
        " không muộn hơn hạn 17:00 ngày 10/08/2026."
    )
    assert "thời hạn tối đa của thủ tục" in explain("running", int(Bit.MEMBER | Bit.BY_MAXIMUM), None, due).vi


moments = st.datetimes(datetime(2026, 5, 1), datetime(2026, 12, 31), timezones=st.just(TZ))  # noqa: DTZ001
maybe = st.none() | moments
supplements = st.lists(st.builds(Supplement, maybe, maybe, st.booleans()), max_size=3).map(tuple)
copies = st.builds(
    BASE._replace,
    status=st.none() | st.integers(1, 10),
    version=maybe,
    received_at=maybe,
    due_at=maybe,
    finished_at=maybe,
    returned_at=maybe,
    rejected_at=maybe,
    supplements=supplements,
    step_at=maybe,
    step_status=st.none() | st.integers(0, 10),
    step_times=st.dictionaries(st.sampled_from([3, 7, 8, 9, 10]), moments),
)
maxima = st.none() | st.builds(
    Duration, st.sampled_from([Decimal(0), Decimal("0.5"), Decimal(3)]), st.sampled_from(DurationUnit)
)
facts = st.builds(Facts, st.just(Source.NATIONAL), copies, maxima, complained_at=maybe)


@given(facts, moments)
def test_assessing_is_judging_every_period(each: Facts, now: datetime) -> None:
    found = assess(each, now, UNITS)
    for year in (2025, 2026, 2027):
        for key in (
            *(f"{year}-{month:02}" for month in range(1, 13)),
            *(f"{year}-Q{quarter}" for quarter in range(1, 5)),
            str(year),
        ):
            period = Period.parse(key)
            judged = judge(each, period, now) if period.start <= now else None
            contribution = found.contributions.get(key)
            assert (judged is None) == (contribution is None)
            if judged is not None and contribution is not None:
                assert (int(judged.bits), judged.reason, judged.end_at, judged.deadline_at) == (
                    contribution.bits,
                    contribution.reason,
                    contribution.end_at,
                    contribution.deadline_at,
                )


sources = st.sampled_from([Source.NATIONAL, Source.SENT_CONFIRMED, Source.SENT_UNCONFIRMED])
few = st.sampled_from(
    [moment("2026-08-03 09:30"), moment("2026-08-05 10:00"), moment("2026-09-01 08:00"), None]
)
near = st.builds(  # often alike, in some or in all that is judged
    BASE._replace,
    status=st.sampled_from([4, 9, 9, 9, 10, 7]),
    received_at=few,
    due_at=few,
    finished_at=few,
    cancelled=st.sampled_from([False, False, False, True]),
    unit_code=st.sampled_from(["H31.135", "H31.135", "H31.136"]),
    step_status=st.sampled_from([None, 4, 9]),
    step_at=few,
    channel=st.sampled_from([None, 1, 2]),
)
papers = st.sampled_from([0, int(Bit.RESULT_LINK | Bit.PAID_ONLINE)])
complained = st.sampled_from([None, None, moment("2026-08-05 10:00"), moment("2026-09-01 08:00")])


@given(
    st.builds(Facts, sources, near, maxima, papers, complained) | st.just(Facts(Source.ABSENT, None, None)),
    st.builds(Facts, st.just(Source.PROVINCIAL), near, maxima, papers, complained)
    | st.just(Facts(Source.NO_COPY, None, None)),
    moments,
)
def test_one_row_for_both_bases_says_what_each_of_them_says(a: Facts, b: Facts, now: datetime) -> None:
    found = assess_both(a, b, now, UNITS)
    for basis, facts, head in ((Basis.COUNTED, a, found.counted), (Basis.PROVINCIAL, b, found.provincial)):
        alone = assess(facts, now, UNITS)
        own = int(Bit.FROM_PROVINCIAL) if basis is Basis.PROVINCIAL else ORIGINS & ~int(Bit.FROM_PROVINCIAL)
        assert head == (alone.source, alone.open, alone.wake_at)
        assert alone.contributions == {
            period: each._replace(bits=each.bits & ~(ORIGINS & ~own))
            for (told, period), each in found.stored.items()
            if told in (basis, BOTH)
        }


def test_copies_that_say_the_same_are_one_row() -> None:
    done = BASE._replace(status=9, finished_at=moment("2026-08-07 15:00"))
    facts = Facts(Source.NATIONAL, done, None), Facts(Source.PROVINCIAL, done, None)
    assert set(assess_both(*facts, _NOW, UNITS).stored) == {
        (BOTH, "2026-08"),
        (BOTH, "2026-Q3"),
        (BOTH, "2026"),
    }
    late = Facts(Source.PROVINCIAL, done._replace(finished_at=moment("2026-09-07 15:00")), None)
    assert set(assess_both(facts[0], late, _NOW, UNITS).stored) == {
        *(
            (basis, period)
            for basis in ("counted", "provincial")
            for period in ("2026-08", "2026-Q3", "2026")
        ),
        ("provincial", "2026-09"),
    }


def test_papers_are_told_by_the_copy_nearest_to_the_nation() -> None:
    told = int(sum(Fact))
    province = BASE._replace(portal=Portal.PROVINCIAL)
    sent = BASE._replace(portal=Portal.SENT, facts=int(Fact.REUSED | Fact.VNEID), facts_known=told)
    national = BASE._replace(facts=int(Fact.RESULT_CODED | Fact.FEE_FREE), facts_known=told)
    assert papers_of([province]) == 0
    assert papers_of([province, sent]) == Bit.REUSED | Bit.CITIZEN_DATA
    assert papers_of([sent, national, province]) == Bit.RESULT_LINK | Bit.RESULT_CODED | Bit.FEE_FREE
    assert papers_of([sent, national._replace(vanished=True)]) == Bit.REUSED | Bit.CITIZEN_DATA


def test_channel_and_papers_hold_in_every_period_and_receipt_in_its_own() -> None:
    copy = BASE._replace(channel=2, received_at=moment("2026-08-31 09:30"), due_at=moment("2026-09-10 17:00"))
    facts = Facts(Source.NATIONAL, copy, None, int(Bit.PAID_ONLINE))
    found = assess(facts, moment("2026-09-15 08:00"), UNITS).contributions
    for period, received in (("2026-08", True), ("2026-09", False), ("2026-Q3", True), ("2026", True)):
        assert found[period].bits & Bit.ONLINE
        assert found[period].bits & Bit.PAID_ONLINE
        assert bool(found[period].bits & Bit.RECEIVED) == received, period


def _visible(found: Assessment) -> object:
    return found.open, found.source, found.contributions


@given(facts, moments, st.integers(0, 10**6))
def test_nothing_changes_before_the_wake_inside_a_month(each: Facts, now: datetime, part: int) -> None:
    """Between now and wake_at (or the next month) an assessment stays the same; that is what lets it sleep."""
    found = assess(each, now, UNITS)
    month = Period.parse(period_keys_of(now)[0])
    until = min(found.wake_at or month.end, month.end)
    assert until > now
    later = now + timedelta(microseconds=(until - now) // timedelta(microseconds=1) * part // (10**6 + 1))
    assert _visible(assess(each, later, UNITS)) == _visible(found)
    assert _visible(assess(each, until - timedelta(microseconds=1), UNITS)) == _visible(found)


@given(facts, moments)
def test_what_is_not_open_needs_no_month_s_first_moment(each: Facts, now: datetime) -> None:
    """The job at a month's first moment carries open dossiers only; the others must not need it."""
    found = assess(each, now, UNITS)
    if not found.open and found.wake_at is None:
        far = datetime(2028, 1, 1, tzinfo=TZ)
        assert _visible(assess(each, far, UNITS)) == _visible(found)


COPIES = {
    "national": BASE,
    "sent": BASE._replace(portal=Portal.SENT),
    "provincial": BASE._replace(portal=Portal.PROVINCIAL),
}
BARE = BASE._replace(known=int(Known.STATUS | Known.RECEIVED_AT))


@pytest.mark.parametrize(
    ("there", "presence", "basis", "source"),
    [
        ([BASE, COPIES["sent"]], None, Basis.COUNTED, Source.NATIONAL),
        ([BASE], False, Basis.COUNTED, Source.NATIONAL),
        ([COPIES["sent"]], True, Basis.COUNTED, Source.SENT_CONFIRMED),
        ([COPIES["sent"]], None, Basis.COUNTED, Source.SENT_UNCONFIRMED),
        ([COPIES["sent"]], False, Basis.COUNTED, Source.ABSENT),
        ([BASE._replace(vanished=True), COPIES["sent"]], False, Basis.COUNTED, Source.ABSENT),
        ([BARE, COPIES["sent"]], None, Basis.COUNTED, Source.SENT_CONFIRMED),
        ([BARE], None, Basis.COUNTED, Source.NATIONAL),
        # Of what was sent only steps have come: nothing to count by, and it hides no other copy.
        ([BARE, COPIES["sent"]._replace(version=None)], None, Basis.COUNTED, Source.NATIONAL),
        ([COPIES["sent"]._replace(version=None)], None, Basis.COUNTED, Source.NO_COPY),
        ([BASE._replace(known=int(Known.OFFICER))], None, Basis.COUNTED, Source.NO_COPY),
        # A message that does not name the state, or the receipt, says nothing of them.
        ([COPIES["sent"]._replace(known=int(Known.RECEIVED_AT))], None, Basis.COUNTED, Source.NO_COPY),
        ([COPIES["sent"]._replace(known=int(Known.STATUS))], True, Basis.COUNTED, Source.NO_COPY),
        ([COPIES["provincial"]._replace(known=int(Known.DUE_AT))], None, Basis.PROVINCIAL, Source.NO_COPY),
        (
            [BASE._replace(known=int(Known.OFFICER)), COPIES["sent"]],
            False,
            Basis.COUNTED,
            Source.SENT_CONFIRMED,
        ),
        ([COPIES["provincial"]], True, Basis.COUNTED, Source.NO_COPY),
        ([COPIES["provincial"]], False, Basis.PROVINCIAL, Source.PROVINCIAL),
        ([BASE, COPIES["sent"]], True, Basis.PROVINCIAL, Source.NO_COPY),
        ([], None, Basis.COUNTED, Source.NO_COPY),
    ],
)
def test_which_copy_counts(there: list[Copy], presence: bool | None, basis: Basis, source: Source) -> None:
    assert choose(there, presence, basis)[0] is source


def test_who_stands_for_a_unit() -> None:
    day = date
    tree = UnitTree(
        [
            UnitSpan("H31.1", day(2022, 1, 1), day(2025, 6, 30), "Huyện", "district", "H31.2"),
            UnitSpan("H31.2", day(2022, 1, 1), day(2026, 3, 31), "Xã", "commune", "H31.3"),
            UnitSpan("H31.3", day(2026, 4, 1), None, "Phường", "commune", None),
            UnitSpan("H31.4", day(2022, 1, 1), day(2025, 6, 30), "A", "commune", "H31.5"),
            UnitSpan("H31.5", day(2022, 1, 1), day(2025, 6, 30), "B", "commune", "H31.4"),
            UnitSpan("H31.6", day(2022, 1, 1), day(2025, 6, 30), "C", "commune", None),
        ],
        "H31",
    )
    assert tree.standing_for("H31.1", day(2025, 6, 30)) == "H31.1"
    assert tree.standing_for("H31.1", day(2025, 7, 31)) == "H31.2"
    assert tree.standing_for("H31.1", day(2026, 12, 31)) == "H31.3"
    assert tree.standing_for("H31.3", day(2025, 12, 31)) == "H31.3", "it handles it, whatever its age"
    assert tree.standing_for("H31.6", day(2026, 12, 31)) == "H31.6"
    assert tree.standing_for("H31.4", day(2026, 12, 31)) in ("H31.4", "H31.5"), "a circle ends"
    assert tree.standing_for(None, day(2026, 12, 31)) == "H31"
    assert tree.standing_for("G09.20", day(2026, 12, 31)) == "G09.20"
    assert ("H31" in tree, "H31.7" in tree) == (True, False)


def test_a_dossier_is_complained_of_from_the_period_of_the_petition_on() -> None:
    """The petition came in September: August's figure knows nothing of it, the year's does; both what is late and what
    is complained of is not satisfying, and is told once."""
    now, petition = moment("2026-09-20 08:00"), moment("2026-09-01 00:00")
    facts = Facts(Source.NATIONAL, BASE._replace(status=4, finished_at=None), None, complained_at=petition)
    found = {key: each.bits for key, each in assess(facts, now, UNITS).contributions.items()}
    assert {key for key, bits in found.items() if bits & Bit.COMPLAINED} == {"2026-09", "2026-Q3", "2026"}
    late = explain_satisfaction(Bit.MEMBER).vi
    assert late == "Không tính là hài lòng: không tính được là đúng hạn."
    both = explain_satisfaction(Bit.MEMBER | Bit.COMPLAINED)
    assert both.vi == (
        "Không tính là hài lòng: không tính được là đúng hạn và bị phản ánh, kiến nghị trước khi kỳ kết thúc"
        " (chỉ trừ một lần)."
    )
    assert both.citation.endswith("5.4")
    assert explain_satisfaction(Bit.MEMBER | Bit.ON_TIME).vi.startswith("Tính là hài lòng: đúng hạn")
    early = assess(facts, petition - timedelta(seconds=1), UNITS)
    assert early.wake_at is not None
    assert early.wake_at <= petition, "a petition from a clock that is ahead counts when its time has come"
