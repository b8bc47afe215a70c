"""The dated unit tree in memory: who stands for a unit on a day. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import date
from typing import NamedTuple

from shared.vocabulary import UnitLevel


class UnitSpan(NamedTuple):
    """A unit during a span of days; valid_to is the last one."""

    code: str
    valid_from: date
    valid_to: date | None
    name: str
    level: str
    successor: str | None


class UnitTree:
    """Some hundred units and their predecessors; built from rows, asked once per dossier and period."""

    def __init__(self, spans: Iterable[UnitSpan], province: str) -> None:
        self.province = province
        self._spans: dict[str, list[UnitSpan]] = {}
        for span in sorted(spans):
            self._spans.setdefault(span.code, []).append(span)
        self._standing: dict[tuple[str, date], str] = {}

    def __contains__(self, code: str) -> bool:
        return code == self.province or code in self._spans

    def name(self, code: str, day: date) -> str | None:
        """The name on a day; before the first one known the first, after the last one the last."""
        spans = self._spans.get(code)
        if not spans:
            return None
        return next((span for span in reversed(spans) if span.valid_from <= day), spans[0]).name

    def level(self, code: str, day: date) -> str | None:
        """The level on a day, as name(); None: not told."""
        if code == self.province:
            return UnitLevel.PROVINCE.value
        spans = self._spans.get(code)
        if not spans:
            return None
        return next((span for span in reversed(spans) if span.valid_from <= day), spans[0]).level

    def standing(self, level: str, day: date) -> list[str]:
        """The units of a level on a day, by code."""
        return sorted(
            code
            for code, spans in self._spans.items()
            if any(
                span.level == level
                and span.valid_from <= day
                and (span.valid_to is None or day <= span.valid_to)
                for span in spans
            )
        )

    def standing_for(self, code: str | None, day: date) -> str:
        """The unit that a dossier of `code` counts for in a period whose last day is `day`: the unit
        itself, or where it has ended by then its successor, and so on. No unit → the province. A unit that
        ended without a successor, or that the tree does not know, keeps its own code."""
        if code is None:
            return self.province
        key = (code, day)
        if key not in self._standing:
            self._standing[key] = self._follow(code, day)
        return self._standing[key]

    def _follow(self, code: str, day: date) -> str:
        seen = {code}
        while spans := self._spans.get(code):
            last = max(
                (span for span in spans if span.valid_from <= day), key=lambda s: s.valid_from, default=None
            )
            if last is None or last.valid_to is None or last.valid_to >= day:
                return code
            if last.successor is None or last.successor in seen:
                return code
            code = last.successor
            seen.add(code)
        return code
