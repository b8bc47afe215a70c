"""The decision register of the provincial chairman, and what the national list of procedures makes of it.

Follows from the column `story` of procedures.tsv:
  missing_absent    in force by decision, not in the national list        → missing_on_national
  missing_hidden    in force by decision, in the list but not public      → missing_on_national
  extra             public, in no decision                                → extra_on_national
  abolished_public  abolished by a decision, still public                 → abolished_still_public
  abolished         abolished by a decision, rightly not public any more
  level:<level>     public, but at another level than decided             → level_differs
All else agrees.
"""

from __future__ import annotations

from collections import Counter
from datetime import date
from functools import cache

from services.sandbox.facts import Procedure, procedures, unit_by_code

JUSTICE = "H31.903"
_FIRST = {  # department: the decision that publishes its procedures of the provincial level
    "H31.07": ("412/QĐ-UBND", "2024-03-05"),
    "H31.09": ("655/QĐ-UBND", "2024-04-16"),
    "H31.10": ("731/QĐ-UBND", "2024-05-08"),
    "H31.12": ("802/QĐ-UBND", "2024-06-03"),
    "H31.16": ("1187/QĐ-UBND", "2024-09-12"),
    "H31.36": ("288/QĐ-UBND", "2025-07-21"),
    "H31.901": ("305/QĐ-UBND", "2025-07-25"),
    "H31.902": ("349/QĐ-UBND", "2025-08-04"),
    "H31.903": ("1420/QĐ-UBND", "2024-10-30"),
    "H31.904": ("377/QĐ-UBND", "2025-08-12"),
    "H31.905": ("391/QĐ-UBND", "2025-08-18"),
    "H31.906": ("476/QĐ-UBND", "2025-09-09"),
}
_COMMUNE = (("271/QĐ-UBND", "2025-07-15", JUSTICE), ("402/QĐ-UBND", "2025-08-25", None))
_LATER = {  # amending and abolishing decisions of 2026
    "H31.09": ("148/QĐ-UBND", "2026-02-10"),
    "H31.16": ("712/QĐ-UBND", "2026-03-02"),
    "H31.36": ("1033/QĐ-UBND", "2026-05-14"),
    "H31.903": ("1290/QĐ-UBND", "2026-07-08"),
}
_LEVEL_NAMES = {"province": "cấp tỉnh", "commune": "cấp xã"}
_TITLES = {"new": "mới ban hành", "amended": "được sửa đổi, bổ sung", "abolished": "bị bãi bỏ"}
_PARTS = {"new": "A", "amended": "B", "abolished": "C"}


def _rows(change: str, chosen: list[Procedure], levels: tuple[str, ...]) -> list[dict[str, object]]:
    rows: list[dict[str, object]] = []
    for part, level in enumerate(levels, 1):
        here = [procedure for procedure in chosen if level in procedure.levels]
        for number, procedure in enumerate(here, 1):
            rows.append(
                {
                    "position": f"{_PARTS[change]}.{'I' * part}.{number}",
                    "change": change,
                    "code": procedure.code,
                    "name": procedure.name,
                    "level": level,
                    "field": procedure.field,
                }
            )
    return rows


def _decision(number: str, issued: str, unit: str | None, rows: list[dict[str, object]]) -> dict[str, object]:
    parents = Counter(
        procedure.ministry_decision
        for procedure in procedures()
        if procedure.ministry_decision and any(row["code"] == procedure.code for row in rows)
    )
    changes = [_TITLES[change] for change in _TITLES if any(row["change"] == change for row in rows)]
    whose = unit_by_code()[unit].name if unit else "các sở, ban, ngành, thực hiện tại cấp xã"
    return {
        "number": number,
        "issued_on": issued,
        "effective_on": issued,
        "title": f"Công bố danh mục thủ tục hành chính {', '.join(changes)} "
        f"thuộc phạm vi chức năng quản lý của {whose}",
        "unit_code": unit,
        "declared_count": len({str(row["code"]) for row in rows}),
        "parent_number": parents.most_common(1)[0][0] if parents else None,
        "rows": rows,
    }


