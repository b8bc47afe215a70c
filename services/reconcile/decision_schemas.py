"""What POST /v1/decisions takes, and the shapes of the answers about decisions and the catalogue."""

from __future__ import annotations

import re
from datetime import date
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, StringConstraints

from services.reconcile.schemas import Moment, ResponsibleName
from shared.answers import examples
from shared.calendar import FIRST_YEAR, LAST_YEAR

_EXAMPLES = examples(__file__)
MAX_ROWS = 5000
_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff]")
_DAY = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
LevelName = Literal["province", "district", "commune"]
ChangeName = Literal["new", "amended", "abolished"]


def _readable(text: str) -> str:
    if _CONTROL.search(text):
        raise ValueError("holds control characters")
    return " ".join(text.split())


def _day_text(value: object) -> object:
    """Only ISO days: a bare number would be taken for seconds since 1970."""
    if isinstance(value, date):
        return value
    if not isinstance(value, str) or not _DAY.fullmatch(value):
        raise ValueError("expected a day as 2026-03-02")
    return value


def _plausible(day: date) -> date:
    if not FIRST_YEAR <= day.year <= LAST_YEAR:
        raise ValueError(f"expected a year from {FIRST_YEAR} to {LAST_YEAR}")
    return day


Day = Annotated[date, BeforeValidator(_day_text), AfterValidator(_plausible)]


Short = Annotated[
    str,
    StringConstraints(strict=True, strip_whitespace=True, min_length=1, max_length=100),
    AfterValidator(_readable),
]
Long = Annotated[
    str,
    StringConstraints(strict=True, strip_whitespace=True, min_length=1, max_length=2000),
    AfterValidator(_readable),
]

_ROW: dict[str, Any] = {
    "position": "A.I.1",
    "change": "new",
    "code": "1.001612",
    "name": "Đăng ký thành lập hộ kinh doanh",
    "level": "commune",
    "field": "Thành lập và hoạt động của hộ kinh doanh",
}
_DECISION: dict[str, Any] = {
    "number": "712/QĐ-UBND",
    "issued_on": "2026-03-02",
    "effective_on": "2026-03-02",
    "title": "Công bố danh mục thủ tục hành chính mới ban hành thuộc phạm vi quản lý của Sở Công Thương",
    "unit_code": "H31.16",
    "declared_count": 1,
    "parent_number": "2546/QĐ-BCT",
    "rows": [_ROW],
}


class DecisionRowIn(BaseModel):
    """One row of an annex. A procedure at two levels stands in two rows. `code` null: the annex has none
    yet."""

    model_config = ConfigDict(extra="forbid")

    position: Short | None = Field(default=None, description="Place in the annex")
    change: ChangeName
    code: Short | None = Field(default=None, description="Mã TTHC: 1.001612")
    name: Long
    level: LevelName
    field: Long


class DecisionIn(BaseModel):
    """A decision that publishes procedures. One number of one year is one decision: sent again with the same
    content nothing happens, with other content the older text is superseded and kept."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"example": _DECISION})

    number: Short
    issued_on: Day
    effective_on: Day
    title: Long
    unit_code: Short | None = Field(default=None, description="The department in whose field it is")
    declared_count: int | None = Field(default=None, ge=0, le=100_000, strict=True, description="Of Điều 1")
    parent_number: Short | None = Field(default=None, description="The ministry's decision it follows")
    rows: list[DecisionRowIn] = Field(min_length=1, max_length=MAX_ROWS)


class DecisionSummary(BaseModel):
    """`codes`: unique codes. `superseded_at`: when a newer text of the same number came."""

    id: int
    number: str
    issued_on: date
    effective_on: date
    title: str
    unit_code: str | None
    parent_number: str | None
    declared_count: int | None
    rows: int
    codes: int
    known_at: Moment
    superseded_at: Moment | None
    added_by: str


class DecisionAccepted(DecisionSummary):
    """`result`: created, or unchanged where this very text was known. `supersedes`: the older text's id."""

    model_config = ConfigDict(json_schema_extra={"example": _EXAMPLES["DecisionAccepted"]})
    result: Literal["created", "unchanged"]
    supersedes: int | None
    notes: list[str]


