"""What goes wrong between the systems, at stated rates. No dossier has two defects: truth is unambiguous.

Each is a thing that real clients do (portals.md §1.9). `where`: integrator = what is sent differs from what
the province holds, and the nation shows what was sent; nation = what it shows differs from what was sent;
province = what it holds itself cannot be, and is told on as it is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from random import Random

from services.sandbox import papers
from services.sandbox.dossier import Copy, Defect, Dossier
from services.sandbox.facts import Procedure, Unit, offered, units
from services.sandbox.features import has_result
from services.sandbox.timeline import Kind
from services.sandbox.workdays import DAY, iso

# Shares of the received dossiers, unless it says otherwise.
STATUS_OVERWRITTEN = 0.30  # of the dossiers that come into 5, 6 or 8: sent as 9
END_AS_RECEIPT = 0.010  # of the finished dossiers
LOST_BEFORE_SEND = 0.008
LOST_AFTER_SEND = 0.007
NO_APPOINTMENT = 0.010
OFFICER_MISSING = 0.010
OFFICER_PLACEHOLDER = 0.005
APPOINTMENT_DIFFERS = 0.012
PROCEDURE_DIFFERS = 0.005
UNIT_DIFFERS = 0.005
CODE_REPLACED = 0.006
APPOINTMENT_INVENTED = 0.006  # none in the province, the time of the push + 1 day in what is sent
END_IS_PUSH_TIME = 0.008  # of the finished dossiers
IMPOSSIBLE_RECORD = 0.008  # of the finished dossiers
RESULT_IS_SUBMITTED = 0.010  # of the finished dossiers: the first submitted file sent as the result
NATIONAL_ONLY = 0.005  # of `size`, on top of it

INTEGRATOR, NATION, IN_PROVINCE = "integrator", "nation", "province"
_BOTH = (INTEGRATOR, NATION)
OVERWRITTEN = (Kind.ASK, Kind.PAY, Kind.STOPPED)

_CLASSES: tuple[tuple[str, float, tuple[str, ...], tuple[Kind, ...]], ...] = (
    # name, rate, where (in turn), the event that it hangs on
    ("status_overwritten", STATUS_OVERWRITTEN, (INTEGRATOR,), OVERWRITTEN),
    ("end_as_receipt", END_AS_RECEIPT, (INTEGRATOR,), (Kind.DONE,)),
    ("lost_before_send", LOST_BEFORE_SEND, (INTEGRATOR,), (Kind.RECEIVED,)),
    ("lost_after_send", LOST_AFTER_SEND, (NATION,), (Kind.RECEIVED,)),
    ("no_appointment", NO_APPOINTMENT, (INTEGRATOR,), (Kind.RECEIVED,)),
    ("officer_missing", OFFICER_MISSING, (INTEGRATOR,), (Kind.RECEIVED,)),
    ("officer_placeholder", OFFICER_PLACEHOLDER, (INTEGRATOR,), (Kind.RECEIVED,)),
    ("appointment_differs", APPOINTMENT_DIFFERS, _BOTH, (Kind.RECEIVED,)),
    ("procedure_differs", PROCEDURE_DIFFERS, _BOTH, (Kind.RECEIVED,)),
    ("unit_differs", UNIT_DIFFERS, _BOTH, (Kind.RECEIVED,)),
    ("code_replaced", CODE_REPLACED, (INTEGRATOR,), (Kind.RECEIVED,)),
    ("appointment_invented", APPOINTMENT_INVENTED, (INTEGRATOR,), (Kind.RECEIVED,)),
    ("end_is_push_time", END_IS_PUSH_TIME, (INTEGRATOR,), (Kind.DONE,)),
    ("impossible_record", IMPOSSIBLE_RECORD, (IN_PROVINCE, INTEGRATOR), (Kind.DONE,)),
    ("result_is_submitted", RESULT_IS_SUBMITTED, (INTEGRATOR,), (Kind.DONE,)),
)
KINDS = (*(name for name, *_ in _CLASSES), "national_only")


def assign(dossiers: Iterable[Dossier], anchor: int, seed: int) -> None:
    """Gives defects out: the stated share of the dossiers that can have it, two at least where they can be
    seen at the anchor (so that a small world has every class), the same share of those that come later."""
    received = [dossier for dossier in dossiers if dossier.received_at is not None]
    for name, rate, places, kinds in _CLASSES:
        rng = Random(f"{seed}:{name}")  # noqa: S311
        seen: list[Dossier] = []
        later: list[Dossier] = []
        for dossier in received:
            place = dossier.position(*kinds)
            if place is not None:
                (seen if dossier.times[place] < anchor - DAY else later).append(dossier)
        chosen: list[Dossier] = []
        for group, least in ((seen, 2), (later, 0)):
            free = [dossier for dossier in group if dossier.defect is None]
            if name in (
                "status_overwritten",
                "appointment_invented",
            ):  # what is not told meanwhile must not be a second difference
                free = [dossier for dossier in free if not _appointment_moves(dossier)]
            if (
                name == "result_is_submitted"
            ):  # sent where there is no file of the result, but one was submitted
                free = [d for d in free if d.papers.files and not d.papers.result and has_result(d.procedure)]
            if (
                name == "unit_differs"
            ):  # what one adapter tells falsely of all its unit's dossiers stays all of them
                free = [d for d in free if d.unit.code not in papers.TOLD_FALSELY]
            chosen += rng.sample(free, min(len(free), max(least, round(rate * len(group)))))
        for turn, dossier in enumerate(chosen):
            value = _value(name, dossier, rng, turn)
            dossier.defect = Defect(name, places[turn % len(places)], value)


def _appointment_moves(dossier: Dossier) -> bool:
    return len({event.due for event in dossier.events[1:]}) > 1


def _value(name: str, dossier: Dossier, rng: Random, turn: int) -> object:
    if name == "officer_missing":
        return ("officer", "title")[turn % 2]
    if name == "officer_placeholder":
        return ("Chuyên viên", "Cán bộ một cửa")[turn % 2]
    if name == "appointment_differs":
        return rng.randint(1, 5) * DAY
    if name == "procedure_differs":
        return rng.choice([p for p in offered(dossier.unit.code) if p is not dossier.procedure])
    if name == "unit_differs":
        return rng.choice(
            [
                u
                for u in units()
                if u.level == dossier.unit.level
                and u is not dossier.unit
                and u.code not in papers.TOLD_FALSELY
            ]
        )
    if name == "code_replaced":
        unit, day, _ = dossier.code.split("-")
        return f"{unit}-{day[-6:]}-{rng.randint(10_000, 99_999)}"
    if name == "impossible_record":
        return ("end_before_receipt", "no_end")[turn // 2 % 2]
    return None


def national_code(dossier: Dossier) -> str:
    """Under which code the nation knows a dossier."""
    return str(dossier.defect.value) if dossier.defect and dossier.kind == "code_replaced" else dossier.code


def as_held(dossier: Dossier, true: Copy) -> Copy:
    """What the province itself holds."""
    defect = dossier.defect
    if defect is None:
        return true
    if defect.kind == "appointment_invented":
        return replace(true, due_at=None, steps=tuple(step._replace(due_at=None) for step in true.steps))
    return _impossible(true, defect) if defect.where == IN_PROVINCE else true


def _impossible(copy: Copy, defect: Defect) -> Copy:
    if copy.finished_at is None or copy.received_at is None:
        return copy
    return replace(copy, finished_at=None if defect.value == "no_end" else copy.received_at - DAY)


def held_back(dossier: Dossier, count: int) -> int:
    """How many of the first `count` events the integrator tells. After a 9 that overwrote 5, 6 or 8 it says
    nothing until the dossier is really done."""
    if dossier.kind != "status_overwritten":
        return count
    place, done = dossier.position(*OVERWRITTEN), dossier.position(Kind.DONE)
    assert place is not None
    return count if count <= place or (done is not None and count > done) else place + 1


def as_sent(dossier: Dossier, count: int, true: Copy) -> Copy:
    """What the integrator makes of the state after `count` told events."""
    true = _as_adapted(dossier.unit, true)
    defect = dossier.defect
    if defect is None or defect.where != INTEGRATOR:
        return true
    if defect.kind == "status_overwritten" and count - 1 == dossier.position(*OVERWRITTEN):
        steps = (*true.steps[:-1], true.steps[-1]._replace(status=9))
        return replace(true, status=9, finished_at=dossier.times[count - 1], steps=steps)
    if defect.kind == "code_replaced":
        return replace(true, code=national_code(dossier))
    pushed_at = dossier.pushed_at or dossier.times[count - 1] + dossier.send_lag
    if defect.kind == "appointment_invented":
        return replace(true, due_at=pushed_at + DAY)
    if defect.kind == "end_is_push_time" and true.finished_at is not None:
        return replace(true, finished_at=pushed_at)
    if defect.kind == "impossible_record":
        return _impossible(true, defect)
    if defect.kind == "result_is_submitted":
        return replace(true, papers=true.papers._replace(result="submitted"))
    if defect.kind == "no_appointment":
        asked = tuple(each._replace(due_before=None, due_after=None) for each in true.supplements)
        steps = tuple(step._replace(due_at=None) for step in true.steps)
        return replace(true, due_at=None, supplements=asked, steps=steps)
    if defect.kind == "end_as_receipt" and true.finished_at is not None:
        return replace(true, finished_at=true.received_at)
    if defect.kind == "officer_missing":
        if defect.value == "officer":
            return replace(true, steps=tuple(step._replace(officer="") for step in true.steps))
        return replace(true, steps=tuple(step._replace(title="") for step in true.steps))
    if defect.kind == "officer_placeholder":
        return replace(true, steps=tuple(step._replace(officer=str(defect.value)) for step in true.steps))
    return _exchanged(true, defect)


def _as_adapted(unit: Unit, true: Copy) -> Copy:
    """What the adapter of the dossier's unit makes of every dossier."""
    if unit.code not in papers.TOLD_FALSELY:
        return true
    submitted_at = true.submitted_at
    if papers.TOLD_FALSELY[unit.code] == papers.CONSTANT:
        submitted_at = true.received_at or submitted_at
    return replace(true, papers=papers.told(unit, true.papers), submitted_at=submitted_at)


