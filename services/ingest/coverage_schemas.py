"""Answers of GET /v1/coverage."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

_AT = "2026-11-02T08:59:30+07:00"
_EXAMPLE: dict[str, Any] = {
    "unit": "H31.135",
    "as_of": "2026-11-02T09:00:00+07:00",
    "window_days": 30,
    "sources": [
        {
            "source": "provincial",
            "last_seen_at": _AT,
            "complete_through": "2026-11-02T05:45:00+07:00",
            "missing_since": "2026-11-02T05:45:00+07:00",
            "missing": "Hồ sơ từ hệ thống của tỉnh mới đầy đủ đến 05:45 ngày 02/11/2026.",
            "waiting": None,
            "last_error": None,
        }
    ],
    "units": [
        {
            "unit_code": "H31.135",
            "portal": "sent",
            "via": "push",
            "dossiers": 412,
            "last_seen_at": _AT,
            "delay_median_seconds": 95,
            "delay_p90_seconds": 5400,
        }
    ],
    "queue": [{"consumer": "indicators", "due": 0, "oldest_at": None}],
}


class SourceView(BaseModel):
    """A source of the whole province. provincial: pulled from the one-stop system; national_list: the granted list;
    national_lookups: code by code (`complete_through`: the oldest of them, once none waits); sent: pushed messages in
    the national protocol; pushed: pushes in our own form; imports: files. `missing_since` null while `missing` is told:
    from the beginning. `waiting`: dossiers never looked up (10,000: or more). For pushes nobody can say that they are
    complete."""

    source: Literal["provincial", "national_list", "national_lookups", "sent", "pushed", "imports"]
    last_seen_at: datetime | None
    complete_through: datetime | None
    missing_since: datetime | None
    missing: str | None
    waiting: int | None
    last_error: str | None


class UnitSourceView(BaseModel):
    """Of dossiers received in the last days (`window_days`): copies, when the newest came, and how long after what it
    tells of (median and 90 % of all). Imports have no delay. `unit_code` null: no unit is known for them."""

    unit_code: str | None
    portal: str
    via: str
    dossiers: int
    last_seen_at: datetime
    delay_median_seconds: int | None
    delay_p90_seconds: int | None


class QueueView(BaseModel):
    """Changes that are due and not worked off; `oldest_at`: since when."""

    consumer: str
    due: int
    oldest_at: datetime | None


class CoverageAnswer(BaseModel):
    model_config = ConfigDict(json_schema_extra={"example": _EXAMPLE})
    unit: str
    as_of: datetime
    window_days: int
    sources: list[SourceView]
    units: list[UnitSourceView]
    queue: list[QueueView]
