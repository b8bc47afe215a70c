"""The shapes of a unit through time."""

from __future__ import annotations

from decimal import Decimal

from pydantic import BaseModel, Field

from services.indicators.boards_schemas import example_of
from services.indicators.schemas import LegalGroupView, Moment, PeriodView, UnitView
from shared.vocabulary import Basis, IndicatorGroup


class TrendComponentView(BaseModel):
    """`numerator` and `denominator` null: the portal gives the points to everyone."""

    id: str
    numerator: int | None
    denominator: int | None
    ratio: Decimal | None
    points: Decimal | None
    max: Decimal


class TrendGroupView(BaseModel):
    """`points` null: a component of the group is not computed."""

    group: IndicatorGroup
    points: Decimal | None
    max: Decimal
    rating: str | None
    components: list[TrendComponentView]


class LegalPointsView(LegalGroupView):
    """`points` null: a part of it has none."""

    points: Decimal | None


class TrendPeriodView(BaseModel):
    period: PeriodView
    rule_set: str = Field(
        description="The one in force on the period's last day", examples=["portal-2026-09"]
    )
    groups: list[TrendGroupView]
    legal_groups: list[LegalPointsView] = Field(description="The same points in the five groups of QĐ 766")
    total: Decimal | None
    rating: str | None
    dossiers: int
    on_time: int
    overdue: int
    undetermined: int


class TrendsView(BaseModel):
    """From the first period to the last. Where the rule set changes, so may the points without any change of the
    counts."""

    model_config = example_of(
        unit={"code": "H31.135", "name": "UBND phường Phố Hiến"},
        basis="counted",
        periods=[
            {
                "period": {
                    "key": "2026-08",
                    "start": "2026-08-01T00:00:00+07:00",
                    "end": "2026-09-01T00:00:00+07:00",
                    "running": False,
                },
                "rule_set": "portal-2026-09",
                "groups": [
                    {
                        "group": "progress",
                        "points": "17.43",
                        "max": "20",
                        "rating": "Tốt",
                        "components": [
                            {
                                "id": "2.1",
                                "numerator": 420877,
                                "denominator": 482812,
                                "ratio": "0.871720",
                                "points": "17.43",
                                "max": "20",
                            }
                        ],
                    }
                ],
                "legal_groups": [
                    {
                        "name": "Cung cấp dịch vụ trực tuyến",
                        "groups": ["online-service", "online-payment"],
                        "max": "22",
                        "points": "17.13",
                    }
                ],
                "total": None,
                "rating": None,
                "dossiers": 482812,
                "on_time": 420877,
                "overdue": 61935,
                "undetermined": 0,
            }
        ],
        as_of="2026-09-01T05:12:00+07:00",
    )
    unit: UnitView
    basis: Basis
    periods: list[TrendPeriodView]
    as_of: Moment | None