def _amended(department: str) -> list[Procedure]:
    """Every fourth procedure of a department is amended later; the amended name is the one that stands."""
    mine = [p for p in procedures() if p.department == department and p.story in ("", "missing_hidden")]
    return mine[::4]


@cache
def register() -> tuple[dict[str, object], ...]:
    """All decisions, oldest first, as POST /v1/decisions takes them. Replayed, they give the catalogue."""
    decided = [procedure for procedure in procedures() if procedure.story != "extra"]
    decisions = []
    for department, (number, issued) in _FIRST.items():
        mine = [p for p in decided if p.department == department and "province" in p.levels]
        decisions.append(_decision(number, issued, department, _rows("new", mine, ("province", "commune"))))
    for number, issued, unit in _COMMUNE:
        mine = [
            p for p in decided if p.level == "commune" and (p.department == JUSTICE) == (unit is not None)
        ]
        decisions.append(_decision(number, issued, unit, _rows("new", mine, ("commune",))))
    for department, (number, issued) in _LATER.items():
        gone = [p for p in decided if p.department == department and p.story.startswith("abolished")]
        rows = _rows("amended", _amended(department), ("province", "commune"))
        decisions.append(
            _decision(number, issued, department, rows + _rows("abolished", gone, ("province", "commune")))
        )
    _use_older_names(decisions)
    return tuple(
        sorted(decisions, key=lambda decision: (str(decision["issued_on"]), str(decision["number"])))
    )


def _use_older_names(decisions: list[dict[str, object]]) -> None:
    """The first decision about a procedure that is amended later calls it by an older name."""
    amended = {procedure.code for department in _LATER for procedure in _amended(department)}
    for decision in decisions:
        rows = decision["rows"]
        assert isinstance(rows, list)
        for row in rows:
            if row["change"] == "new" and row["code"] in amended:
                name = str(row["name"])
                row["name"] = (
                    name.removeprefix("Thủ tục ") if name.startswith("Thủ tục ") else f"Thủ tục {name}"
                )


@cache
def _latest() -> dict[str, tuple[str, date]]:
    found: dict[str, tuple[str, date]] = {}
    for decision in register():
        rows = decision["rows"]
        assert isinstance(rows, list)
        for row in rows:
            found[row["code"]] = str(decision["number"]), date.fromisoformat(str(decision["issued_on"]))
    return found


def latest_decision(code: str) -> tuple[str, date] | None:
    """Number and day of the newest decision about a procedure."""
    return _latest().get(code)


def is_listed(procedure: Procedure) -> bool:
    return procedure.story != "missing_absent"


def is_public(procedure: Procedure) -> bool:
    return procedure.story not in ("missing_absent", "missing_hidden", "abolished")


def national_levels(procedure: Procedure) -> tuple[str, ...]:
    if procedure.story.startswith("level:"):
        return (procedure.story.removeprefix("level:"),)
    return procedure.levels


@cache
def injected() -> list[dict[str, object]]:
    """The differences between decisions and the national list: code, kind, latest decision, values."""
    latest: dict[str, tuple[str, str]] = {}
    for decision in register():
        rows = decision["rows"]
        assert isinstance(rows, list)
        for row in rows:
            latest[row["code"]] = (str(decision["number"]), row["position"])
    kinds = {
        "missing_absent": "missing_on_national",
        "missing_hidden": "missing_on_national",
        "extra": "extra_on_national",
        "abolished_public": "abolished_still_public",
    }
    found: list[dict[str, object]] = []
    for procedure in procedures():
        kind = "level_differs" if procedure.story.startswith("level:") else kinds.get(procedure.story)
        if kind:
            number, position = latest.get(procedure.code, (None, None))
            values = {"decision": list(procedure.levels), "national": list(national_levels(procedure))}
            found.append(
                {
                    "code": procedure.code,
                    "defect": kind,
                    "decision": number,
                    "position": position,
                    "listed": is_listed(procedure),
                    "public": is_public(procedure),
                    "values": values if kind == "level_differs" else {},
                }
            )
    return found
