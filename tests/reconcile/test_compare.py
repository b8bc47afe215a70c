"""The comparison of a dossier's copies: cases an official can read, and what must hold of any copies."""

from __future__ import annotations

import json
import tomllib
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.reconcile.compare import Comparison, agree, compare
from services.reconcile.copies import Copy, Presence, Proofs, Twin
from services.reconcile.findings import values_of
from services.reconcile.judge import CLEAR, UNKNOWN, Case
from services.reconcile.parameters import parameters_on
from services.reconcile.rules import RESPONSIBLE_NAMES, RULES
from shared.calendar import TZ
from shared.errors import NotFound
from shared.vocabulary import Fact, Known, Portal

DATA = tomllib.loads((Path(__file__).parents[1] / "cases" / "compare.toml").read_text(encoding="utf-8"))
BITS = {
    "procedure_code": Known.PROCEDURE,
    "unit_code": Known.UNIT,
    "status": Known.STATUS,
    "received_at": Known.RECEIVED_AT,
    "due_at": Known.DUE_AT,
    "finished_at": Known.FINISHED_AT,
    "officer": Known.OFFICER,
    "officer_title": Known.OFFICER_TITLE,
}
ALL = Known(8191)
NOW = datetime(2026, 8, 20, 8, tzinfo=TZ)
PARAMETERS = parameters_on(NOW.date())


def a_copy(portal: Portal, **given: Any) -> Copy:
    values = {key: value for key, value in DATA["base"].items() if key != "now"} | given
    known = ALL
    for field in values.pop("unknown", []):
        known &= ~BITS[field]
    if isinstance(names := values.get("facts"), list):
        values["facts"] = sum(Fact[name.upper()].value for name in names)
    cleaned = {key: None if value == "" else value for key, value in values.items()}
    return Copy(portal=portal, known=known, via="push", learnt_at=NOW, **cleaned)


def told(comparison: Comparison) -> list[str]:
    return sorted(f"{each.kind} {each.key}".strip() for each in comparison.findings)


@pytest.mark.parametrize("case", DATA["case"], ids=[case["name"] for case in DATA["case"]])
def test_cases(case: dict[str, Any]) -> None:
    copies = [a_copy(Portal(name), **case.get(name, {})) for name in case["there"]]
    presence = (
        Presence(case["national_found"], case["checked_at"], "lookup") if "checked_at" in case else None
    )
    listed = Presence(True, NOW, "list") if case.get("listed_on_provincial") else None
    twin = Twin(*case["twin"]) if "twin" in case else None
    proofs = Proofs(presence, listed, case.get("complete_through"), twin)
    result = compare(copies, proofs, case.get("now", DATA["base"]["now"]), PARAMETERS)
    assert told(result) == sorted(case["expect"])
    assert result.wake_at == case.get("wake_at")


def test_every_rule_has_a_case_and_says_what_unknown_means() -> None:
    kinds = {text.split()[0] for case in DATA["case"] for text in case["expect"]}
    assert kinds == {rule.kind for rule in RULES}
    for rule in RULES:
        assert "không kết luận" in rule.unknown
        assert rule.responsible in RESPONSIBLE_NAMES
        assert rule.source.startswith("R")


def test_evidence_tells_both_values_and_where_they_come_from() -> None:
    sent = a_copy(Portal.SENT, due_at=datetime(2026, 8, 12, 17, tzinfo=TZ))
    (found,) = compare([sent, a_copy(Portal.PROVINCIAL)], Proofs(), NOW, PARAMETERS).findings
    assert found.evidence == {
        "rule": "appointment_differs",
        "sentence": "Hệ thống một cửa của tỉnh hẹn trả 10/08/2026 17:00, "
        "dữ liệu tỉnh đã gửi lên quốc gia hẹn trả 12/08/2026 17:00.",
        "field": "due_at",
        "values": [
            {
                "portal": "provincial",
                "value": "2026-08-10T17:00:00+07:00",
                "text": "10/08/2026 17:00",
                "via": "push",
                "learnt_at": "2026-08-20T08:00:00+07:00",
                "version": "2026-08-04T09:00:00+07:00",
            },
            {
                "portal": "sent",
                "value": "2026-08-12T17:00:00+07:00",
                "text": "12/08/2026 17:00",
                "via": "push",
                "learnt_at": "2026-08-20T08:00:00+07:00",
                "version": "2026-08-04T09:00:00+07:00",
            },
        ],
        "responsible": "vnpt",
        "source": "R4, R11; portals.md §1.9 (11)",
    }
    later = replace(sent, learnt_at=NOW + timedelta(days=1), via="list")
    (again,) = compare([a_copy(Portal.PROVINCIAL), later], Proofs(), NOW, PARAMETERS).findings
    assert again.evidence != found.evidence
    assert values_of(again.evidence) == values_of(found.evidence)


