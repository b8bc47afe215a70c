"""The shapes of the answers about captures: what the national portal showed, when, and what changed between."""

from __future__ import annotations

from datetime import date
from decimal import Decimal
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from services.indicators.schemas import Moment, UnitView

CaptureState = Literal["complete", "partial"]
NotProvided = Literal["numerator", "denominator", "ratio", "score", "max_score"]

_CAPTURE: dict[str, Any] = {
    "id": 12,
    "period": "2026-10",
    "scope": "H31",
    "state": "complete",
    "captured_at": "2026-11-02T05:01:40+07:00",
    "report_on": "2026-11-01",
    "missing": [],
    "parser": "reporting-1",
    "rule_set": "portal-2026-09",
    "checks_failed": ["inventory"],
    "scores_checked": 1640,
    "scores_differing": 0,
}
_FIGURE: dict[str, Any] = {
    "component": "2.1",
    "code": "PROGRESS_ON_TIME",
    "name": "Hồ sơ xử lý trước hạn, đúng hạn",
    "numerator": 420877,
    "denominator": 482812,
    "ratio": "87.17",
    "score": "17.43",
    "max_score": "20",
    "not_provided": [],
    "data_quality": None,
    "shown": "420.877/482.812",
}
_UNIT: dict[str, Any] = {"code": "H31", "name": "UBND tỉnh Hưng Yên"}


class CaptureView(BaseModel):
    """One period as the national portal showed it within one window. `report_on`: the day of which the figures are, if
    the portal renews them at night; `missing`: endpoints that did not answer or were not understood. `checks_failed`:
    what is not consistent; `scores_differing`: of `scores_checked` scores, those that the rule set does not give for
    their own counts (null: not computed yet)."""

    model_config = ConfigDict(json_schema_extra={"example": _CAPTURE})
    id: int
    period: str
    scope: str
    state: CaptureState
    captured_at: Moment
    report_on: date
    missing: list[str]
    parser: str
    rule_set: str | None
    checks_failed: list[str]
    scores_checked: int | None
    scores_differing: int | None


class CaptureList(BaseModel):
    items: list[CaptureView]
    next: str | None


class FigureView(BaseModel):
    """A component as published. A field in `not_provided` was not published at all; else null is the portal's own null.
    `component`: our id, null for a code that no rule set knows. `data_quality`: the portal's own word. `shown`: what to
    show: "–", "không phát sinh" …"""

    model_config = ConfigDict(json_schema_extra={"example": _FIGURE})
    component: str | None
    code: str
    name: str | None
    numerator: int | None
    denominator: int | None
    ratio: Decimal | None
    score: Decimal | None
    max_score: Decimal | None
    not_provided: list[NotProvided]
    data_quality: str | None
    shown: str


class GroupFigureView(BaseModel):
    """One group of a unit. `present` false: the group does not have this unit, which is not 0. `counts`: further ones,
    by the portal's names; one that is not there was not published."""

    group: str
    name: str
    present: bool
    score: Decimal | None
    max_score: Decimal | None
    ratio: Decimal | None
    counts: dict[str, Any]
    components: list[FigureView]


class UnitTotalView(BaseModel):
    """A unit in a line. `unit_code` null: no unit of ours is known by this code or name. `total` is the portal's;
    `missing`: endpoints without this unit, and then there is no total to trust."""

    unit_code: str | None
    department_id: str
    department_code: str | None
    name: str
    kind: str
    total: Decimal | None
    groups: dict[str, Decimal | None]
    missing: list[str]


class CheckView(BaseModel):
    """`holds` null: nothing to check it on. `examples`: the first failures of the units that this key sees."""

    code: str
    holds: bool | None
    checked: int
    failed: int
    examples: list[dict[str, Any]]


class DifferenceView(BaseModel):
    """A published score that the rule set does not give for its own counts."""

    unit_code: str | None
    name: str
    group: str
    code: str
    numerator: int | None
    denominator: int | None
    published: Decimal | None
    recomputed: Decimal | None


class BodyView(BaseModel):
    """An answer as it came; it is kept. `error`: why it is not one."""

    endpoint: str
    asked_at: Moment
    status: int | None
    sha256: str | None
    size: int | None
    source: str | None
    error: str | None


class CaptureDetailView(CaptureView):
    """`groups`: of the unit asked for; `units`: it and what is below it."""

    model_config = ConfigDict(
        json_schema_extra={
            "example": _CAPTURE
            | {
                "unit": _UNIT,
                "total": "59.63",
                "groups": [
                    {
                        "group": "progress",
                        "name": "Tiến độ giải quyết",
                        "present": True,
                        "score": "17.43",
                        "max_score": "20",
                        "ratio": "87.17",
                        "counts": {"totalReceived": 482812, "totalOnTime": 420877},
                        "components": [_FIGURE],
                    }
                ],
                "units": [
                    {
                        "unit_code": "H31.135",
                        "department_id": "019d2be3-6a80-7000-8000-000000000001",
                        "department_code": "H31.135",
                        "name": "UBND phường Phố Hiến",
                        "kind": "commune",
                        "total": "60.01",
                        "groups": {"progress": "18.08"},
                        "missing": [],
                    }
                ],
                "checks": [
                    {"code": "inventory", "holds": False, "checked": 116, "failed": 1, "examples": []},
                ],
                "differences": [],
                "bodies": [
                    {
                        "endpoint": "progress",
                        "asked_at": "2026-11-02T05:01:20+07:00",
                        "status": 201,
                        "sha256": "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
                        "size": 48211,
                        "source": None,
                        "error": None,
                    }
                ],
                "politeness": {"calls": 8, "repeats": 0, "pause_seconds": 1.5, "seconds": 21.4},
            }
        }
    )
    unit: UnitView
    total: Decimal | None
    groups: list[GroupFigureView]
    units: list[UnitTotalView]
    checks: list[CheckView]
    differences: list[DifferenceView]
    bodies: list[BodyView]
    politeness: dict[str, Any]


