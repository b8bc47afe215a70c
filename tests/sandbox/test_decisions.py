"""Replaying the register gives the catalogue; against the national list the injected differences remain."""

from __future__ import annotations

from collections import Counter, defaultdict

from services.sandbox.decisions import injected, is_listed, is_public, national_levels, register
from services.sandbox.facts import procedure_by_code, procedures, unit_by_code, units


def replayed() -> tuple[dict[str, set[str]], dict[str, str], set[str]]:
    """Levels and name of what is in force, and what was abolished."""
    levels: defaultdict[str, set[str]] = defaultdict(set)
    names: dict[str, str] = {}
    gone: set[str] = set()
    for decision in register():
        rows = decision["rows"]
        assert isinstance(rows, list)
        for row in rows:
            if row["change"] == "abolished":
                levels[row["code"]].discard(row["level"])
                gone.add(row["code"])
            else:
                assert (row["change"] == "new") == (row["level"] not in levels[row["code"]])
                levels[row["code"]].add(row["level"])
                names[row["code"]] = row["name"]
    return {code: at for code, at in levels.items() if at}, names, gone


def test_only_the_injected_differences_remain() -> None:
    in_force, names, gone = replayed()
    public = {p.code: set(national_levels(p)) for p in procedures() if is_listed(p) and is_public(p)}
    seen = {(code, "missing_on_national") for code in in_force.keys() - public.keys()}
    seen |= {(code, "extra_on_national") for code in public.keys() - in_force.keys() - gone}
    seen |= {(code, "abolished_still_public") for code in public.keys() & gone}
    seen |= {
        (code, "level_differs") for code in public.keys() & in_force.keys() if public[code] != in_force[code]
    }
    assert seen == {(row["code"], row["defect"]) for row in injected()}
    assert Counter(kind for _, kind in seen) == {
        "missing_on_national": 4,
        "extra_on_national": 3,
        "abolished_still_public": 3,
        "level_differs": 3,
    }
    assert all(names[code] == procedure_by_code()[code].name for code in in_force)


def test_the_register_keeps_its_form() -> None:
    decisions = register()
    assert 12 <= len(decisions) <= 20
    assert len({decision["number"] for decision in decisions}) == len(decisions)
    departments = {decision["unit_code"] for decision in decisions}
    assert departments >= {unit.code for unit in units() if unit.level == "2"}
    for decision in decisions:
        assert "2024" <= str(decision["issued_on"])[:4] <= "2026"
        rows = decision["rows"]
        assert isinstance(rows, list)
        assert decision["declared_count"] == len({row["code"] for row in rows})
        assert len({(row["code"], row["level"]) for row in rows}) == len(rows)
        assert len({row["position"] for row in rows}) == len(rows)
    assert {row["position"] for row in injected() if row["defect"] != "extra_on_national"}.isdisjoint({None})


def test_the_tables() -> None:
    assert Counter(unit.level for unit in units()) == {"1": 1, "2": 12, "3": 104}
    assert sum(unit.invented for unit in units()) == 6
    assert len({unit.name for unit in units()}) == len(units()) == len(unit_by_code())
    assert len(procedures()) >= 130
    assert len(procedure_by_code()) == len(procedures())
    assert {p.duration_unit for p in procedures()} == {"Giờ", "Ngày", "Ngày làm việc", "Tháng"}
    assert {p.department for p in procedures()} == {unit.code for unit in units() if unit.level == "2"}
    assert {"1.001193", "1.001612", "2.000815"} <= procedure_by_code().keys()
