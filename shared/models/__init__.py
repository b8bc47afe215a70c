"""ORM tables, one file per subject; each file's header says who writes it (architecture.md, rule 3).

Importing this package registers every table on `Record.metadata`; Alembic reads it from there.
"""

from shared.models.access import ApiKey
from shared.models.assessment import Assessment, AssessmentPeriod, PeriodOpened, Tally, TallyCheck
from shared.models.capture import (
    Capture,
    CaptureBody,
    CaptureCheck,
    CaptureContent,
    CapturedFigure,
    CapturedUnit,
    Circuit,
)
from shared.models.capture_scoring import CaptureScoreCheck, CaptureScoring
from shared.models.change import Change
from shared.models.decision import Decision, DecisionRow
from shared.models.dossier import Dossier, DossierStep, Presence
from shared.models.finding import Comparison, Finding, FindingEvent
from shared.models.heartbeat import Heartbeat
from shared.models.history import FigureDay, FigureDayTaken, OverdueChange
from shared.models.idempotency import IdempotencyKey
from shared.models.import_run import ImportRun
from shared.models.petition import CitizenRating, Petition
from shared.models.procedure import Procedure
from shared.models.push import PushReceipt
from shared.models.quarantine import Quarantine
from shared.models.record import Record
from shared.models.reporting_count import ReportingCount
from shared.models.sync import SyncRun, SyncState
from shared.models.unit import Unit, UnitAlias

__all__ = [
    "ApiKey",
    "Assessment",
    "AssessmentPeriod",
    "Capture",
    "CaptureBody",
    "CaptureCheck",
    "CaptureContent",
    "CaptureScoreCheck",
    "CaptureScoring",
    "CapturedFigure",
    "CapturedUnit",
    "Change",
    "Circuit",
    "CitizenRating",
    "Comparison",
    "Decision",
    "DecisionRow",
    "Dossier",
    "DossierStep",
    "FigureDay",
    "FigureDayTaken",
    "Finding",
    "FindingEvent",
    "Heartbeat",
    "IdempotencyKey",
    "ImportRun",
    "OverdueChange",
    "PeriodOpened",
    "Petition",
    "Presence",
    "Procedure",
    "PushReceipt",
    "Quarantine",
    "Record",
    "ReportingCount",
    "SyncRun",
    "SyncState",
    "Tally",
    "TallyCheck",
    "Unit",
    "UnitAlias",
]

DOSSIER_SIZED = frozenset(
    {
        "dossier",
        "dossier_step",
        "presence",
        "comparison",
        "assessment",
        "assessment_period",
        "finding",
        "finding_event",
        "overdue_change",
    }
)
"""Tables that grow with the dossiers: each of their unique keys holds `code` (docs/adr: distribution by code)."""