class ValuesView(BaseModel):
    numerator: int | None
    denominator: int | None
    score: Decimal | None


class MovedView(BaseModel):
    """A figure that is not the same in both. null: the capture does not have it."""

    unit_code: str | None
    name: str
    group: str
    code: str
    component_name: str | None
    before: ValuesView | None
    after: ValuesView | None
    score_change: Decimal | None


class CaptureComparisonView(BaseModel):
    """What changed from `a` to `b`; the largest changes of score first."""

    model_config = ConfigDict(
        json_schema_extra={
            "example": {
                "a": _CAPTURE,
                "b": _CAPTURE
                | {"id": 19, "captured_at": "2026-11-03T05:02:10+07:00", "report_on": "2026-11-02"},
                "unit": _UNIT,
                "same_period": True,
                "changed": 1,
                "items": [
                    {
                        "unit_code": "H31.135",
                        "name": "UBND phường Phố Hiến",
                        "group": "progress",
                        "code": "PROGRESS_ON_TIME",
                        "component_name": "Hồ sơ xử lý trước hạn, đúng hạn",
                        "before": {"numerator": 4700, "denominator": 5200, "score": "18.08"},
                        "after": {"numerator": 4712, "denominator": 5200, "score": "18.12"},
                        "score_change": "0.04",
                    }
                ],
            }
        }
    )
    a: CaptureView
    b: CaptureView
    unit: UnitView
    same_period: bool
    changed: int = Field(description="How many in all; `items` has the first of them")
    items: list[MovedView]


class OursView(BaseModel):
    """`missing`: why there is none of ours."""

    numerator: int | None
    denominator: int | None
    points: Decimal | None
    missing: str | None


class ExplanationView(BaseModel):
    """Open findings of dossiers behind our figure that can move it: how many, and the first codes."""

    kind: str
    findings: int
    codes: list[str]
    list_at: str = Field(description="Where the whole list is")


_MINUS = "Số Cổng công bố trừ số ở đây (published − ours)"


class ComparedView(BaseModel):
    """One component: published beside ours. Each `…_difference`: published − ours, null where one of them is missing:
    above zero, the portal publishes more than is counted here."""

    component: str
    name: str
    published: FigureView | None
    ours: OursView
    numerator_difference: int | None = Field(description=_MINUS)
    denominator_difference: int | None = Field(description=_MINUS)
    points_difference: Decimal | None = Field(description=_MINUS)
    explained_by: list[ExplanationView]


class ComparedGroupView(BaseModel):
    group: str
    name: str
    max: Decimal
    published: Decimal | None
    ours: Decimal | None
    difference: Decimal | None = Field(description=_MINUS)
    components: list[ComparedView]


class ComparisonView(BaseModel):
    """What the nation publishes beside what we count, for the same unit and period. `capture` null: none yet. The two
    are of different moments: `captured_at` and `as_of`."""

    model_config = ConfigDict(
        json_schema_extra={
            "example": {
                "unit": _UNIT,
                "period": "2026-10",
                "rule_set": "portal-2026-09",
                "capture": _CAPTURE,
                "why": None,
                "published_total": "59.63",
                "groups": [
                    {
                        "group": "progress",
                        "name": "Tiến độ giải quyết",
                        "max": "20",
                        "published": "17.43",
                        "ours": "17.51",
                        "difference": "-0.08",
                        "components": [
                            {
                                "component": "2.1",
                                "name": "Hồ sơ xử lý trước hạn, đúng hạn",
                                "published": _FIGURE,
                                "ours": {
                                    "numerator": 422800,
                                    "denominator": 483012,
                                    "points": "17.51",
                                    "missing": None,
                                },
                                "numerator_difference": -1923,
                                "denominator_difference": -200,
                                "points_difference": "-0.08",
                                "explained_by": [
                                    {
                                        "kind": "missing_on_national",
                                        "findings": 200,
                                        "codes": ["H31.135-260803-0012"],
                                        "list_at": "/v1/findings?subject=dossier&kind=missing_on_national&unit=H31",
                                    }
                                ],
                            }
                        ],
                    }
                ],
                "as_of": "2026-11-02T08:59:58+07:00",
                "missing": [],
            }
        }
    )
    unit: UnitView
    period: str
    rule_set: str
    capture: CaptureView | None
    why: str | None = Field(description="Where there is no capture: why, and how to get one")
    published_total: Decimal | None
    groups: list[ComparedGroupView]
    as_of: Moment | None
    missing: list[str] = Field(description="What may still be missing on our side")
