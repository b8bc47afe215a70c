"""How often each service was called: what /_sandbox/stats tells."""

from __future__ import annotations

from collections import Counter


class Counts:
    def __init__(self) -> None:
        self.calls: dict[str, Counter[str]] = {
            "national": Counter(),
            "provincial": Counter(),
            "reporting": Counter(),
        }

    def add(self, portal: str, service: str) -> None:
        self.calls[portal][service] += 1
