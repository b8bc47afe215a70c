"""Decisions replayed into the catalogue of a day. Pure.

decisions.md §2. A procedure is keyed by the national part of its code; one code may stand at several levels:
one procedure, several rows.

Choices that the sources leave open:
- One number of one year is one decision; sent again, the text known last replaces the earlier one.
- Inside a decision abolitions go first: where it abolishes and publishes a code at one level, it is in force.
- `amended` puts a procedure in force also where we never saw it published (decisions older than our register)
  and where a decision before had abolished it: the latest decision in force wins.
- Decisions of one day take effect in the order of signing, then of their numbers; never of their arrival.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date, datetime
from enum import StrEnum
from typing import Literal, NamedTuple

from shared.errors import Invalid
from shared.identifiers import normalise_decision_number, procedure_code
from shared.vocabulary import UnitLevel


class Change(StrEnum):
    """What a row of a decision does to a procedure at a level."""

    NEW = "new"
    AMENDED = "amended"
    ABOLISHED = "abolished"


@dataclass(frozen=True, slots=True)
class DecisionRow:
    """A row of an annex. `position`: its place there ("A.I.1"); `code`: None where the annex has none yet."""

    position: str | None
    change: Change
    code: str | None
    name: str
    level: UnitLevel
    field: str


@dataclass(frozen=True, slots=True)
class Decision:
    """A decision as it was known at `known_at`. `unit_code`: the department in whose field it is."""

    number: str
    issued_on: date
    effective_on: date
    unit_code: str | None
    known_at: datetime
    rows: tuple[DecisionRow, ...]


class Place(NamedTuple):
    """Where a procedure's standing at a level comes from."""

    decision: str
    position: str | None
    effective_on: date
    change: Change


@dataclass(frozen=True, slots=True)
class InForce:
    """A procedure in force at one level or more, with its newest content.

    `levels`: where it is in force, by which row; `abolished`: the levels that a decision took away.
    """

    code: str
    name: str
    field: str
    unit_code: str | None
    levels: Mapping[UnitLevel, Place]
    abolished: Mapping[UnitLevel, Place]


@dataclass(frozen=True, slots=True)
class Abolished:
    """A procedure that no level is left of: where it stood, and the rows that abolished it."""

    code: str
    name: str
    field: str
    unit_code: str | None
    levels: Mapping[UnitLevel, Place]


class Unplaced(NamedTuple):
    """A row that cannot be replayed: a finding of its own, never a `missing_…` (portals.md §5)."""

    decision: str
    row: DecisionRow
    reason: Literal["no_code", "broken_code"]


@dataclass(frozen=True, slots=True)
class Catalogue:
    """What decisions say on a day. A code is in at most one of the two maps, which are in order of code."""

    on: date
    in_force: Mapping[str, InForce]
    abolished: Mapping[str, Abolished]
    unplaced: tuple[Unplaced, ...] = ()


def replay(decisions: Iterable[Decision], on: date, *, known_at: datetime | None = None) -> Catalogue:
    """The catalogue on a day, from all decisions in any order; with known_at, as it was believed then."""
    places: dict[str, dict[UnitLevel, Place]] = {}
    content: dict[str, tuple[str, str, str | None]] = {}
    unplaced: list[Unplaced] = []
    for number, decision in _in_order(decisions, on, known_at):
        for row in sorted(decision.rows, key=lambda row: row.change is not Change.ABOLISHED):
            code = _key(row.code)
            if code is None:
                unplaced.append(Unplaced(number, row, "broken_code" if row.code else "no_code"))
                continue
            place = Place(number, row.position, decision.effective_on, row.change)
            places.setdefault(code, {})[row.level] = place
            name, field_name, unit_code = content.get(code, ("", "", None))
            if row.change is not Change.ABOLISHED:  # an abolition names a procedure but does not rewrite it
                name, field_name = row.name or name, row.field or field_name
                unit_code = decision.unit_code or unit_code
            content[code] = (name or row.name, field_name or row.field, unit_code or decision.unit_code)
    in_force: dict[str, InForce] = {}
    abolished: dict[str, Abolished] = {}
    for code in sorted(places):
        levels = {level: places[code][level] for level in UnitLevel if level in places[code]}
        left = {level: at for level, at in levels.items() if at.change is not Change.ABOLISHED}
        out = {level: at for level, at in levels.items() if at.change is Change.ABOLISHED}
        if left:
            in_force[code] = InForce(code, *content[code], left, out)
        else:
            abolished[code] = Abolished(code, *content[code], out)
    return Catalogue(on, in_force, abolished, tuple(unplaced))


def _in_order(
    decisions: Iterable[Decision], on: date, known_at: datetime | None
) -> list[tuple[str, Decision]]:
    newest: dict[tuple[str, int], Decision] = {}
    for decision in decisions:
        if known_at is not None and decision.known_at > known_at:
            continue
        identity = (_number(decision.number), decision.issued_on.year)
        held = newest.get(identity)
        # The text itself breaks a tie of known_at, so that the order of arrival never does.
        if held is None or (held.known_at, repr(held)) < (decision.known_at, repr(decision)):
            newest[identity] = decision
    taken = [(number, each) for (number, _), each in newest.items() if each.effective_on <= on]
    return sorted(taken, key=lambda pair: (pair[1].effective_on, pair[1].issued_on, *_counted(pair[0])))


def _number(text: str) -> str:
    try:
        return normalise_decision_number(text)
    except Invalid:
        return text.strip()  # kept as it is; that it is unreadable is a finding of its own


def _counted(number: str) -> tuple[int, str]:
    digits = number.partition("/")[0]
    return (int(digits) if digits.isdecimal() else 0, number)


def _key(code: str | None) -> str | None:
    try:
        return procedure_code(code) if code else None
    except Invalid:
        return None
