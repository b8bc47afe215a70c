"""A dossier and what a system holds of it after its first n events."""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass
from typing import NamedTuple

from services.sandbox.facts import Procedure, Unit
from services.sandbox.papers import NONE, Papers
from services.sandbox.timeline import CONTENT, STATUS, Event, Kind


class Defect(NamedTuple):
    kind: str
    where: str  # integrator: provincial → sent differs; nation: sent → national differs
    value: object  # what it does: seconds, a Procedure, a Unit, or which variant


@dataclass(slots=True)
class Dossier:
    index: int  # also stands for the applicant
    unit: Unit
    procedure: Procedure
    channel: int
    ministry_system: bool
    events: tuple[Event, ...]
    times: list[int]  # of the events
    save_delay: int  # seconds until the provincial system has saved an event
    send_lag: int  # seconds until the integrator tells the nation
    show_lag: int  # further seconds until the nation shows it
    code: str = ""
    local_code: str = ""
    defect: Defect | None = None
    papers: Papers = NONE
    pushed_at: int | None = None  # when the integrator told of it last; None: as its lag says

    @property
    def received_at(self) -> int | None:
        """When it was or will be received; None for one that is refused at the counter."""
        return self.times[1] if self.events[1].kind is Kind.RECEIVED else None

    @property
    def kind(self) -> str:
        return self.defect.kind if self.defect else ""

    def position(self, *kinds: Kind) -> int | None:
        """Place of the first event of these kinds."""
        return next((i for i, event in enumerate(self.events) if event.kind in kinds), None)

    def happened(self, at: int) -> int:
        return bisect_right(self.times, at)


class Step(NamedTuple):
    at: int
    status: int
    officer: str
    title: str
    office: str
    content: str
    started_at: int
    due_at: int | None


class Supplement(NamedTuple):
    officer: str
    asked_at: int
    supplied_at: int | None
    due_before: int | None
    due_after: int | None  # only where the appointment was moved


@dataclass(frozen=True, slots=True)
class Copy:
    """What one system holds of a dossier. Moments are epoch seconds."""

    code: str
    procedure: Procedure
    unit: Unit
    status: int
    submitted_at: int
    received_at: int | None
    due_at: int | None
    finished_at: int | None
    returned_at: int | None
    updated_at: int
    steps: tuple[Step, ...]
    supplements: tuple[Supplement, ...]
    papers: Papers


def copy_after(dossier: Dossier, count: int) -> Copy:
    """The true state after the first `count` events (at least one)."""
    events = dossier.events[:count]
    last = events[-1]
    received = finished = returned = None
    steps: list[Step] = []
    supplements: list[Supplement] = []
    before = dossier.times[0]
    for at, kind, officer, due in events:
        if kind is Kind.RECEIVED:
            received = at
        elif kind is Kind.DONE:
            finished = at
        elif kind is Kind.RETURNED:
            returned = at
        elif kind is Kind.ASK:
            supplements.append(Supplement(officer.name, at, None, due, None))
        elif kind is Kind.SUPPLIED:
            asked = supplements[-1]
            moved = due if due != asked.due_before else None
            supplements[-1] = asked._replace(supplied_at=at, due_after=moved)
        if kind is not Kind.SUBMITTED:
            step = Step(
                at, STATUS[kind], officer.name, officer.title, officer.office, CONTENT[kind], before, due
            )
            steps.append(step)
        before = at
    return Copy(
        dossier.code,
        dossier.procedure,
        dossier.unit,
        STATUS[last.kind],
        dossier.times[0],
        received,
        last.due,
        finished,
        returned,
        last.at + dossier.save_delay,
        tuple(steps),
        tuple(supplements),
        dossier.papers,
    )
