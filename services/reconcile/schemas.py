"""The shapes of reconcile's answers about findings and copies."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal
from uuid import UUID

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from shared.answers import examples
from shared.calendar import TZ

_EXAMPLES = examples(__file__)

Moment = Annotated[datetime, AfterValidator(lambda moment: moment.astimezone(TZ))]
"""Shown in Việt Nam time, +07:00."""

SubjectName = Literal["dossier", "procedure", "capture", "unit"]
SourceSystemName = Literal["province", "ministry", "unknown"]
ResponsibleName = Literal["unit", "department", "ministry", "vnpt", "centre", "vpcp"]

_FINDING: dict[str, Any] = {
    "id": "019a3f5e-5b00-7c10-a5c4-2b8f0d3c9a11",
    "subject": "dossier",
    "code": "H31.135-260803-0012",
    "kind": "appointment_differs",
    "kind_name": "Ngày hẹn trả khác nhau",
    "key": "provincial-sent",
    "state": "open",
    "unit_code": "H31.135",
    "procedure_code": "1.001612",
    "responsible": "vnpt",
    "responsible_name": "VNPT (đơn vị vận hành hệ thống, đồng bộ dữ liệu)",
    "source_system": "province",
    "sentence": "Hệ thống một cửa của tỉnh hẹn trả 06/08/2026 17:00, "
    "dữ liệu tỉnh đã gửi lên quốc gia hẹn trả 08/08/2026 17:00.",
    "opened_at": "2026-08-03T16:00:00+07:00",
    "resolved_at": None,
    "changed_at": "2026-08-03T16:00:00+07:00",
    "times_opened": 1,
}


class FindingView(BaseModel):
    """`key`: which two copies differ ("provincial-sent"), of a capture's finding the period, of a unit's the month (and
    the flag), empty where there is only one such finding on a code. `opened_at`: of the latest opening; the history has
    the earlier ones."""

    model_config = ConfigDict(json_schema_extra={"example": _FINDING})

    id: UUID
    subject: SubjectName
    code: str
    kind: str
    kind_name: str
    key: str
    state: Literal["open", "resolved"]
    unit_code: str
    procedure_code: str | None
    responsible: ResponsibleName
    responsible_name: str
    source_system: str | None
    sentence: str
    opened_at: Moment
    resolved_at: Moment | None
    changed_at: Moment
    times_opened: int


class FindingsView(BaseModel):
    items: list[FindingView]
    next: str | None = Field(description="Cursor of the next page; null: this was the last")


class RuleView(BaseModel):
    """The rule that found it. `unknown`: what the rule does where a value is not known."""

    kind: str
    title: str
    sentence: str
    unknown: str
    responsible: ResponsibleName
    source: str


class EventView(BaseModel):
    at: Moment
    event: Literal["opened", "changed", "resolved", "reopened"]
    actor: str
    evidence: dict[str, Any]


class FindingDetailView(FindingView):
    """`evidence`: the values, where and by which way each was learnt, and when; the proof of an absence."""

    model_config = ConfigDict(json_schema_extra={"example": _EXAMPLES["FindingDetailView"]})

    evidence: dict[str, Any]
    rule: RuleView
    events: list[EventView]


class CopiesView(BaseModel):
    """Dossiers by the copies that are there. `national`: the nation's own copy; `confirmed`: no such copy,
    but a look-up found the code; `absent`: a look-up did not; `not_asked`: neither copy nor look-up."""

    dossiers: int
    provincial: int
    sent: int
    national: int
    confirmed: int
    absent: int
    not_asked: int


class SourceSystemView(BaseModel):
    """Dossiers handled in one kind of system, read off the length of their code's serial: the province's own or a
    ministry's."""

    source_system: SourceSystemName
    copies: CopiesView
    findings: int = Field(description="Open ones")


class KindCount(BaseModel):
    """Open findings of a kind on which the same acts first, as each finding tells it: a kind stands once for each."""

    kind: str
    kind_name: str
    responsible: ResponsibleName
    findings: int
    dossiers: int


class SourceCoverage(BaseModel):
    """`complete_through`: all that the portal held at that moment has been seen; null: never."""

    portal: str
    complete_through: Moment | None


class DossierCoverage(BaseModel):
    complete: bool
    missing: list[str]
    sources: list[SourceCoverage]


class DossierReconciliationView(BaseModel):
    """Dossiers that have been received (in the period, where one is named), by the unit that handles them
    now."""

    model_config = ConfigDict(
        json_schema_extra={
            "example": {
                "unit": "H31.135",
                "period": "2026-08",
                "source_system": None,
                "copies": {
                    "dossiers": 210,
                    "provincial": 209,
                    "sent": 207,
                    "national": 0,
                    "confirmed": 205,
                    "absent": 3,
                    "not_asked": 2,
                },
                "source_systems": [
                    {
                        "source_system": "province",
                        "copies": {
                            "dossiers": 210,
                            "provincial": 209,
                            "sent": 207,
                            "national": 0,
                            "confirmed": 205,
                            "absent": 3,
                            "not_asked": 2,
                        },
                        "findings": 3,
                    }
                ],
                "findings": [
                    {
                        "kind": "missing_on_national",
                        "kind_name": "Hồ sơ chưa có trên Cổng DVCQG",
                        "responsible": "vnpt",
                        "findings": 3,
                        "dossiers": 3,
                    }
                ],
                "rules": "parameters.toml 2022-06-23",
                "coverage": {
                    "complete": False,
                    "missing": ["2 hồ sơ chưa được tra cứu trên Cổng DVCQG."],
                    "sources": [{"portal": "provincial", "complete_through": "2026-11-02T08:55:00+07:00"}],
                },
                "as_of": "2026-11-02T09:00:00+07:00",
            }
        }
    )

    unit: str
    period: str | None
    source_system: SourceSystemName | None
    copies: CopiesView
    source_systems: list[SourceSystemView] = Field(description="The same copies by source system")
    findings: list[KindCount]
    rules: str = Field(description="The comparison's parameters in force")
    coverage: DossierCoverage
    as_of: Moment | None
