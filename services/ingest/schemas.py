"""Answers of ingest's endpoints."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

from shared.answers import examples

_EXAMPLES = examples(__file__)


class PushCounts(BaseModel):
    accepted: int
    unchanged: int
    stale: int
    rejected: int


class PushResult(BaseModel):
    """`stale`: a newer version was there already; `unchanged`: this very version was."""

    index: int
    code: str | None
    result: Literal["accepted", "unchanged", "stale", "rejected"]
    field: str | None = None
    reason: str | None = None
    reason_vi: str | None = None


class PushAnswer(BaseModel):
    model_config = ConfigDict(
        json_schema_extra={
            "example": {
                "counts": {"accepted": 1, "unchanged": 0, "stale": 0, "rejected": 1},
                "items": [
                    {"index": 0, "code": "H31.135-260803-0012", "result": "accepted"},
                    {
                        "index": 1,
                        "code": "H31.135-260803-0013",
                        "result": "rejected",
                        "field": "status",
                        "reason": "status: unknown status; expected a number from 1 to 10",
                        "reason_vi": "status: trạng thái không có trong danh mục; cần một số từ 1 đến 10.",
                    },
                ],
                "receipt": 4711,
            }
        }
    )
    counts: PushCounts
    items: list[PushResult]
    receipt: int | None = None


class CopyView(BaseModel):
    """One copy of the dossier. `known`: the fields that this copy is able to tell. `facts`: what it tells of papers,
    results, payment and identity, true or false; what is not named, it cannot tell. `unit_name`: as it came; where none
    did, the unit's name in the unit tree."""

    portal: str
    via: str
    learnt_at: datetime
    version: datetime | None
    known: list[str]
    procedure_code: str | None
    unit_code: str | None
    unit_name: str | None
    unit_via: str
    status: int | None
    status_name: str | None
    cancelled: bool
    channel: int | None
    submitted_at: datetime | None
    received_at: datetime | None
    due_at: datetime | None
    finished_at: datetime | None
    returned_at: datetime | None
    rejected_at: datetime | None
    supplements: list[dict[str, Any]]
    facts: dict[str, bool]
    officer: str | None
    officer_title: str | None
    vanished_at: datetime | None


class StepView(BaseModel):
    portal: str
    occurred_at: datetime
    status: int
    status_name: str | None
    officer: str | None
    officer_title: str | None
    started_at: datetime | None


class PresenceView(BaseModel):
    """What was proved about a portal: found, or not, when and how."""

    portal: str
    found: bool | None
    checked_at: datetime | None
    via: str | None


class SatisfactionView(BaseModel):
    """Whether the dossier counts as satisfying in the same period (5.4): on time, and no petition names it."""

    component: str
    satisfied: bool
    complained: bool
    sentence: str
    citation: str


class DossierPetition(BaseModel):
    """A petition that names the dossier; GET /v1/indicators/satisfaction/5.2/items says how it was handled."""

    code: str
    kind: str
    unit_code: str | None
    sent_at: datetime


class DossierComponentView(BaseModel):
    """What a component says of the dossier in the same period. `counted`: in its denominator; `met`: in its numerator.
    A sentence that says "không có thông tin" means that no source told it, not that somebody denied it."""

    component: str
    counted: bool
    met: bool
    sentence: str
    citation: str


class CountsView(BaseModel):
    """Whether the dossier counts in a component and a period, and why. `components`: every component that counts
    dossiers, 2.1 and 5.4 among them."""

    component: str
    basis: str
    period: str
    unit_code: str
    on_time: bool
    end_at: datetime | None
    deadline_at: datetime | None
    reason: str
    sentence: str
    citation: str
    satisfaction: SatisfactionView
    components: list[DossierComponentView]


class NotCounted(BaseModel):
    """Why a dossier counts nowhere on a basis."""

    component: str
    basis: str
    reason: str
    sentence: str


class DossierFinding(BaseModel):
    id: str
    kind: str
    key: str
    state: str
    responsible: str
    sentence: str
    opened_at: datetime
    resolved_at: datetime | None


class DossierView(BaseModel):
    model_config = ConfigDict(json_schema_extra={"example": _EXAMPLES["DossierView"]})
    code: str
    code_known: bool
    source_system: str
    copies: list[CopyView]
    steps: list[StepView]
    presence: list[PresenceView]
    indicators: list[CountsView]
    not_counted: list[NotCounted]
    petitions: list[DossierPetition]
    findings: list[DossierFinding]
