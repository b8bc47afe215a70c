"""Ranks with ties (indicators.md §4.4). Pure. The portal publishes an order only: the ranks are ours."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal


def ranks(scores: Mapping[str, Decimal]) -> dict[str, int]:
    """Unit → rank, the highest score first: equal scores share a rank and the next ones are skipped (1, 2, 2, 4).
    Who has no score or no activity is not given in."""
    places: dict[Decimal, int] = {}
    for place, score in enumerate(sorted(scores.values(), reverse=True), start=1):
        places.setdefault(score, place)
    return {unit: places[score] for unit, score in scores.items()}
