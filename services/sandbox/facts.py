"""The tables in data/: units and procedures, written down as facts.

`invented` units carry a code of ours (their real one is not known); `checked` 0 marks a procedure whose code
and name come from general knowledge and were not compared with a list; durations and fees of those are of the
usual size. `story` says what is injected into a procedure (decisions.py): empty means that the decisions and
the national database agree about it.
"""

from __future__ import annotations

import csv
from dataclasses import dataclass
from functools import cache
from hashlib import md5
from pathlib import Path

_DATA = Path(__file__).parent / "data"
PROVINCE = "H31"


@cache
def object_id(kind: str, key: str) -> str:
    """A stable id in the form of a Mongo id, as iGate has them."""
    return md5(f"{kind}:{key}".encode(), usedforsecurity=False).hexdigest()[:24]


@dataclass(frozen=True, slots=True)
class Unit:
    code: str
    name: str
    level: str  # CAPDONVI: 1 province, 2 department, 3 commune
    parent: str
    statistical_code: str
    invented: bool

    @property
    def id(self) -> str:
        return object_id("agency", self.code)


@dataclass(frozen=True, slots=True)
class Procedure:
    code: str
    name: str
    field_code: str
    field: str
    level: str  # province, commune or both
    department: str  # code of the department that handles the field
    duration: int
    duration_unit: str  # Giờ, Ngày, Ngày làm việc, Tháng
    fee: int  # đồng
    ministry_decision: str
    weight: int  # how often it is used, relative to its neighbours
    story: str

    @property
    def levels(self) -> tuple[str, ...]:
        return ("province", "commune") if self.level == "both" else (self.level,)


def _rows(name: str) -> list[dict[str, str]]:
    with (_DATA / name).open(encoding="utf-8", newline="") as lines:
        return list(csv.DictReader(lines, delimiter="\t", quoting=csv.QUOTE_NONE))


@cache
def units() -> tuple[Unit, ...]:
    """The province first, then departments and communes, in the order of the table."""
    return tuple(
        Unit(
            row["code"],
            row["name"],
            row["level"],
            row["parent"],
            row["statistical_code"],
            row["invented"] == "1",
        )
        for row in _rows("units.tsv")
    )


@cache
def unit_by_code() -> dict[str, Unit]:
    return {unit.code: unit for unit in units()}


@cache
def procedures() -> tuple[Procedure, ...]:
    return tuple(
        Procedure(
            row["code"],
            row["name"],
            row["field_code"],
            row["field"],
            row["level"],
            row["department"],
            int(row["duration"]),
            row["duration_unit"],
            int(row["fee"]),
            row["ministry_decision"],
            int(row["weight"]),
            row["story"],
        )
        for row in _rows("procedures.tsv")
    )


@cache
def procedure_by_code() -> dict[str, Procedure]:
    return {procedure.code: procedure for procedure in procedures()}


@cache
def offered(unit_code: str) -> tuple[Procedure, ...]:
    """The procedures that dossiers of a unit are about: in force, and nothing injected into them."""
    unit = unit_by_code()[unit_code]
    plain = [procedure for procedure in procedures() if not procedure.story]
    if unit.level == "3":
        return tuple(procedure for procedure in plain if "commune" in procedure.levels)
    return tuple(p for p in plain if "province" in p.levels and p.department == unit_code)
