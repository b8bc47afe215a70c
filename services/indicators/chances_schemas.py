"""The shapes of points to win."""

from __future__ import annotations

from decimal import Decimal

from pydantic import BaseModel, Field

from services.indicators.boards_schemas import example_of
from services.indicators.schemas import Moment, PeriodView, UnitView
from shared.vocabulary import Basis, IndicatorGroup


class AlongView(BaseModel):
    component: str
    points: Decimal


class OpportunityView(BaseModel):
    """`winnable`: what is not in the numerator and could be. `subjects`: the fewest of them that give all the points
    that the component still has to give, its target and rounding reckoned with. `points`: of that, `own` in this
    component and `along` in others that the same dossiers count in. `first`: dossiers to begin with.
    `only_if_data_wrong`: what lost these points has happened already (an appointment missed, a petition answered late,
    a complaint): work can no longer win them, only mending a record that is wrong; `caveat` says so."""

    component: str = Field(examples=["2.1"])
    group: IndicatorGroup
    name: str
    subject: str
    winnable: int
    subjects: int
    points: Decimal
    own: Decimal
    along: list[AlongView]
    points_per_subject: Decimal
    why: str
    only_if_data_wrong: bool
    caveat: str | None = Field(description="Chỉ khi số liệu ghi sai: vì sao; null: việc còn làm được")
    first: list[str]


class OpportunitiesView(BaseModel):
    """The most points per subject first. What if, not what may be done: a dossier that is late is on time only where
    its record is wrong (`only_if_data_wrong`). `note`: the period has ended. Several opportunities do not add up where
    they are won with the same dossiers."""

    model_config = example_of(
        unit={"code": "H31.135", "name": "UBND phường Phố Hiến"},
        period={
            "key": "2026-08",
            "start": "2026-08-01T00:00:00+07:00",
            "end": "2026-09-01T00:00:00+07:00",
            "running": False,
        },
        basis="counted",
        rule_set="portal-2026-09",
        items=[
            {
                "component": "4.1",
                "group": "digitisation",
                "name": "Hồ sơ cấp kết quả điện tử",
                "subject": "dossier",
                "winnable": 120,
                "subjects": 119,
                "points": "1.71",
                "own": "1.19",
                "along": [{"component": "4.2", "points": "0.52"}],
                "points_per_subject": "0.0144",
                "why": "Nếu thêm 119 hồ sơ đạt yêu cầu của 4.1 (Hồ sơ cấp kết quả điện tử) thì tăng 1,71 điểm, gồm"
                " 1,19 điểm ở 4.1 và 0,52 điểm ở 4.2; mỗi hồ sơ khoảng 0,0144 điểm.",
                "only_if_data_wrong": False,
                "caveat": None,
                "first": ["H31.135-260803-0012"],
            }
        ],
        note="Kỳ 2026-08 đã kết thúc: chỉ còn đổi được nhờ sửa số liệu ghi sai, bổ sung số liệu ghi thiếu.",
        as_of="2026-09-01T05:12:00+07:00",
    )
    unit: UnitView
    period: PeriodView
    basis: Basis
    rule_set: str
    items: list[OpportunityView]
    note: str | None = Field(description="Of a period that has ended; null: it is running")
    as_of: Moment | None
