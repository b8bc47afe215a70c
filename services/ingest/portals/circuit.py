"""A portal that answers with a firewall's page is left alone for a while: asking on makes such a block longer.

After BLOCKS block pages in a row nobody of this process asks that portal for a cooling time; then one call tries. Its
answer closes the circuit; another block page opens it again, for twice as long. What a run says of it: `Blocked`.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from datetime import UTC, datetime

from shared.calendar import TZ

BLOCKS = 3
LONGEST_COOLING = 3600.0
"""Seconds; a block that lasts is tried once an hour."""


@dataclass(slots=True)
class Circuit:
    """Of one portal, shared by all its connections. `pages`: block pages since the last proper answer, the first of
    them came at `since`."""

    pages: int = 0
    since: datetime | None = None
    _openings: int = 0
    _until: float | None = None
    _trial: bool = False

    def admits(self) -> bool:
        """Whether a call may go out. In an open circuit whose time is over: one, as the trial, until `ended`."""
        if self._until is None:
            return True
        if self._trial or time.monotonic() < self._until:
            return False
        self._trial = True
        return True

    @property
    def is_open(self) -> bool:
        return self._until is not None

    def answered(self) -> None:
        """The portal gave a proper answer."""
        self.pages, self.since, self._openings, self._until, self._trial = 0, None, 0, None, False

    def blocked(self, cooling: float, *, trial: bool) -> None:
        """A block page came; `cooling`: seconds of the first pause."""
        if self.since is None:
            self.since = datetime.now(UTC)
        self.pages += 1
        # Calls that were under way when it opened do not lengthen the pause.
        if trial or (self._until is None and self.pages >= BLOCKS):
            self._until = time.monotonic() + min(cooling * 2**self._openings, max(cooling, LONGEST_COOLING))
            self._openings += 1

    def ended(self) -> None:
        """The trial is over, with whatever result: the next call may be one."""
        self._trial = False

    def told(self) -> tuple[str, str]:
        """How often and since when, and for how long nobody asks, in both languages."""
        since = self.since.astimezone(TZ).strftime("%H:%M %d/%m/%Y") if self.since else "?"
        vi = f"trả lời bằng trang chặn (HTML) {self.pages} lần liên tiếp từ {since}"
        en = f"answered with a block page (HTML) {self.pages} times in a row since {since}"
        if self._until is None:
            return vi, en
        minutes = -(-int(max(0.0, self._until - time.monotonic())) // 60)
        return (
            f"{vi}; tạm ngừng gọi, thử lại sau khoảng {minutes} phút",
            f"{en}; not asked again for about {minutes} minutes",
        )


_CIRCUITS: dict[str, Circuit] = {}


def circuit_of(address: str) -> Circuit:
    """The circuit of the portal at this address in this process."""
    return _CIRCUITS.setdefault(address, Circuit())


def is_block_page(content_type: str, body: bytes) -> bool:
    """Whether a body is a page for people where JSON was asked for. Pure."""
    return "html" in content_type or body[:200].lstrip().lower().startswith((b"<!doctype html", b"<html"))
