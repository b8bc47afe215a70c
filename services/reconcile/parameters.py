"""The comparison's numbers and lists as data: parameters.toml, by day in force. Pure."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from datetime import date, timedelta
from functools import lru_cache
from importlib import resources
from typing import Any

from shared.errors import NotFound
from shared.identifiers import name_key


@dataclass(frozen=True, slots=True)
class Parameters:
    """missing_grace: after receipt, until a dossier must be on the other portal. difference_grace: after
    the newest event, while the receiving side's copy is older. tolerance: two moments within it are one.
    clock_tolerance: the same for clocks of two systems. name_cuts: lengths to which clients cut names.
    placeholders: name keys of texts that are nobody's name. pattern_dossiers, pattern_in_person: how many dossiers a
    pattern of a unit's month takes. province: the unit that a finding falls to
    where no unit is known."""

    missing_grace: timedelta
    difference_grace: timedelta
    tolerance: timedelta
    clock_tolerance: timedelta
    name_cuts: frozenset[int]
    placeholders: frozenset[str]
    pattern_dossiers: int
    pattern_in_person: int
    province: str = "H31"

    def is_no_name(self, text: str | None) -> bool:
        """Whether a text names no person: empty, without a letter, or a placeholder."""
        key = name_key(text or "")
        return not any(sign.isalpha() for sign in key) or key in self.placeholders

    def is_cut(self, whole: str | None, text: str | None) -> bool:
        """Whether a text is the beginning of another one, cut at a length that clients cut at (a space at the cut
        is lost)."""
        if whole is None or text is None or len(text) >= len(whole):
            return False
        at_a_cut = len(text) in self.name_cuts or len(text) + 1 in self.name_cuts
        return at_a_cut and name_key(whole).startswith(name_key(text))


@lru_cache(maxsize=1)
def _entries() -> dict[str, Any]:
    text = resources.files("services.reconcile").joinpath("parameters.toml").read_text(encoding="utf-8")
    return tomllib.loads(text)


@lru_cache(maxsize=64)
def parameters_on(day: date, province: str = "H31") -> Parameters:
    """The parameters in force on a day. NotFound where a number has no value yet on that day."""

    def number(name: str) -> int:
        values = [
            (entry["since"], entry["value"])
            for entry in (*_entries()["timing"], *_entries()["count"])
            if entry["name"] == name and entry["since"] <= day
        ]
        if not values:
            raise NotFound(
                f"Chưa có tham số {name} cho ngày {day:%d/%m/%Y}.",
                f"no value of {name} is in force on {day.isoformat()}",
            )
        return int(max(values)[1])

    return Parameters(
        missing_grace=timedelta(hours=number("missing_grace_hours")),
        difference_grace=timedelta(hours=number("difference_grace_hours")),
        tolerance=timedelta(seconds=number("tolerance_seconds")),
        clock_tolerance=timedelta(seconds=number("clock_tolerance_seconds")),
        name_cuts=frozenset(
            length for entry in _entries()["name_cut"] if entry["since"] <= day for length in entry["lengths"]
        ),
        placeholders=frozenset(
            name_key(text)
            for entry in _entries()["placeholder"]
            if entry["since"] <= day
            for text in entry["texts"]
        ),
        pattern_dossiers=number("pattern_dossiers"),
        pattern_in_person=number("pattern_in_person"),
        province=province,
    )


def version_on(day: date) -> str:
    """Which parameters are in force, for answers: the newest `since` among them."""
    since = [
        entry["since"]
        for name in ("timing", "count", "name_cut", "placeholder")
        for entry in _entries()[name]
    ]
    return f"parameters.toml {max(each for each in since if each <= day).isoformat()}"
