"""What the endpoints of names and aliases of units take and answer."""

from __future__ import annotations

from datetime import date, datetime
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

_ALIAS: dict[str, Any] = {
    "name": "Bộ phận Một cửa phường Sơn Nam",
    "unit_code": "H31.136",
    "valid_from": "2025-07-01",
    "valid_to": None,
    "source": "key k1f0a9b2c",
    "updated_at": "2026-11-02T09:00:00+07:00",
}


class AliasView(BaseModel):
    """A name or a code that means a unit during a span of days (`valid_to` is the last one). `source`: which portal
    told it, or whose key set it."""

    name: str
    unit_code: str
    valid_from: date
    valid_to: date | None
    source: str
    updated_at: datetime


class UnmappedView(BaseModel):
    """A name or code by which dossiers or petitions call a unit, and no unit is known for it. `kind`: a unit's name, an
    agency's code, or the unit part of dossier codes. `guessed_unit_code`: the unit by whose code all these dossiers
    were given out, which they count for meanwhile; null: they count under the province only. `example`: a dossier's
    code, or a petition's where only petitions use the name. `first_received_at`, `last_received_at`: of dossiers."""

    kind: Literal["name", "agency_code", "dossier_code"]
    name: str
    agency_codes: list[str]
    dossiers: int
    petitions: int
    example: str
    guessed_unit_code: str | None
    first_received_at: datetime | None
    last_received_at: datetime | None


class AliasList(BaseModel):
    """Aliases; with `unmapped=true` the names and codes that have none."""

    model_config = ConfigDict(json_schema_extra={"example": {"items": [_ALIAS], "next": None}})
    items: list[AliasView] | list[UnmappedView]
    next: str | None


class AliasSet(BaseModel):
    """Without `valid_from`: from the unit's own first day on. Without `valid_to`: until further notice."""

    model_config = ConfigDict(
        extra="forbid", json_schema_extra={"example": {"unit_code": "H31.136", "valid_from": "2025-07-01"}}
    )
    unit_code: str = Field(min_length=1, max_length=100)
    valid_from: date | None = None
    valid_to: date | None = None


class AliasStored(BaseModel):
    """`re_resolved`: copies of dossiers that now belong to another unit, or were found by another way; their findings
    and figures follow within a moment. `petitions_re_resolved`: petitions and monthly ratings, counted at once."""

    model_config = ConfigDict(
        json_schema_extra={
            "example": {
                "name": "Bộ phận Một cửa phường Sơn Nam",
                "unit_code": "H31.136",
                "valid_from": "2025-07-01",
                "valid_to": None,
                "re_resolved": 412,
                "petitions_re_resolved": 3,
            }
        }
    )
    name: str
    unit_code: str
    valid_from: date
    valid_to: date | None
    re_resolved: int
    petitions_re_resolved: int


class AliasSpan(BaseModel):
    unit_code: str
    valid_from: date
    valid_to: date | None


class AliasRemoved(BaseModel):
    """`removed`: the spans that were there, none where the name had no meaning; they can be set again.
    `re_resolved`, `petitions_re_resolved`: as when an alias is set."""

    model_config = ConfigDict(
        json_schema_extra={
            "example": {
                "name": "Bộ phận Một cửa phường Sơn Nam",
                "removed": [{"unit_code": "H31.136", "valid_from": "2025-07-01", "valid_to": None}],
                "re_resolved": 412,
                "petitions_re_resolved": 3,
            }
        }
    )
    name: str
    removed: list[AliasSpan]
    re_resolved: int
    petitions_re_resolved: int
