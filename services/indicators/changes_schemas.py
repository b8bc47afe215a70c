"""The shapes of what changed since a moment."""

from __future__ import annotations

from decimal import Decimal

from pydantic import BaseModel, Field

from services.indicators.boards_schemas import PERIOD, UNIT, example_of
from services.indicators.schemas import Moment, PeriodView, UnitView
from shared.vocabulary import Basis, IndicatorGroup


class CountedView(BaseModel):
    """Null counts: the portal gives the points to everyone. Null points: no score."""

    numerator: int | None
    denominator: int | None
    points: Decimal | None


class ComponentChangeView(BaseModel):
    """`before` null: the component was not counted then. `difference`: of the points, null where either has none."""

    id: str = Field(examples=["2.1"])
    name: str
    group: IndicatorGroup
    before: CountedView | None
    now: CountedView
    difference: Decimal | None


class TurnedView(BaseModel):
    """`became`: what the dossier is now, and was not at `since`."""

    code: str
    unit_code: str
    unit_name: str | None
    procedure_code: str | None
    procedure_name: str | None
    became: str = Field(description="overdue, or resolved", examples=["overdue"])
    at: Moment = Field(description="When it was found")
    deadline_at: Moment | None
    why: str


class ChangesView(BaseModel):
    """`compared_with`: the moment whose figures stand under `before`: the last ones kept up to `since` (kept at
    each day's first moment, on the counted basis), or the first ones kept of the period; null: none are kept yet.
    `components`: those that changed."""

    model_config = example_of(
        unit=UNIT,
        basis="counted",
        period=PERIOD,
        since="2026-08-24T00:00:00+07:00",
        compared_with="2026-08-24T00:00:01+07:00",
        why=None,
        rule_set="portal-2026-09",
        points_won="0.04",
        points_lost="-0.21",
        components=[
            {
                "id": "2.1",
                "name": "Hồ sơ xử lý trước hạn, đúng hạn",
                "group": "progress",
                "before": {"numerator": 420, "denominator": 480, "points": "17.50"},
                "now": {"numerator": 421, "denominator": 487, "points": "17.29"},
                "difference": "-0.21",
            }
        ],
        became_overdue=6,
        resolved=1,
        items=[
            {
                "code": "H31.135-260803-0012",
                "unit_code": "H31.135",
                "unit_name": "UBND phường Phố Hiến",
                "procedure_code": "1.001612",
                "procedure_name": "Đăng ký thành lập hộ kinh doanh",
                "became": "overdue",
                "at": "2026-08-24T17:00:02+07:00",
                "deadline_at": "2026-08-24T17:00:00+07:00",
                "why": "Tính là quá hạn: chưa kết thúc nên lấy cuối kỳ (kỳ đang chạy: thời điểm hiện tại), muộn hơn"
                " hạn 17:00 ngày 24/08/2026.",
            }
        ],
        next=None,
        as_of="2026-08-25T07:12:40+07:00",
        pending_changes=0,
    )

    unit: UnitView
    basis: Basis
    period: PeriodView = Field(description="What the figures are of; the dossiers are of any period")
    since: Moment
    compared_with: Moment | None
    why: str | None = Field(description="Where there is nothing to compare with: why")
    rule_set: str
    points_won: Decimal | None = Field(
        description="Sum of the components that gained; null: nothing to compare with"
    )
    points_lost: Decimal | None = Field(description="Sum of those that lost, below zero")
    components: list[ComponentChangeView]
    became_overdue: int
    resolved: int
    items: list[TurnedView]
    next: str | None
    as_of: Moment | None
    pending_changes: int
