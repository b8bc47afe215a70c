"""Comparing the copies of one dossier (requirements R4, R11; architecture.md §4, Copies and Time). Pure.

Pairs: provincial ↔ sent (what the integrator changed), sent ↔ national (what the synchronisation lost),
provincial ↔ national only where nothing was sent. The table of rules is rules.py.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from itertools import groupby, pairwise
from typing import Any, Literal

from services.reconcile.copies import Copy, Proofs
from services.reconcile.judge import FOUND, PROBLEMS, UNKNOWN, Case, impossibilities
from services.reconcile.parameters import Parameters
from services.reconcile.rules import PORTAL_NAMES, RULES, Rule, read, show
from shared.calendar import TZ
from shared.vocabulary import Known, Portal

_BITS = {Portal.PROVINCIAL: 1, Portal.SENT: 2, Portal.NATIONAL: 4}
_GROUPS = tuple(tuple(rules) for _, rules in groupby(RULES, key=lambda rule: rule.group))


@dataclass(frozen=True, slots=True)
class Found:
    """A finding. key: the pair ("provincial-sent", …) for a difference, "" else. evidence: JSON-ready."""

    kind: str
    key: str
    responsible: str
    evidence: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Comparison:
    """findings; wake_at: the next moment at which the judgement changes without any message (later than
    now); copies: bitmask 1 provincial, 2 sent, 4 national; unit_code, procedure_code, source_system,
    received_at: of the dossier, by the copy nearest to the province that knows them."""

    findings: tuple[Found, ...]
    wake_at: datetime | None
    copies: int
    unit_code: str | None
    procedure_code: str | None
    source_system: str | None
    received_at: datetime | None


def compare(copies: Iterable[Copy], proofs: Proofs, now: datetime, parameters: Parameters) -> Comparison:
    """All findings of one dossier at `now`. A copy that vanished from its portal is not there. A dossier
    that was cancelled somewhere is not compared: it is a state, and nothing is missing or different because
    of it."""
    there = {copy.portal: copy for copy in sorted(copies, key=_order) if copy.vanished_at is None}
    judged = {} if any(copy.cancelled for copy in there.values()) else there

    def case(a: Copy, b: Copy) -> Case:
        return Case(a, b, judged, proofs, now, parameters)

    alone = {portal: case(copy, copy) for portal, copy in judged.items()}
    cases = {
        "dossier": [("", each) for each in alone.values()][:1],
        "copy": [(portal.value, each) for portal, each in alone.items()],
        "pair": [(f"{a.portal}-{b.portal}", case(a, b)) for a, b in _pairs(judged)],
        "officer": [("", alone[copy.portal]) for copy in _public(judged)],
    }
    found: list[Found] = []
    wakes: list[datetime] = []
    for rules in _GROUPS:
        for key, looked_at in cases[rules[0].looks_at]:
            rule = _first(rules, looked_at)
            if rule is None:
                continue
            ready = _ready_at(rule, looked_at)
            if ready <= now:
                evidence = _evidence(rule, looked_at)
                found.append(Found(rule.kind, key, evidence["responsible"], evidence))
            else:
                wakes.append(ready)
    wakes += _in_future(judged.values(), now, parameters)
    return Comparison(
        findings=tuple(found),
        wake_at=min(wakes, default=None),
        copies=sum(_BITS[portal] for portal in there),
        unit_code=next((copy.unit_code for copy in there.values() if copy.unit_code), None),
        procedure_code=next((copy.procedure_code for copy in there.values() if copy.procedure_code), None),
        source_system=next((copy.source_system for copy in there.values()), None),
        received_at=next((copy.received_at for copy in there.values() if copy.received_at), None),
    )


def _order(copy: Copy) -> int:
    return _BITS[copy.portal]


def _pairs(copies: dict[Portal, Copy]) -> Iterator[tuple[Copy, Copy]]:
    """A copy of which only steps have come (no version) has no head to compare, and hides no other pair. Where both
    tell the same there is no difference, whatever they know: most pairs need no rule."""
    told = [copy for copy in copies.values() if copy.version is not None]
    return ((a, b) for a, b in pairwise(told) if not agree(a, b))


def agree(a: Copy, b: Copy) -> bool:
    """Whether two copies have the same values in all that the rules about pairs look for differences in."""
    return (
        a.finished_at == b.finished_at
        and a.due_at == b.due_at
        and a.procedure_code == b.procedure_code
        and a.compared_unit == b.compared_unit
        and a.effective_status == b.effective_status
        and a.payment == b.payment
    )


def _in_future(copies: Iterable[Copy], now: datetime, parameters: Parameters) -> list[datetime]:
    """When dates that still lie in the future will lie there no more."""
    moments = [
        moment for copy in copies for moment in (copy.received_at, copy.finished_at) if moment is not None
    ]
    ends = [moment - parameters.clock_tolerance for moment in moments]
    return [end for end in ends if end > now]


def _public(copies: dict[Portal, Copy]) -> list[Copy]:
    """The copy whose newest step makes the officer public: the national one where it tells steps, else the
    sent one; none before the dossier has been received."""
    if not any(copy.knows(Known.RECEIVED_AT) and copy.received_at for copy in copies.values()):
        return []
    for portal in (Portal.NATIONAL, Portal.SENT):
        if portal in copies and copies[portal].officer_at is not None:
            return [copies[portal]]
    return []


def _first(rules: tuple[Rule, ...], case: Case) -> Rule | None:
    """The rule of a group that fits; a rule that cannot be judged ends the group without a finding."""
    for rule in rules:
        verdict = rule.judge(case)
        if verdict is FOUND:
            return rule
        if verdict is UNKNOWN:
            return None
    return None


def _ready_at(rule: Rule, case: Case) -> datetime:
    """From when on a difference counts: at once where the receiving side knows of events as new as the
    other's newest, else when the grace time is over."""
    if rule.looks_at != "pair":
        return case.now
    at: Literal["status_at", "version"] = "status_at" if rule.clock == "status" else "version"
    a, b = getattr(case.a, at), getattr(case.b, at)
    if b >= a - case.parameters.tolerance:
        return case.now
    ready: datetime = max(a, b) + case.parameters.difference_grace
    return ready


