"""What the endpoints of pulls and units take and answer."""

from __future__ import annotations

from datetime import date, datetime
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from shared.vocabulary import Portal, Subject, UnitLevel

RunState = Literal["queued", "running", "done", "failed"]


class SyncRequest(BaseModel):
    """provincial: units, dossiers. national: units, procedures, dossiers (where the list is granted), lookups, captures
    (the figures that the nation publishes; `period`: of this one only, such as 2026-08, else of those that are due)."""

    model_config = ConfigDict(
        extra="forbid", json_schema_extra={"example": {"portal": "provincial", "subject": "dossiers"}}
    )
    portal: Portal
    subject: Subject
    period: str | None = Field(default=None, max_length=10, examples=["2026-08"])


class SyncRunView(BaseModel):
    """One pull. `pages` and `items`: what has been committed so far; `total`: items where the portal tells
    how many.

    accepted, unchanged, stale, rejected: of dossiers as accept() judged them; of look-ups found, not found,
    -, failed; of reference data changed, as before, withdrawn, refused; of captures complete, -, -, partial.
    `complete`: the run has seen all that
    the portal holds. `error`: Vietnamese sentence | English sentence."""

    model_config = ConfigDict(
        json_schema_extra={
            "example": {
                "id": 7,
                "portal": "provincial",
                "subject": "dossiers",
                "state": "running",
                "requested_by": "ingest",
                "queued_at": "2026-08-05T08:00:00+07:00",
                "started_at": "2026-08-05T08:00:01+07:00",
                "finished_at": None,
                "attempts": 1,
                "pages": 12,
                "total": 20000,
                "items": 2400,
                "accepted": 2398,
                "unchanged": 0,
                "stale": 0,
                "rejected": 2,
                "complete": False,
                "error": None,
            }
        }
    )
    id: int
    portal: Portal
    subject: Subject
    state: RunState
    requested_by: str
    queued_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    attempts: int
    pages: int
    total: int | None
    items: int
    accepted: int
    unchanged: int
    stale: int
    rejected: int
    complete: bool
    error: str | None


class SyncRunList(BaseModel):
    items: list[SyncRunView]
    next: str | None


class UnitView(BaseModel):
    """A unit during a span of days. `mark`: practice, or not_verified where the code is not an official
    one."""

    model_config = ConfigDict(
        json_schema_extra={
            "example": {
                "code": "H31.135",
                "name": "UBND phường Phố Hiến",
                "level": "commune",
                "parent_code": "H31",
                "valid_from": "2025-07-01",
                "valid_to": None,
                "successor_code": None,
                "statistical_code": None,
                "mark": "practice",
                "source": "national",
            }
        }
    )
    code: str
    name: str
    level: UnitLevel
    parent_code: str | None
    valid_from: date
    valid_to: date | None
    successor_code: str | None
    statistical_code: str | None
    mark: str
    source: str


class UnitList(BaseModel):
    items: list[UnitView]
    next: str | None
