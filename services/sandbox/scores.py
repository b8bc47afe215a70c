"""How the played portal scores (reporting-api.md §5), by code of its own: what a component is worth, from which share
on it is full, and what an empty denominator gives."""

from __future__ import annotations

from decimal import ROUND_HALF_UP, Decimal
from typing import NamedTuple

_CENT = Decimal("0.01")


class Component(NamedTuple):
    """`target`: the share that gives the maximum. `empty`: ratio and score where nothing is to be measured."""

    max: int
    target: str = "1"
    empty: tuple[int | None, int | None] = (0, 0)


COMPONENTS = {
    "PUBLISH_ON_TIME": Component(6, empty=(None, None)),
    "PUBLIC_UPDATE_ON_TIME": Component(4, empty=(None, None)),
    "PUBLIC_CONTENT_FULL": Component(2, empty=(None, None)),
    "DOSSIER_SYNC": Component(6, empty=(None, None)),
    "PROGRESS": Component(20),
    "PROVIDE_ONLINE": Component(2, "0.8"),
    "ONLINE_SERVICE_USED": Component(4),
    "ONLINE_SUBMISSION": Component(6, "0.5"),
    "PAYMENT_DOSSIER": Component(6),
    "PAYMENT_TRANSACTION": Component(2, "0.8"),
    "PAYMENT_INTEGRATED": Component(2, "0.8"),
    "ORIGINAL_RESULT_AVAILABLE": Component(6, empty=(None, None)),
    "SO_HOA_GIAY_TO_GIAI_QUYET": Component(4, empty=(None, None)),
    "REUSED_DIGITIZED_DATA": Component(2, "0.8", (None, None)),
    "SYNCED_WITH_DVCQG_PERSONAL_STORAGE": Component(4, empty=(None, None)),
    "CITIZEN_DATA_CONNECTED_DOSSIER": Component(2, empty=(None, None)),
    "CITIZEN_DATA_CONNECTED_FORMALITY": Component(2, empty=(None, None)),
    "DOSSIER_RECEIVING_SATISFACTION": Component(6, "0.9"),
    "PETITION_PROCESSING_ON_TIME": Component(6, empty=(0, 6)),
    "PETITION_HANDLING_SATISFACTION": Component(6, empty=(0, 6)),
}


def rounded(value: Decimal) -> float:
    return float(value.quantize(_CENT, ROUND_HALF_UP))


def ratio(numerator: int, denominator: int) -> float:
    """In percent; 0 where there is nothing."""
    return rounded(Decimal(100 * numerator) / denominator) if denominator else 0.0


def points(code: str, numerator: int, denominator: int) -> float | None:
    """Half-up to two decimals."""
    component = COMPONENTS[code]
    if denominator == 0:
        return component.empty[1]
    full = Decimal(component.max)
    return rounded(min(full, full * numerator / (denominator * Decimal(component.target))))


def total(*scores: float | None) -> float:
    """Rounded parts are summed; what has no score counts 0."""
    return rounded(sum((Decimal(str(each)) for each in scores if each is not None), Decimal(0)))


def metric(code: str, numerator: int, denominator: int, name: str = "") -> dict[str, object]:
    """A metric of the flat endpoints (§4.3)."""
    component = COMPONENTS[code]
    empty = denominator == 0
    return {
        "code": code,
        "name": name or code,
        "numerator": numerator,
        "denominator": denominator,
        "ratio": component.empty[0] if empty else ratio(numerator, denominator),
        "score": points(code, numerator, denominator),
        "maxScore": component.max,
    }