def _evidence(rule: Rule, case: Case) -> dict[str, Any]:
    """Both values with where, how and when they were learnt; for a missing copy the proof instead of a
    value."""
    shown = (
        [case.a]
        if rule.looks_at in ("dossier", "copy")
        else [case.b]
        if rule.looks_at == "officer"
        else [case.a, case.b]
    )
    if rule.kind == "missing_on_provincial":
        shown = [
            min(
                (copy for copy in case.copies.values() if copy.knows(Known.RECEIVED_AT) and copy.received_at),
                key=lambda copy: copy.received_at or case.now,
            )
        ]
    texts = [show(rule, copy) for copy in shown]
    a, b = shown[0], shown[-1]
    a_portal, b_portal = PORTAL_NAMES[a.portal], PORTAL_NAMES[b.portal]
    problems = impossibilities(case, a) if rule.kind == "impossible_record" else frozenset[str]()
    evidence: dict[str, Any] = {
        "rule": rule.kind,
        "sentence": rule.sentence.format(
            a=texts[0],
            b=texts[-1],
            a_portal=a_portal,
            b_portal=b_portal,
            A_portal=a_portal[0].upper() + a_portal[1:],
            twin=case.proofs.twin.code if case.proofs.twin else "",
            problems=", ".join(PROBLEMS[each] for each in sorted(problems)),
        ),
        "field": rule.reads,
        "values": [
            {
                "portal": copy.portal.value,
                "value": read(rule, copy),
                "text": text,
                "via": copy.via,
                "learnt_at": _iso(copy.learnt_at),
                "version": _iso(copy.version),
            }
            for copy, text in zip(shown, texts, strict=True)
        ],
        # What cannot be at the province is the unit's to mend; further on the synchronisation made it.
        "responsible": "vnpt"
        if rule.looks_at == "copy" and a.portal is not Portal.PROVINCIAL
        else rule.responsible,
        "source": rule.source,
    }
    if problems:
        evidence["problems"] = sorted(problems)
        evidence["record"] = {
            "status": a.status,
            "received_at": _iso(a.received_at),
            "finished_at": _iso(a.finished_at),
        }
    if rule.kind == "possible_duplicate" and case.proofs.twin is not None:
        evidence["codes"] = list(case.proofs.twin)
    if rule.kind in ("missing_on_national", "possible_duplicate") and case.proofs.national is not None:
        proof = case.proofs.national
        evidence["proof"] = {"portal": "national", "checked_at": _iso(proof.checked_at), "via": proof.via}
    if rule.kind == "missing_on_provincial":
        through = _iso(case.proofs.provincial_complete_through)
        evidence["proof"] = {"portal": "provincial", "checked_at": through, "via": "list"}
    return evidence


def _iso(moment: datetime | None) -> str | None:
    return None if moment is None else moment.astimezone(TZ).isoformat()
