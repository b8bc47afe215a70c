"""The catalogue by decision beside the national database: differences and counts. Pure.

decisions.md §3 (what is compared, who acts). How decisions become the catalogue is in replay.py; its names
are given here too, so that a caller needs one module.
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, TypeAlias, TypeVar

from services.reconcile.replay import (
    Abolished,
    Catalogue,
    Change,
    Decision,
    DecisionRow,
    InForce,
    Place,
    Unplaced,
    replay,
)
from shared.identifiers import name_key
from shared.vocabulary import UnitLevel

__all__ = [
    "LEVEL_NAMES",
    "RULES",
    "Abolished",
    "Catalogue",
    "Cell",
    "Change",
    "Counts",
    "Decision",
    "DecisionRow",
    "InForce",
    "Mismatch",
    "MismatchKind",
    "NationalProcedure",
    "Pair",
    "Place",
    "Responsible",
    "Rule",
    "Side",
    "Unplaced",
    "compare",
    "counts",
    "replay",
]

_Group = TypeVar("_Group")


@dataclass(frozen=True, slots=True)
class NationalProcedure:
    """A procedure as the national database shows it; `code` is the national part.

    public: None where the record was not read or is unverified (decisions.md §3 rule 5). levels: empty where
    the record names none. evidence: what the finding should show of the capture (JSON values).
    """

    code: str
    name: str
    field: str
    levels: frozenset[UnitLevel]
    public: bool | None
    state: str | None = None
    unit_codes: tuple[str, ...] = ()
    evidence: Mapping[str, Any] = dataclasses.field(default_factory=dict)


MismatchKind: TypeAlias = Literal[
    "abolished_still_public", "missing_on_national", "extra_on_national", "level_differs"
]
Responsible: TypeAlias = Literal["centre", "department", "ministry"]


@dataclass(frozen=True, slots=True)
class Mismatch:
    """One difference; a code has one at most.

    levels: where it shows. decision, position: the row that it rests on (the newest one), None where no
    decision speaks of the code. responsible acts first, `then` after. evidence: JSON values.
    """

    kind: MismatchKind
    code: str
    name: str
    levels: tuple[UnitLevel, ...]
    decision: str | None
    position: str | None
    unit_code: str | None
    responsible: Responsible
    then: Responsible | None
    sentence_vi: str
    evidence: dict[str, Any]


class Pair(NamedTuple):
    """All that is known of one code."""

    code: str
    in_force: InForce | None
    abolished: Abolished | None
    national: NationalProcedure | None

    @property
    def public(self) -> bool | None:
        """False where a complete listing does not hold the code."""
        return self.national.public if self.national else False

    @property
    def decided(self) -> frozenset[UnitLevel]:
        return _ours(self.in_force.levels) if self.in_force else frozenset()

    @property
    def shown(self) -> frozenset[UnitLevel] | None:
        """The levels shown that a province decides on; None where the record names no level at all."""
        return _ours(self.national.levels) if self.national and self.national.levels else None


def _ours(levels: Iterable[UnitLevel]) -> frozenset[UnitLevel]:
    return frozenset(levels) - {UnitLevel.MINISTRY}  # the ministry's own level is none of the province's


def _abolished_still_public(pair: Pair) -> Mapping[UnitLevel, Place] | None:
    if pair.abolished is None or not pair.public:
        return None
    at = pair.abolished.levels
    return at if pair.shown is None else {level: at[level] for level in at if level in pair.shown} or None


def _missing_on_national(pair: Pair) -> Mapping[UnitLevel, Place] | None:
    return pair.in_force.levels if pair.in_force and pair.public is False else None


def _extra_on_national(pair: Pair) -> Mapping[UnitLevel, Place] | None:
    alone = pair.in_force is None and pair.public is True and pair.shown != frozenset()
    return {} if alone else None


def _level_differs(pair: Pair) -> Mapping[UnitLevel, Place] | None:
    if pair.in_force is None or not pair.public or pair.shown is None or pair.shown == pair.decided:
        return None
    every = {**pair.in_force.abolished, **pair.in_force.levels}
    apart = {level: at for level, at in every.items() if level in pair.shown ^ pair.decided}
    return apart or pair.in_force.levels


class Rule(NamedTuple):
    """A comparison rule. judge: the rows that the difference rests on; None where there is no difference.

    unknown: what the rule does where the national side does not tell.
    """

    kind: MismatchKind
    judge: Callable[[Pair], Mapping[UnitLevel, Place] | None]
    sentence: str
    unknown: str
    responsible: Responsible
    then: Responsible | None


RULES: tuple[Rule, ...] = (
    Rule(
        "abolished_still_public",
        _abolished_still_public,
        "Thủ tục {title} đã bị bãi bỏ theo {places} nhưng vẫn đang công khai trên CSDLQG về TTHC.",
        "record not read: no finding; levels not named: judged by the code alone",
        "department",
        "ministry",
    ),
    Rule(
        "missing_on_national",
        _missing_on_national,
        "Thủ tục {title} còn hiệu lực theo {places} nhưng {absence} trên CSDLQG về TTHC.",
        "record not read: no finding; a listing proves absence only if it is complete",
        "centre",
        "department",
    ),
    Rule(
        "extra_on_national",
        _extra_on_national,
        "Thủ tục {title} đang công khai trên CSDLQG về TTHC ({shown}) "
        "nhưng không có trong quyết định công bố nào đang có hiệu lực.",
        "record not read: no finding; levels not named: judged by the code alone",
        "department",
        "ministry",
    ),
    Rule(
        "level_differs",
        _level_differs,
        "Thủ tục {title} thực hiện ở {decided} theo quyết định ({places}) nhưng CSDLQG về TTHC ghi {shown}.",
        "record not read or levels not named: no finding",
        "department",
        "ministry",
    ),
)
"""In order: the first rule that applies to a code is its finding (decisions.md §3)."""


def compare(
    catalogue: Catalogue, national: Iterable[NationalProcedure], *, listing_complete: bool
) -> list[Mismatch]:
    """The differences between decisions and the national database, in order of code, one a code at most.

    national: the records of the province's procedures. Without a complete listing nothing is judged, and the
    empty answer means *not judged*: the caller leaves the findings of before as they are.
    """
    if not listing_complete:
        return []
    listed = _by_code(national)
    found: list[Mismatch] = []
    for code in sorted({*catalogue.in_force, *catalogue.abolished, *listed}):
        pair = Pair(code, catalogue.in_force.get(code), catalogue.abolished.get(code), listed.get(code))
        for rule in RULES:
            places = rule.judge(pair)
            if places is not None:
                found.append(_mismatch(rule, pair, places))
                break
    return found


def _by_code(national: Iterable[NationalProcedure]) -> dict[str, NationalProcedure]:
    """Unique codes; of several records of one code the public one counts, else the one that says more."""
    listed: dict[str, NationalProcedure] = {}
    for record in sorted(
        national, key=lambda each: (each.public is True, each.public is None, len(each.levels))
    ):
        listed[record.code] = record
    return listed


LEVEL_NAMES: dict[UnitLevel, str] = {
    UnitLevel.MINISTRY: "cấp bộ",
    UnitLevel.PROVINCE: "cấp tỉnh",
    UnitLevel.DEPARTMENT: "cấp sở",
    UnitLevel.DISTRICT: "cấp huyện",
    UnitLevel.COMMUNE: "cấp xã",
}


def _mismatch(rule: Rule, pair: Pair, places: Mapping[UnitLevel, Place]) -> Mismatch:
    decided = pair.in_force or pair.abolished
    source = decided or pair.national
    assert source is not None  # a pair without any side is never built
    newest = max(places.values(), key=lambda place: place.effective_on, default=None)
    levels = frozenset(places) or pair.shown or frozenset()
    if rule.kind == "level_differs":
        levels = (pair.shown or frozenset()) ^ pair.decided
    sentence = rule.sentence.format(
        title=f"{pair.code} “{source.name}”" if source.name else pair.code,
        places="; ".join(_told(level, place) for level, place in places.items()),
        absence="chưa được công khai" if pair.national else "không có",
        decided=_level_names(pair.decided),
        shown=_level_names(pair.shown),
    )
    record = pair.national
    evidence: dict[str, Any] = {
        "decisions": [
            {
                "level": level.value,
                "decision": place.decision,
                "position": place.position,
                "change": place.change.value,
                "effective_on": place.effective_on.isoformat(),
            }
            for level, place in places.items()
        ],
        "decided_levels": [level.value for level in UnitLevel if level in pair.decided],
        "national": None
        if record is None
        else {
            **record.evidence,
            "public": record.public,
            "state": record.state,
            "levels": [level.value for level in UnitLevel if level in record.levels],
        },
    }
    return Mismatch(
        kind=rule.kind,
        code=pair.code,
        name=source.name,
        levels=tuple(level for level in UnitLevel if level in levels),
        decision=newest.decision if newest else None,
        position=newest.position if newest else None,
        unit_code=decided.unit_code if decided else next(iter(record.unit_codes), None) if record else None,
        responsible=rule.responsible,
        then=rule.then,
        sentence_vi=sentence,
        evidence=evidence,
    )


def _told(level: UnitLevel, place: Place) -> str:
    row = f"dòng {place.position}" if place.position else "dòng không ghi số"
    return f"Quyết định {place.decision}, {row} ({LEVEL_NAMES[level]})"


def _level_names(levels: frozenset[UnitLevel] | None) -> str:
    if levels is None:
        return "không ghi cấp thực hiện"
    return ", ".join(LEVEL_NAMES[level] for level in UnitLevel if level in levels) or "cấp bộ"


# --- counts -------------------------------------------------------------------------------------------------


class Cell(NamedTuple):
    """Unique codes at a level in a field. level None: the national record names none."""

    level: UnitLevel | None
    field: str
    decided: int
    national: int


class Side(NamedTuple):
    """One side's size. codes: unique; rows: one per code and level."""

    codes: int
    rows: int