def test_a_missing_dossier_carries_its_proof() -> None:
    proofs = Proofs(Presence(False, NOW, "lookup"))
    (found,) = compare([a_copy(Portal.PROVINCIAL)], proofs, NOW, PARAMETERS).findings
    assert found.evidence["proof"] == {
        "portal": "national",
        "checked_at": "2026-08-20T08:00:00+07:00",
        "via": "lookup",
    }
    assert "03/08/2026 08:00" in found.evidence["sentence"]


def test_no_parameter_before_the_indicator_set() -> None:
    with pytest.raises(NotFound):
        parameters_on(datetime(2022, 6, 22, tzinfo=TZ).date())


# --- what must hold of any copies ---------------------------------------------------------------------------

moments = st.integers(0, 40).map(lambda hours: datetime(2026, 8, 1, tzinfo=TZ) + timedelta(hours=hours * 12))
maybe = st.none() | moments
heads = st.fixed_dictionaries(
    {
        "procedure_code": st.sampled_from([None, "1.001612", "2.000720"]),
        "unit_code": st.sampled_from([None, "H31.135", "H31.136"]),
        "unit_via": st.sampled_from(["agency_code", "alias", "dossier_code", "none"]),
        "status": st.none() | st.integers(1, 10),
        "received_at": maybe,
        "due_at": maybe,
        "finished_at": maybe,
        "officer": st.sampled_from([None, "", "Chuyên viên", "Nguyễn Văn Mẫu"]),
        "officer_title": st.sampled_from([None, "", "Chuyên viên"]),
        "officer_at": maybe,
        "step_status": st.none() | st.integers(0, 10),
        "step_status_at": maybe,
        "version": maybe,
        "cancelled": st.sampled_from([False, False, False, True]),
        "vanished_at": st.none() | st.none() | moments,
        "facts": st.sampled_from(
            [0, 0, *map(int, (Fact.RESULT_IS_SUBMITTED, Fact.PAID_ONLINE, Fact.PAID_OTHERWISE))]
        ),
    }
)
knowledge = st.integers(0, 8191).map(Known) | st.just(ALL)


@st.composite
def any_copies(draw: st.DrawFn) -> list[Copy]:
    portals = draw(st.sets(st.sampled_from(list(Portal))))
    return [
        Copy(portal=portal, known=draw(knowledge), via="push", learnt_at=NOW, **draw(heads))
        for portal in portals
    ]


any_proofs = st.builds(
    Proofs,
    national=st.none() | st.builds(Presence, st.none() | st.booleans(), maybe, st.just("lookup")),
    provincial=st.none() | st.builds(Presence, st.just(True), moments, st.just("list")),
    provincial_complete_through=maybe,
)
both = tuple[str, str]


def kinds_of(copies: list[Copy], proofs: Proofs, now: datetime) -> set[both]:
    return {(each.kind, each.key) for each in compare(copies, proofs, now, PARAMETERS).findings}


@given(copies=any_copies(), proofs=any_proofs, now=moments)
def test_total_deterministic_and_ready_for_json(copies: list[Copy], proofs: Proofs, now: datetime) -> None:
    result = compare(copies, proofs, now, PARAMETERS)
    assert result == compare(copies[::-1], proofs, now, PARAMETERS)
    assert len({(each.kind, each.key) for each in result.findings}) == len(result.findings)
    assert result.wake_at is None or result.wake_at > now
    json.dumps([each.evidence for each in result.findings])


@given(copies=any_copies(), proofs=any_proofs, now=moments, bit=st.sampled_from(list(Known)))
def test_forgetting_a_field_never_adds_a_finding(
    copies: list[Copy], proofs: Proofs, now: datetime, bit: Known
) -> None:
    known = kinds_of(copies, proofs, now)
    for index, copy in enumerate(copies):
        less = [*copies[:index], replace(copy, known=copy.known & ~bit), *copies[index + 1 :]]
        assert kinds_of(less, proofs, now) <= known


