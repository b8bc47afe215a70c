"""One judgement per rule about the copies of a dossier: found, clear, or unknown. Pure.

What is not known never makes a finding, and never decides between a special case and the general one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import Enum

from services.reconcile.copies import Copy, Proofs
from services.reconcile.parameters import Parameters
from shared.vocabulary import DossierStatus, Known, Portal

OVERWRITTEN = (DossierStatus.SUPPLEMENT_REQUESTED, DossierStatus.PAYMENT_REQUESTED, DossierStatus.STOPPED)
"""States that clients overwrite with 9 before sending (portals.md §1.9 row 1)."""


class Verdict(Enum):
    FOUND = "found"
    CLEAR = "clear"
    UNKNOWN = "unknown"


FOUND, CLEAR, UNKNOWN = Verdict.FOUND, Verdict.CLEAR, Verdict.UNKNOWN


@dataclass(frozen=True, slots=True)
class Case:
    """What a rule looks at: `a` the copy nearer to the province, `b` the one that should agree with it (the
    same as `a` where a rule looks at one copy only); `copies`: all that are there, neither vanished nor
    cancelled."""

    a: Copy
    b: Copy
    copies: Mapping[Portal, Copy]
    proofs: Proofs
    now: datetime
    parameters: Parameters

    def same(self, first: datetime, second: datetime) -> bool:
        return abs(first - second) <= self.parameters.tolerance


# --- is it there --------------------------------------------------------------------------------------------


def receipt_known_elsewhere(case: Case) -> datetime | None:
    """The earliest receipt that the copies (other than the provincial one) tell."""
    told = [
        copy.received_at
        for portal, copy in case.copies.items()
        if portal is not Portal.PROVINCIAL and copy.knows(Known.RECEIVED_AT) and copy.received_at is not None
    ]
    return min(told, default=None)


def missing_on_national(case: Case) -> Verdict:
    proof = case.proofs.national
    if Portal.NATIONAL in case.copies:
        return CLEAR
    if proof is None or proof.found is None or proof.checked_at is None:
        return UNKNOWN
    if proof.found:
        return CLEAR
    # `a` is the provincial copy where there is one: what was not received there is not due on the nation.
    if not case.a.knows(Known.RECEIVED_AT):
        return UNKNOWN
    if case.a.received_at is None:
        return CLEAR
    due = case.a.received_at + case.parameters.missing_grace
    return FOUND if proof.checked_at >= due else CLEAR


def missing_on_provincial(case: Case) -> Verdict:
    seen_there = case.proofs.provincial is not None and case.proofs.provincial.found
    if Portal.PROVINCIAL in case.copies or seen_there:
        return CLEAR
    received, seen = receipt_known_elsewhere(case), case.proofs.provincial_complete_through
    if received is None or seen is None:
        return UNKNOWN
    return FOUND if seen >= received + case.parameters.missing_grace else CLEAR


# --- do two copies say the same -----------------------------------------------------------------------------


def _statuses(case: Case) -> tuple[int, int] | None:
    a, b = case.a.effective_status, case.b.effective_status
    return None if a is None or b is None else (a, b)


def status_overwritten(case: Case) -> Verdict:
    statuses = _statuses(case)
    if statuses is None:
        return UNKNOWN
    overwritten = case.a.portal is Portal.PROVINCIAL and statuses[0] in OVERWRITTEN
    return FOUND if overwritten and statuses[1] == DossierStatus.DONE else CLEAR


def status_differs(case: Case) -> Verdict:
    statuses = _statuses(case)
    if statuses is None:
        return UNKNOWN
    return CLEAR if statuses[0] == statuses[1] else FOUND


def _both_know(case: Case, field: Known) -> bool:
    return case.a.knows(field) and case.b.knows(field)


def appointment_missing(case: Case) -> Verdict:
    if not _both_know(case, Known.DUE_AT):
        return UNKNOWN
    return FOUND if case.a.due_at is not None and case.b.due_at is None else CLEAR


def appointment_differs(case: Case) -> Verdict:
    if not _both_know(case, Known.DUE_AT):
        return UNKNOWN
    a, b = case.a.due_at, case.b.due_at
    if a is None or b is None:
        return CLEAR if a is b else FOUND
    return CLEAR if case.same(a, b) else FOUND


def _ends_with_states(case: Case) -> Verdict:
    """An end on one side only is a cause of its own where the states agree; where they differ, that is the
    cause."""
    statuses = _statuses(case)
    if statuses is None:
        return UNKNOWN
    return FOUND if statuses[0] == statuses[1] else CLEAR


def _minute(moment: datetime) -> int:
    return int(moment.timestamp() // 60)


def end_stamped_as_receipt(case: Case) -> Verdict:
    if not _both_know(case, Known.FINISHED_AT):
        return UNKNOWN
    a, b = case.a.finished_at, case.b.finished_at
    if b is None or (a is not None and case.same(a, b)):
        return CLEAR
    if not case.b.knows(Known.RECEIVED_AT):
        return UNKNOWN
    if case.b.received_at is None or _minute(b) != _minute(case.b.received_at):
        return CLEAR
    if a is None:
        return _ends_with_states(case)
    return FOUND if a > b else CLEAR


def end_differs(case: Case) -> Verdict:
    if not _both_know(case, Known.FINISHED_AT):
        return UNKNOWN
    a, b = case.a.finished_at, case.b.finished_at
    if a is None and b is None:
        return CLEAR
    if a is None or b is None:
        return _ends_with_states(case)
    return CLEAR if case.same(a, b) else FOUND


def procedure_differs(case: Case) -> Verdict:
    a, b = case.a.procedure_code, case.b.procedure_code
    if not _both_know(case, Known.PROCEDURE) or a is None or b is None:
        return UNKNOWN
    return CLEAR if a == b else FOUND


def unit_differs(case: Case) -> Verdict:
    a, b = case.a.compared_unit, case.b.compared_unit
    if a is None or b is None:
        return UNKNOWN
    return CLEAR if a == b else FOUND


# --- is the officer public ----------------------------------------------------------------------------------


def officer_missing(case: Case) -> Verdict:
    if not case.b.knows(Known.OFFICER):
        return UNKNOWN
    return FOUND if case.parameters.is_no_name(case.b.officer) else CLEAR


def officer_title_missing(case: Case) -> Verdict:
    if not case.b.knows(Known.OFFICER_TITLE):
        return UNKNOWN
    title = case.b.officer_title or ""
    return CLEAR if any(sign.isalpha() for sign in title) else FOUND