@dataclass(frozen=True, slots=True)
class Counts:
    """Both sides, in force and public only. A code at two levels is in two cells and once in `codes`."""

    decided: Side
    national: Side
    by_level: Mapping[UnitLevel | None, tuple[int, int]]
    by_field: Mapping[str, tuple[int, int]]
    cells: tuple[Cell, ...]


def counts(catalogue: Catalogue, national: Iterable[NationalProcedure]) -> Counts:
    """Unique codes by decision and on the national database (public ones), by level and field.

    Fields whose names are one in spelling (identifiers.name_key) are one; the decision's spelling is shown.
    Pairs are (by decision, national). The ministry's own level is left out, as in compare.
    """
    spelling: dict[str, str] = {}
    ours: set[tuple[str, UnitLevel | None, str]] = set()
    theirs: set[tuple[str, UnitLevel | None, str]] = set()
    for entry in catalogue.in_force.values():
        key = name_key(entry.field)
        spelling.setdefault(key, entry.field)
        ours |= {(entry.code, level, key) for level in _ours(entry.levels)}
    for record in _by_code(national).values():
        key = name_key(record.field)
        shown: frozenset[UnitLevel | None] = (
            frozenset(_ours(record.levels)) if record.levels else frozenset({None})
        )
        if record.public and shown:
            spelling.setdefault(key, record.field)
            theirs |= {(record.code, level, key) for level in shown}
    cells = _tally({(code, (level, key)) for code, level, key in ours}, {(c, (le, k)) for c, le, k in theirs})
    order = {level: place for place, level in enumerate((*UnitLevel, None))}
    by_level = _tally(
        {(code, level) for code, level, _ in ours}, {(code, level) for code, level, _ in theirs}
    )
    by_field = _tally({(code, key) for code, _, key in ours}, {(code, key) for code, _, key in theirs})
    return Counts(
        decided=Side(len({code for code, _, _ in ours}), len(ours)),
        national=Side(len({code for code, _, _ in theirs}), len(theirs)),
        by_level={level: by_level[level] for level in sorted(by_level, key=order.__getitem__)},
        by_field={spelling[key]: by_field[key] for key in sorted(by_field)},
        cells=tuple(
            Cell(level, spelling[key], *cells[level, key])
            for level, key in sorted(cells, key=lambda cell: (order[cell[0]], cell[1]))
        ),
    )


def _tally(ours: set[tuple[str, _Group]], theirs: set[tuple[str, _Group]]) -> dict[_Group, tuple[int, int]]:
    """Per group, how many codes each side has."""
    one, other = Counter(group for _, group in ours), Counter(group for _, group in theirs)
    return {group: (one[group], other[group]) for group in {**one, **other}}
