"""The shapes of the answers that set units, months or dossiers side by side."""

from __future__ import annotations

from decimal import Decimal
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from services.indicators.schemas import CoverageView, Moment, PeriodView, RuleSetView, UnitView
from shared.vocabulary import Basis, IndicatorGroup

Level = Literal["department", "commune"]
RankBy = Literal[
    "total",
    "transparency",
    "progress",
    "online-service",
    "online-payment",
    "digitisation",
    "satisfaction",
]

UNIT = {"code": "H31.135", "name": "UBND phường Phố Hiến"}
PERIOD = {
    "key": "2026-08",
    "start": "2026-08-01T00:00:00+07:00",
    "end": "2026-09-01T00:00:00+07:00",
    "running": False,
}
_RULE_SET = {
    "id": "portal-2026-09",
    "name": "Thực tế tính điểm của Cổng Dịch vụ công quốc gia, từ năm 2026",
    "since": "2026-01-01",
    "until": None,
    "provenance": {
        "source": "Cổng Dịch vụ công quốc gia, Bộ chỉ số phục vụ người dân, doanh nghiệp",
        "on": "2026-10-10",
        "mark": "practice",
        "note": None,
    },
}
_GROUP = {"group": "progress", "name": "Tiến độ giải quyết", "points": "17.43", "max": "20", "rating": "Tốt"}
_COVERAGE = {
    "complete": True,
    "missing": [],
    "missing_since": None,
    "gaps": [],
    "by_copy": {"national": 482812, "sent_confirmed": 0, "sent_unconfirmed": 0},
    "pending_changes": 0,
    "provincial_complete_through": "2026-09-01T05:00:00+07:00",
    "national_complete_through": "2026-09-01T05:10:00+07:00",
    "oldest_lookup_at": "2026-08-31T22:00:00+07:00",
    "lookups_waiting": False,
}


def example_of(**values: Any) -> ConfigDict:
    return ConfigDict(json_schema_extra={"example": values})


class GroupPointsView(BaseModel):
    """`points` null: a component of the group is not computed."""

    group: IndicatorGroup
    name: str
    points: Decimal | None = Field(examples=["17.43"])
    max: Decimal
    rating: str | None


class BoardRowView(BaseModel):
    """`active` false: no dossier in the period; what such a unit gets without doing anything is no merit and no fault,
    so it has no rank. `total` null: a group is missing."""

    rank: int | None
    unit: UnitView
    active: bool
    groups: list[GroupPointsView]
    total: Decimal | None
    rating: str | None = Field(description="Band of the total in percent of 100")
    dossiers: int
    on_time: int
    overdue: int
    undetermined: int


class BoardView(BaseModel):
    """`ranked`: how many units of the level have a rank, those that the key may not see among them. `rows`: by rank,
    then those without one, those without activity last."""

    level: Level
    name: str
    ranked: int
    inactive: int
    rows: list[BoardRowView]


class ScoreboardView(BaseModel):
    """Departments and communes apart. `ranked_by`: what the ranks stand on; `why` says it in words."""

    model_config = example_of(
        period=PERIOD,
        basis="counted",
        rule_set=_RULE_SET,
        ranked_by="progress",
        why="Chưa đủ sáu nhóm để có tổng điểm nên xếp hạng theo nhóm Tiến độ giải quyết.",
        missing=["transparency"],
        boards=[
            {
                "level": "commune",
                "name": "Xã, phường, đặc khu",
                "ranked": 104,
                "inactive": 0,
                "rows": [
                    {
                        "rank": 3,
                        "unit": UNIT,
                        "active": True,
                        "groups": [_GROUP],
                        "total": None,
                        "rating": None,
                        "dossiers": 4128,
                        "on_time": 3598,
                        "overdue": 530,
                        "undetermined": 0,
                    }
                ],
            }
        ],
        coverage=_COVERAGE,
        as_of="2026-09-01T05:12:00+07:00",
    )
    period: PeriodView
    basis: Basis
    rule_set: RuleSetView
    ranked_by: RankBy
    why: str
    missing: list[IndicatorGroup] = Field(
        description="Groups in which a component is not computed for a unit that has dossiers"
    )
    boards: list[BoardView]
    coverage: CoverageView
    as_of: Moment | None


class NearDueItemView(BaseModel):
    """`due_at`: the appointment by which the nation judges. `working_days_left`: after today, up to and with its day;
    `working_hours_left`: of working sessions. `on_time`: as it counts now."""

    code: str
    unit_code: str
    unit_name: str | None
    procedure_code: str | None
    procedure_name: str | None
    due_at: Moment
    by_maximum: bool
    working_days_left: int
    working_hours_left: Decimal
    on_time: bool
    copy_counted: str
    why: str


class NearDueView(BaseModel):
    """`until`: the last moment that `within` reaches."""

    model_config = example_of(
        items=[
            {
                "code": "H31.135-261030-0012",
                "unit_code": "H31.135",
                "unit_name": "UBND phường Phố Hiến",
                "procedure_code": "1.001612",
                "procedure_name": "Đăng ký thành lập hộ kinh doanh",
                "due_at": "2026-11-04T17:00:00+07:00",
                "by_maximum": False,
                "working_days_left": 2,
                "working_hours_left": "23.0",
                "on_time": True,
                "copy_counted": "national",
                "why": "Hẹn trả: 17:00 ngày 04/11/2026, còn 2 ngày làm việc (23,0 giờ làm việc); sau thời điểm đó"
                " hồ sơ bị tính quá hạn.",
            }
        ],
        until="2026-11-05T23:59:59.999999+07:00",
        next=None,
        pending_changes=0,
    )
    items: list[NearDueItemView]
    until: Moment
    next: str | None
    pending_changes: int = Field(description="Changes that wait to be judged: their dossiers may be missing")
