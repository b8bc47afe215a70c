"""One judgement per rule about the copies of a dossier: found, clear, or unknown. Pure.

What is not known never makes a finding, and never decides between a special case and the general one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import Enum

from services.reconcile.copies import Copy, Proofs
from services.reconcile.parameters import Parameters
from shared.vocabulary import DossierStatus, Known, Portal

OVERWRITTEN = (DossierStatus.SUPPLEMENT_REQUESTED, DossierStatus.PAYMENT_REQUESTED, DossierStatus.STOPPED)
"""States that clients overwrite with 9 before sending (portals.md §1.9 row 1)."""


INVENTED_AFTER = timedelta(days=1)
"""Clients fill a missing appointment with now + 1 day (portals.md §1.9 row 13)."""

NEEDS_END = frozenset({DossierStatus.DONE, DossierStatus.RETURNED})
NEEDS_RECEIPT = NEEDS_END | {
    DossierStatus.RECEIVED,
    DossierStatus.IN_PROGRESS,
    DossierStatus.SUPPLEMENT_REQUESTED,
    DossierStatus.PAYMENT_REQUESTED,
}

PROBLEMS = {
    "end_before_receipt": "kết thúc xử lý trước khi tiếp nhận",
    "in_future": "ngày tiếp nhận hoặc kết thúc ở tương lai",
    "no_receipt": "trạng thái đã tiếp nhận nhưng không có ngày tiếp nhận",
    "no_end": "đã xử lý xong nhưng không có ngày kết thúc xử lý",
}
"""What cannot be in a record, in the words of its sentence."""

END_PROBLEMS = frozenset({"end_before_receipt", "no_end"})


class Verdict(Enum):
    FOUND = "found"
    CLEAR = "clear"
    UNKNOWN = "unknown"


FOUND, CLEAR, UNKNOWN = Verdict.FOUND, Verdict.CLEAR, Verdict.UNKNOWN


@dataclass(slots=True)
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


def possible_duplicate(case: Case) -> Verdict:
    """Missing under the province's code, while the nation has exactly one dossier that the province does not know,
    of the same procedure, unit and minute of receipt (portals.md §1.9 row 4). A proposal: nobody proves it."""
    if case.proofs.twin is None or Portal.PROVINCIAL not in case.copies:
        return CLEAR
    return missing_on_national(case)


def missing_on_provincial(case: Case) -> Verdict:
    if case.proofs.twin is not None:  # told once, at the province's code
        return CLEAR
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


def appointment_invented(case: Case) -> Verdict:
    """The province gave none; what the other side shows lies a day after the receipt, the newest event (or the
    delay of a synchronisation later), or the moment at which we were told. What the client did cannot be seen,
    only that the appointment has this form (portals.md §1.9 row 13)."""
    if not _both_know(case, Known.DUE_AT):
        return UNKNOWN
    if case.a.due_at is not None or case.b.due_at is None:
        return CLEAR
    filled_at = case.b.due_at - INVENTED_AFTER
    numbers = case.parameters
    after_events = any(
        moment - numbers.tolerance <= filled_at <= moment + numbers.difference_grace
        for moment in (case.b.received_at if case.b.knows(Known.RECEIVED_AT) else None, case.b.version)
        if moment is not None
    )
    if after_events or abs(filled_at - case.b.learnt_at) <= numbers.clock_tolerance:
        return FOUND
    return CLEAR if case.b.knows(Known.RECEIVED_AT) else UNKNOWN


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


def processing_date_is_push_time(case: Case) -> Verdict:
    """The end that was pushed to us is the moment of that push, and the province's own is earlier (portals.md §1.9
    row 14). What a list tells says nothing of the moment of a push."""
    if not _both_know(case, Known.FINISHED_AT):
        return UNKNOWN
    a, b = case.a.finished_at, case.b.finished_at
    if a is None or b is None or case.b.via != "push" or a >= b - case.parameters.tolerance:
        return CLEAR
    return FOUND if abs(b - case.b.learnt_at) <= case.parameters.clock_tolerance else CLEAR


def end_differs(case: Case) -> Verdict:
    if not _both_know(case, Known.FINISHED_AT):
        return UNKNOWN
    a, b = case.a.finished_at, case.b.finished_at
    if a is b or (a is not None and b is not None and case.same(a, b)):
        return CLEAR
    if not _both_know(case, Known.RECEIVED_AT):
        return UNKNOWN
    if END_PROBLEMS & (impossibilities(case, case.a) | impossibilities(case, case.b)):
        return CLEAR  # the cause is told of the record itself
    if a is None or b is None:
        return _ends_with_states(case)
    return FOUND


def procedure_differs(case: Case) -> Verdict:
    """A copy that is able to tell the procedure and has none says something else than one that names it."""
    if not _both_know(case, Known.PROCEDURE):
        return UNKNOWN
    return CLEAR if case.a.procedure_code == case.b.procedure_code else FOUND


def unit_differs(case: Case) -> Verdict:
    a, b = case.a.compared_unit, case.b.compared_unit
    if a is None or b is None:
        return UNKNOWN
    if a == b or case.parameters.is_cut(case.a.unit_name, case.b.unit_name):
        return CLEAR
    return FOUND


# --- can it be ----------------------------------------------------------------------------------------------


def impossibilities(case: Case, copy: Copy) -> frozenset[str]:
    """What cannot be in one copy (portals.md §1.9 row 15), by the names of PROBLEMS; what is not known is none. A date
    that is missing in a state which needs it counts where the copy nearest to the province tells that state too: else
    the state is the cause."""
    received = copy.received_at if copy.knows(Known.RECEIVED_AT) else None
    finished = copy.finished_at if copy.knows(Known.FINISHED_AT) else None
    found: set[str] = set()
    if received is not None and finished is not None and finished < received - case.parameters.tolerance:
        found.add("end_before_receipt")
    latest = case.now + case.parameters.clock_tolerance
    if (received is not None and received > latest) or (finished is not None and finished > latest):
        found.add("in_future")
    if (received is not None and finished is not None) or copy.version is None:
        return frozenset(found)
    state = copy.effective_status
    nearest = next((each for each in case.copies.values() if each.version is not None), copy)
    if copy.status == state == nearest.effective_status and copy.knows(Known.STATUS):
        if state in NEEDS_RECEIPT and received is None and copy.knows(Known.RECEIVED_AT):
            found.add("no_receipt")
        if state in NEEDS_END and finished is None and copy.knows(Known.FINISHED_AT):
            found.add("no_end")
    return frozenset(found)


def impossible_record(case: Case) -> Verdict:
    """Told of the copy nearest to the province that has it: the others have it from there, which cannot be said where
    the nearer one does not know these fields."""
    problems = impossibilities(case, case.a)
    if not problems:
        return CLEAR
    for copy in case.copies.values():
        if copy is case.a:
            break
        if copy.version is None:
            continue
        if not (copy.knows(Known.STATUS | Known.RECEIVED_AT | Known.FINISHED_AT)):
            return UNKNOWN
        if impossibilities(case, copy) & problems:
            return CLEAR
    return FOUND


# --- papers and payment ------------------------------------------------------------------------------------


def result_is_submitted_file(case: Case) -> Verdict:
    """A file of the result is one that was submitted (portals.md §1.9 row 8). Told of the copy nearest to the province
    that says so; whether two files are one is only said by a copy that has both links."""
    if not case.a.result_is_submitted:
        return CLEAR
    nearest = next(copy for copy in case.copies.values() if copy.result_is_submitted)
    return FOUND if nearest is case.a else CLEAR


def cash_counted_online(case: Case) -> Verdict:
    """One copy says that the fee was paid otherwise, the next that it was paid online (portals.md §1.9 row 9). Where
    the province's copy does not tell how it was paid, no single dossier proves it (patterns.py)."""
    return FOUND if case.a.payment == "otherwise" and case.b.payment == "online" else CLEAR


# --- is the officer public ----------------------------------------------------------------------------------


def officer_missing(case: Case) -> Verdict:
    if not case.b.knows(Known.OFFICER):
        return UNKNOWN
    return FOUND if case.parameters.is_no_name(case.b.officer) else CLEAR


def officer_title_missing(case: Case) -> Verdict:
    if not case.b.knows(Known.OFFICER_TITLE):
        return UNKNOWN
    return CLEAR if has_title(case.b.officer_title or "") else FOUND


def has_title(text: str) -> bool:
    return any(sign.isalpha() for sign in text)