def as_shown(dossier: Dossier, sent: Copy) -> Copy:
    """What the nation makes of what was sent."""
    defect = dossier.defect
    return _exchanged(sent, defect) if defect is not None and defect.where == NATION else sent


def _exchanged(copy: Copy, defect: Defect) -> Copy:
    if defect.kind == "appointment_differs" and copy.due_at is not None:
        assert isinstance(defect.value, int)
        due = copy.due_at + defect.value
        moved = tuple(
            each if each.due_after is None else each._replace(due_after=each.due_after + defect.value)
            for each in copy.supplements
        )
        return replace(copy, due_at=due, supplements=moved)
    if isinstance(defect.value, Procedure):
        return replace(copy, procedure=defect.value)
    if isinstance(defect.value, Unit):
        return replace(copy, unit=defect.value)
    return copy


def manifest(dossier: Dossier, at: int) -> int | None:
    """Since when a dossier's defect shows in the copies, as of `at`; None while it does not."""
    defect, received = dossier.defect, dossier.received_at
    if defect is None or received is None:
        return None
    kind, sent, shown = defect.kind, dossier.send_lag, dossier.send_lag + dossier.show_lag
    since, until = received, None
    if kind == "status_overwritten":
        place, done = dossier.position(*OVERWRITTEN), dossier.position(Kind.DONE)
        assert place is not None
        since = dossier.times[place] + sent
        until = None if done is None else dossier.times[done] + sent
    elif kind in ("end_as_receipt", "end_is_push_time", "impossible_record", "result_is_submitted"):
        done = dossier.position(Kind.DONE)
        assert done is not None
        since = dossier.times[done] + (dossier.save_delay if defect.where == IN_PROVINCE else sent)
    elif kind == "national_only":
        since = received + shown
    elif kind not in ("lost_before_send", "lost_after_send"):
        since = received + (sent if defect.where == INTEGRATOR else shown)
    return since if since <= at and (until is None or at < until) else None


