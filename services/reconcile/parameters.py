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
    placeholders: name keys of texts that are nobody's name. province: the unit that a finding falls to
    where no unit is known."""

    missing_grace: timedelta
    difference_grace: timedelta
    tolerance: timedelta
    placeholders: frozenset[str]
    province: str = "H31"

    def is_no_name(self, text: str | None) -> bool:
        """Whether a text names no person: empty, without a letter, or a placeholder."""
        key = name_key(text or "")
        return not any(sign.isalpha() for sign in key) or key in self.placeholders


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
            for entry in _entries()["timing"]
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
        placeholders=frozenset(
            name_key(text)
            for entry in _entries()["placeholder"]
            if entry["since"] <= day
            for text in entry["texts"]
        ),
        province=province,
    )


def version_on(day: date) -> str:
    """Which parameters are in force, for answers: the newest `since` among them."""
    since = [entry["since"] for entry in (*_entries()["timing"], *_entries()["placeholder"])]
    return f"parameters.toml {max(each for each in since if each <= day).isoformat()}"