class DecisionsView(BaseModel):
    model_config = ConfigDict(json_schema_extra={"example": _EXAMPLES["DecisionsView"]})
    items: list[DecisionSummary]
    next: str | None


class DecisionRowView(BaseModel):
    position: str | None
    change: ChangeName
    code: str | None
    name: str
    level: str
    field: str


class DecisionView(DecisionSummary):
    model_config = ConfigDict(json_schema_extra={"example": _EXAMPLES["DecisionView"]})
    content: list[DecisionRowView]


class CatalogueEntry(BaseModel):
    """A procedure in force at one level, and the row that it rests on."""

    model_config = ConfigDict(
        json_schema_extra={
            "example": {
                **_ROW,
                "unit_code": "H31.16",
                "decision": "712/QĐ-UBND",
                "effective_on": "2026-03-02",
            }
        }
    )

    code: str
    level: str
    name: str
    field: str
    unit_code: str | None
    decision: str
    position: str | None
    effective_on: date
    change: ChangeName


class CatalogueView(BaseModel):
    """`codes`: unique codes in the whole filtered list, `rows`: one per code and level."""

    model_config = ConfigDict(json_schema_extra={"example": _EXAMPLES["CatalogueView"]})
    on: date
    known_at: Moment | None
    unit: str
    unit_means: str
    codes: int
    rows: int
    items: list[CatalogueEntry]
    next: str | None


class SideView(BaseModel):
    codes: int
    rows: int


class LevelCount(BaseModel):
    level: str | None
    level_name: str
    decided: int
    national: int


class FieldCount(BaseModel):
    field: str
    decided: int
    national: int


class CellCount(BaseModel):
    level: str | None
    field: str
    decided: int
    national: int


class MismatchCount(BaseModel):
    kind: str
    kind_name: str
    responsible: ResponsibleName
    procedures: int


class ProcedureCoverage(BaseModel):
    """`judged`: whether differences could be told; they need one complete listing of the national
    database."""

    judged: bool
    listing_complete_through: Moment | None
    unread_records: int
    rows_without_code: int
    missing: list[str]


class ProcedureReconciliationView(BaseModel):
    """Unique codes by decision (`decided`) and public on the national database (`national`), side by side."""

    model_config = ConfigDict(
        json_schema_extra={
            "example": {
                "on": "2026-11-02",
                "unit": "H31.16",
                "unit_means": "Sở Công Thương: thủ tục mà quyết định còn hiệu lực ghi thuộc sở.",
                "decided": {"codes": 12, "rows": 14},
                "national": {"codes": 11, "rows": 12},
                "by_level": [{"level": "province", "level_name": "cấp tỉnh", "decided": 12, "national": 11}],
                "by_field": [{"field": "Lưu thông hàng hóa", "decided": 12, "national": 11}],
                "cells": [
                    {"level": "province", "field": "Lưu thông hàng hóa", "decided": 12, "national": 11}
                ],
                "findings": [
                    {
                        "kind": "missing_on_national",
                        "kind_name": "Thủ tục đã công bố chưa công khai trên CSDLQG",
                        "responsible": "centre",
                        "procedures": 1,
                    }
                ],
                "rules": "decisions.md §3",
                "coverage": {
                    "judged": True,
                    "listing_complete_through": "2026-11-02T08:00:00+07:00",
                    "unread_records": 0,
                    "rows_without_code": 0,
                    "missing": [],
                },
                "as_of": "2026-11-02T08:00:00+07:00",
            }
        }
    )

    on: date
    unit: str
    unit_means: str
    decided: SideView
    national: SideView
    by_level: list[LevelCount]
    by_field: list[FieldCount]
    cells: list[CellCount]
    findings: list[MismatchCount] | None
    rules: str
    coverage: ProcedureCoverage
    as_of: Moment | None