_FIELDS: dict[str, tuple[str, Callable[[Copy], object]]] = {
    "status_overwritten": ("status", lambda copy: copy.status),
    "end_as_receipt": ("finished_at", lambda copy: iso(copy.finished_at)),
    "end_is_push_time": ("finished_at", lambda copy: iso(copy.finished_at)),
    "impossible_record": ("finished_at", lambda copy: iso(copy.finished_at)),
    "result_is_submitted": ("result", lambda copy: copy.papers.result),
    "code_replaced": ("code", lambda copy: copy.code),
    "appointment_invented": ("due_at", lambda copy: iso(copy.due_at)),
    "no_appointment": ("due_at", lambda copy: iso(copy.due_at)),
    "appointment_differs": ("due_at", lambda copy: iso(copy.due_at)),
    "procedure_differs": ("procedure_code", lambda copy: copy.procedure.code),
    "unit_differs": ("unit_name", lambda copy: copy.unit.name),
    "officer_missing": ("officer", lambda copy: [copy.steps[-1].officer, copy.steps[-1].title]),
    "officer_placeholder": ("officer", lambda copy: [copy.steps[-1].officer, copy.steps[-1].title]),
}


def values(kind: str, copies: dict[str, Copy | None]) -> dict[str, object]:
    """The field that a defect is about, in each copy; for lost dossiers which copies there are."""
    if kind not in _FIELDS:
        return {portal: copy is not None for portal, copy in copies.items()}
    name, read = _FIELDS[kind]
    return {"field": name} | {portal: read(copy) for portal, copy in copies.items() if copy is not None}
