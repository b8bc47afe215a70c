"""The plain values that a judgement needs, and which copy of a dossier they are taken from. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from functools import lru_cache
from typing import NamedTuple

from shared.reasons import Bit, Source
from shared.vocabulary import Basis, DossierStatus, DurationUnit, Fact, Known, Portal

NEEDED = int(Known.STATUS | Known.RECEIVED_AT | Known.DUE_AT | Known.FINISHED_AT | Known.SUPPLEMENTS)
"""Fields that 2.1 asks of a copy before it is preferred to a fuller one."""

LEAST = int(Known.STATUS | Known.RECEIVED_AT)
"""Fields without which nothing can be said at all."""


class Supplement(NamedTuple):
    """One request for more papers. moved: the appointment was set anew (NgayHenTraMoi), so the wait is in
    it."""

    requested_at: datetime | None
    completed_at: datetime | None
    moved: bool


class Duration(NamedTuple):
    """The longest time that a procedure may take, over its channels."""

    value: Decimal
    unit: DurationUnit


class Copy(NamedTuple):
    """What one portal tells of a dossier; the columns of `dossier`, and when steps entered each end state.
    step_at, step_status: of the newest step that tells a state."""

    portal: Portal
    known: int
    vanished: bool
    cancelled: bool
    version: datetime | None
    status: int | None
    received_at: datetime | None
    due_at: datetime | None
    finished_at: datetime | None
    returned_at: datetime | None
    rejected_at: datetime | None
    supplements: tuple[Supplement, ...]
    step_at: datetime | None
    step_status: int | None
    step_times: Mapping[int, datetime]
    unit_code: str | None
    procedure_code: str | None
    channel: int | None = None
    facts: int = 0
    facts_known: int = 0


class Facts(NamedTuple):
    """What is judged: the copy that counts (None: none does, source says why) and what belongs to it. papers: bits of
    shared.reasons.Bit of what the other groups ask (papers_of). complained_at: when the first petition that names the
    dossier was sent."""

    source: Source
    copy: Copy | None
    maximum: Duration | None
    papers: int = 0
    complained_at: datetime | None = None


_PAPERS: tuple[tuple[Fact, Bit], ...] = (
    (Fact.RESULT_LINK | Fact.RESULT_CODED, Bit.RESULT_LINK),
    (Fact.RESULT_CODED, Bit.RESULT_CODED),
    (Fact.COMPONENT_FILE, Bit.COMPONENT_FILE),
    # That DuocTaiSuDung counts too is inferred (indicators.md §3, 4.3).
    (Fact.DIGITISED | Fact.REUSED, Bit.REUSED),
    # That a result was pushed to its owner's store no message tells: only what was taken from it counts (4.4).
    (Fact.FROM_STORE, Bit.STORE),
    (Fact.VNEID | Fact.FROM_STORE | Fact.POPULATION_DB, Bit.CITIZEN_DATA),
    (Fact.PAID_ONLINE, Bit.PAID_ONLINE),
    (Fact.FEE, Bit.FEE),
    (Fact.FEE_FREE, Bit.FEE_FREE),
)
"""Any of the facts → the bit (indicators.md §3, 3.3 to 4.5)."""


def papers_of(copies: Iterable[Copy]) -> int:
    """Bits of what a dossier's papers, results and payments say: by the copy nearest to the nation that tells of them
    at all, on both bases, because the provincial system's own rows do not."""
    telling = {copy.portal: copy for copy in copies if copy.facts_known and not copy.vanished}
    for portal in (Portal.NATIONAL, Portal.SENT, Portal.PROVINCIAL):
        if portal in telling:
            return _bits_of(telling[portal].facts)
    return 0


@lru_cache(maxsize=8_192)
def _bits_of(facts: int) -> int:
    return int(sum(bit for any_of, bit in _PAPERS if facts & any_of))


def choose(copies: Sequence[Copy], presence: bool | None, basis: Basis) -> tuple[Source, Copy | None]:
    """The copy that counts on a basis (architecture.md §4, Copies).

    Counted: the national copy where it knows what the rule needs, else what was sent: confirmed where a
    look-up found the code or the nation shows a copy, unconfirmed without any proof, not at all where a
    look-up did not find it (presence False); else the national copy. A copy that has vanished from its portal
    is none, and one that does not tell at least state and receipt is not counted, whichever it is: what is
    unknown is neither "not received" nor "still running".
    """
    there = {copy.portal: copy for copy in copies if not copy.vanished}
    telling = {portal: copy for portal, copy in there.items() if _tells(copy)}
    if basis is Basis.PROVINCIAL:
        provincial = telling.get(Portal.PROVINCIAL)
        return (Source.PROVINCIAL, provincial) if provincial else (Source.NO_COPY, None)
    national, sent = telling.get(Portal.NATIONAL), telling.get(Portal.SENT)
    if national is not None and (national.cancelled or national.known & NEEDED == NEEDED):
        return Source.NATIONAL, national
    if sent is not None:
        if Portal.NATIONAL in there or presence is True:
            return Source.SENT_CONFIRMED, sent
        return (Source.ABSENT, None) if presence is False else (Source.SENT_UNCONFIRMED, sent)
    return (Source.NATIONAL, national) if national is not None else (Source.NO_COPY, None)


def _tells(copy: Copy) -> bool:
    """Not of a copy of which only steps have come (no version)."""
    return copy.version is not None and (copy.cancelled or copy.known & LEAST == LEAST)


def state_of(copy: Copy) -> int | None:
    """The state that is true now: the newest step's where it is newer than the head, else the head's."""
    if (
        copy.step_status
        and copy.step_at is not None
        and (copy.version is None or copy.step_at > copy.version)
    ):
        return copy.step_status
    return copy.status


def asks_for_steps(copy: Copy) -> bool:
    """Whether end_of looks at the times of steps: an end state without the time of a result."""
    return copy.finished_at is None and state_of(copy) in _ENDS


class End(NamedTuple):
    """When a dossier ended. at None: in an end state, but nobody says since when; `known_at` is the latest
    moment by which it was so. done: by state 9 or 10."""

    at: datetime | None
    known_at: datetime
    done: DossierStatus


def end_of(copy: Copy) -> End | None:
    """The end by the priority of 2.1: 9 (finished_at, else the step) > 10 (returned_at, else the step) > 8,
    3, 7 (the step, else rejected_at). None while the state is not an end state, whatever times are filled
    in.

    Of several steps of one state the latest counts. [I] A dossier in an end state for which no time is told
    counts as ended at the copy's version (its newest event): the rule has no word for it.
    """
    state, steps = state_of(copy), copy.step_times
    if state not in _ENDS:
        return None
    finished = copy.finished_at or steps.get(DossierStatus.DONE)
    if finished is not None:
        return End(finished, finished, DossierStatus.DONE)
    returned = copy.returned_at or steps.get(DossierStatus.RETURNED)
    if returned is not None:
        return End(returned, returned, DossierStatus.RETURNED)
    if state in _CLOSED:
        closed = steps.get(state) or copy.rejected_at
        if closed is not None:
            return End(closed, closed, DossierStatus(state))
    times = [at for at in (copy.version, copy.step_at, copy.received_at) if at is not None]
    return End(None, max(times), DossierStatus(state)) if times else None


DONE = frozenset({DossierStatus.DONE, DossierStatus.RETURNED})
_CLOSED = frozenset({DossierStatus.STOPPED, DossierStatus.NOT_RECEIVED, DossierStatus.WITHDRAWN})
_ENDS = frozenset(int(state) for state in DONE | _CLOSED)