@given(copies=any_copies(), proofs=any_proofs, now=moments)
def test_without_proof_nothing_is_missing(copies: list[Copy], proofs: Proofs, now: datetime) -> None:
    unproved = {kind for kind, _ in kinds_of(copies, Proofs(), now)}
    assert not unproved & {"missing_on_national", "missing_on_provincial"}
    assert unproved == {kind for kind, _ in kinds_of(copies, proofs, now) if not kind.startswith("missing")}


@given(copies=any_copies(), proofs=any_proofs, now=moments, later=moments)
def test_nothing_changes_before_the_wake(
    copies: list[Copy], proofs: Proofs, now: datetime, later: datetime
) -> None:
    result = compare(copies, proofs, now, PARAMETERS)
    if later >= now and (result.wake_at is None or later < result.wake_at):
        assert kinds_of(copies, proofs, later) == {(each.kind, each.key) for each in result.findings}


@given(
    head=heads,
    portals=st.sets(st.sampled_from(list(Portal)), min_size=1),
    known=knowledge,
    now=moments,
)
def test_equal_copies_do_not_differ(
    head: dict[str, Any], portals: set[Portal], known: Known, now: datetime
) -> None:
    copies = [Copy(portal=portal, known=known, via="push", learnt_at=NOW, **head) for portal in portals]
    assert {kind for kind, _ in kinds_of(copies, Proofs(), now)} <= {
        "impossible_record",
        "officer_missing",
        "officer_title_missing",
        "result_is_submitted_file",
    }


@given(copies=any_copies(), proofs=any_proofs, now=moments, other=any_copies())
def test_where_a_pair_agrees_no_rule_finds_a_difference(
    copies: list[Copy], proofs: Proofs, now: datetime, other: list[Copy]
) -> None:
    """What lets compare() pass such pairs by."""
    for a in copies:
        for b in (replace(b, **{name: getattr(a, name) for name in COMPARED}) for b in other):
            case = Case(a, b, {each.portal: each for each in copies}, proofs, now, PARAMETERS)
            if agree(a, b):
                assert {rule.judge(case) for rule in RULES if rule.looks_at == "pair"} <= {CLEAR, UNKNOWN}


COMPARED = (
    "finished_at", "due_at", "procedure_code", "unit_code", "unit_via", "status", "step_status", "step_status_at",
    "version", "known", "facts",
)  # fmt: skip
HOURS = timedelta(hours=1)
INJECTED = {
    "appointment_missing": lambda copy: replace(copy, due_at=None),
    "appointment_differs": lambda copy: replace(copy, due_at=copy.due_at + 24 * HOURS),
    "procedure_differs": lambda copy: replace(copy, procedure_code="2.000720"),
    "unit_differs": lambda copy: replace(copy, unit_code="H31.136", unit_via="alias"),
    "officer_missing": lambda copy: replace(copy, officer="Cán bộ một cửa"),
    "officer_title_missing": lambda copy: replace(copy, officer_title=None),
    "status_differs": lambda copy: replace(copy, status=3, step_status=3),
}


@given(
    status=st.integers(1, 10).filter(lambda status: status != 3),
    version=moments,
    lag=st.integers(0, 60),
    where=st.sampled_from(["integrator", "nation", "unsent"]),
    kind=st.sampled_from(sorted(INJECTED)),
)
def test_each_injected_difference_gives_exactly_its_kind(
    status: int, version: datetime, lag: int, where: str, kind: str
) -> None:
    """Integrator: what is sent differs, the nation shows it so. Nation: what it shows was not sent so."""
    at = {"status": status, "step_status": status, "version": version, "officer_at": version}
    at["step_status_at"] = version
    finished = min(max(version, DATA["base"]["received_at"]), NOW) if status >= 9 else ""
    true = a_copy(Portal.PROVINCIAL, finished_at=finished, **at)
    late = replace(true, version=version + timedelta(seconds=lag), officer_at=None, step_status=None)
    late = replace(late, step_status_at=None)
    sent, shown = replace(true, portal=Portal.SENT), replace(true, portal=Portal.NATIONAL, officer_at=None)
    change = INJECTED[kind]
    if kind.startswith("officer") or where == "integrator":
        copies, key = [late, change(sent), change(shown)], "provincial-sent"
    elif where == "nation":
        copies, key = [late, sent, change(shown)], "sent-national"
    else:
        copies, key = [late, change(shown)], "provincial-national"
    expected = {(kind, "" if kind.startswith("officer") else key)}
    assert kinds_of(copies, Proofs(Presence(True, NOW, "lookup"), None, NOW), NOW) == expected
