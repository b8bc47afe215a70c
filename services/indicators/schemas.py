"""The shapes of indicators' answers."""

from __future__ import annotations

from datetime import date, datetime
from decimal import Decimal
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from shared.answers import examples
from shared.calendar import TZ
from shared.vocabulary import Basis, DurationUnit, IndicatorGroup, Mark

_EXAMPLES = examples(__file__)
Moment = Annotated[datetime, AfterValidator(lambda moment: moment.astimezone(TZ))]
"""Shown in Việt Nam time, +07:00."""


class ProvenanceView(BaseModel):
    """Where a number comes from and how far it can be trusted."""

    source: str
    on: date
    mark: Mark
    note: str | None = None


class RuleSetView(BaseModel):
    id: str = Field(examples=["portal-2026-09"])
    name: str
    since: date
    until: date | None
    provenance: ProvenanceView


class ScoringView(BaseModel):
    """How a component scores in one rule set. `target`: the ratio that gives full points. `empty`: an empty
    denominator gives `zero` points, `none` (no score) or `full` points."""

    rule_set: str
    max: Decimal
    scaling: str
    target: Decimal | None
    empty: str
    not_at: list[str] = Field(default=[], description="Levels whose units do not have the component")
    formula: str = Field(examples=["20 × tử số / mẫu số"])
    provenance: ProvenanceView


class ComponentView(BaseModel):
    id: str = Field(examples=["2.1"])
    code: str
    code_is_ours: bool
    name: str
    numerator: str
    denominator: str
    computed: bool
    inherited: bool = Field(default=False, description="Units below the province have the province's figures")
    counting: ProvenanceView
    scoring: list[ScoringView]


class GroupView(BaseModel):
    slug: IndicatorGroup
    name: str
    law_name: str
    portal_field: str
    max: Decimal
    computed: bool
    provenance: ProvenanceView
    components: list[ComponentView]


class LegalGroupView(BaseModel):
    """A group of QĐ 766: five, of which one is two of the portal's."""

    name: str = Field(examples=["Cung cấp dịch vụ trực tuyến"])
    groups: list[IndicatorGroup]
    max: Decimal = Field(examples=["22"])


class BandView(BaseModel):
    from_percent: Decimal
    name: str


class IndicatorsView(BaseModel):
    """The indicator set as data. Only what is `computed` has figures."""

    model_config = ConfigDict(json_schema_extra={"example": _EXAMPLES["IndicatorsView"]})
    groups: list[GroupView]
    legal_groups: list[LegalGroupView]
    rule_sets: list[RuleSetView]
    rating_bands: list[BandView]
    rating_provenance: ProvenanceView


class UnitView(BaseModel):
    code: str = Field(examples=["H31.135"])
    name: str | None


class PeriodView(BaseModel):
    """`end` no longer belongs to it; `running`: judged by the events up to now."""

    key: str = Field(examples=["2026-08"])
    start: Moment
    end: Moment
    running: bool


class CountsView(BaseModel):
    """`overdue` = dossiers − on_time − undetermined; `undetermined` count as not on time."""

    dossiers: int
    done: int
    in_progress: int
    on_time: int
    overdue: int
    undetermined: int


class ScoreView(BaseModel):
    """`points` null: nothing to measure, which is not 0 points. `ratio`: six decimals."""

    id: str = Field(examples=["2.1"])
    name: str
    numerator: int | None = Field(examples=[420877])
    denominator: int | None = Field(examples=[482812])
    ratio: Decimal | None = Field(examples=["0.871720"])
    points: Decimal | None = Field(examples=["17.43"])
    max: Decimal = Field(examples=["20"])
    scaling: str
    formula: str
    why: str
    period_date: str
    provenance: ProvenanceView
    counting: ProvenanceView


class PublishedPairView(BaseModel):
    """What the nation published of the component, in the newest complete capture of the period."""

    numerator: int | None
    denominator: int | None
    points: Decimal | None
    data_quality: str | None = Field(description="As the nation marks it, such as a provisional denominator")
    capture_id: int
    captured_at: Moment


class NotComputedView(BaseModel):
    """A component that gives points and that cannot be counted for this unit (or not in this version), and why."""

    id: str = Field(examples=["1.4"])
    name: str
    max: Decimal
    why: str
    published: PublishedPairView | None = None


class NotApplicableView(BaseModel):
    """A component that units of this level do not have: it is neither missing nor 0. The group's maximum stays."""

    id: str = Field(examples=["3.1"])
    name: str
    max: Decimal
    why: str
    provenance: ProvenanceView


class GapView(BaseModel):
    """`source`: queue, provincial or national. `since` null: from the beginning."""

    source: str
    since: Moment | None
    sentence: str


class CoverageView(BaseModel):
    """Is this number complete, and if not, what is missing since when (`missing_since`: the earliest of `gaps`).
    `by_copy`: dossiers by the copy that counts. The other fields speak of the whole province; by unit and source:
    GET /v1/coverage."""

    complete: bool
    missing: list[str]
    missing_since: Moment | None
    gaps: list[GapView]
    by_copy: dict[str, int]
    pending_changes: int
    provincial_complete_through: Moment | None
    national_complete_through: Moment | None
    oldest_lookup_at: Moment | None
    lookups_waiting: bool


class ProcedureTimeView(BaseModel):
    """Average handling time of one procedure's dossiers, in the procedure's own unit (`unit_known` false: none is
    known, told in days). `maximum`: the longest that the procedure may take, in the same unit."""

    model_config = ConfigDict(
        json_schema_extra={
            "example": {
                "procedure_code": "1.001612",
                "procedure_name": "Đăng ký thành lập hộ kinh doanh",
                "dossiers": 214,
                "average": "2.36",
                "unit": "Ngày làm việc",
                "unit_known": True,
                "maximum": "3",
            }
        }
    )
    procedure_code: str | None
    procedure_name: str | None
    dossiers: int
    average: Decimal
    unit: DurationUnit
    unit_known: bool
    maximum: Decimal | None


class HandlingView(BaseModel):
    """2.2, for information: no points. Dossiers received in the period that have a result by now, whenever they
    ended. `by_procedure`: those with the most dossiers; all: GET …/2.2/procedures."""

    id: str = Field(examples=["2.2"])
    name: str
    dossiers: int
    procedures: int
    why: str
    period_date: str
    by_procedure: list[ProcedureTimeView]
    provenance: ProvenanceView
    counting: ProvenanceView


class ProcedureTimesView(BaseModel):
    items: list[ProcedureTimeView]
    next: str | None
    as_of: Moment | None


class RatingsView(BaseModel):
    """What the people served in the months of the period thought (DongBoDanhGia), for information: `raters` people, and
    their shares in percent, weighed by raters; null: not told."""

    raters: int
    very_satisfied: Decimal | None
    satisfied: Decimal | None
    not_satisfied: Decimal | None


class PetitionsView(BaseModel):
    """5.1, for information: no points. Petitions about procedures, about officers' conduct (`staff`), and others."""

    id: str = Field(examples=["5.1"])
    name: str
    petitions: int
    procedure: int
    staff: int
    other: int
    why: str
    period_date: str
    ratings: RatingsView
    provenance: ProvenanceView
    counting: ProvenanceView


class GroupScoreView(BaseModel):
    model_config = ConfigDict(json_schema_extra={"example": _EXAMPLES["GroupScoreView"]})
    group: IndicatorGroup
    name: str
    unit: UnitView
    period: PeriodView
    basis: Basis
    rule_set: RuleSetView
    score: Decimal | None = Field(
        description="Null where a component is not computed: a part of a group is no score of it",
        examples=["17.43"],
    )
    max: Decimal
    rating: str | None = Field(description="Band of the score in percent of its maximum", examples=["Tốt"])
    components: list[ScoreView]
    not_computed: list[NotComputedView] = Field(description="Components that score but are not counted yet")
    not_applicable: list[NotApplicableView] = Field(
        default=[], description="Components that units of this level do not have"
    )
    counts: CountsView
    handling: HandlingView | None = Field(
        default=None, description="Average handling times (2.2), in the group of progress"
    )
    petitions: PetitionsView | None = Field(
        default=None, description="Petitions by kind (5.1) and people's ratings, in the group of satisfaction"
    )
    coverage: CoverageView
    as_of: Moment | None


class ItemView(BaseModel):
    """`end_at` null: judged at the period's end, or now while it runs. `complained`: a petition names it, sent before
    the period's end (5.4). `handling_time`: from receipt to the result, in the procedure's own unit, where the dossier
    was received in this period (2.2). `why`: of the component whose list it is."""

    code: str = Field(examples=["H31.135-260803-0012"])
    unit_code: str
    unit_name: str | None
    procedure_code: str | None
    procedure_name: str | None
    on_time: bool
    done: bool
    undetermined: bool
    complained: bool
    copy_counted: str
    reason: str = Field(description="What the judgement of 2.1 rests on, whichever list it is.")
    why: str
    end_at: Moment | None
    deadline_at: Moment | None
    handling_time: Decimal | None = None
    handling_unit: DurationUnit | None = None


class ProcedureItemView(BaseModel):
    """A procedure behind a figure that counts procedures. `dossiers`: how many of its dossiers put it there, null where
    it is there for what the national record says of it. `why`: why it is in this part. `observed`: by the day on
    which we first saw it as public, the latest that it can be."""

    code: str = Field(examples=["1.001612"])
    name: str | None
    dossiers: int | None
    why: str
    observed: bool = False


class ProcedureItemsView(BaseModel):
    model_config = ConfigDict(json_schema_extra={"example": _EXAMPLES["ProcedureItemsView"]})
    items: list[ProcedureItemView]
    next: str | None
    as_of: Moment | None


class ItemsView(BaseModel):
    model_config = ConfigDict(json_schema_extra={"example": _EXAMPLES["ItemsView"]})
    items: list[ItemView]
    next: str | None
    as_of: Moment | None

    @staticmethod
    def example() -> Any:
        """Where it is one of two possible answers, OpenAPI takes no example from the schema."""
        return _EXAMPLES["ItemsView"]


class SatisfactionView(BaseModel):
    """Whether the dossier counts as satisfying in the same period (5.4): on time, and no petition names it."""

    satisfied: bool
    complained: bool
    why: str
    citation: str


class DossierComponentView(BaseModel):
    """What a component says of the dossier in the same period. `counted`: in its denominator; `met`: in its numerator.
    A sentence that says "không có thông tin" means that no source told it, not that somebody denied it."""

    component: str
    counted: bool
    met: bool
    sentence: str
    citation: str


class DossierPeriodView(BaseModel):
    """`components`: every component that counts dossiers, 2.1 and 5.4 among them."""

    component: str
    period: str
    unit_code: str
    procedure_code: str | None
    on_time: bool
    done: bool
    undetermined: bool
    reason: str
    why: str
    citation: str
    end_at: Moment | None
    deadline_at: Moment | None
    satisfaction: SatisfactionView
    components: list[DossierComponentView]


class DossierBasisView(BaseModel):
    """`source`: which copy counts, or why none does; `next_change_at`: when this changes with no message."""

    basis: Basis
    counted: bool
    source: str
    why: str
    citation: str
    open: bool
    assessed_at: Moment
    next_change_at: Moment | None
    periods: list[DossierPeriodView]


class DossierAssessmentView(BaseModel):
    """Empty `bases`: the dossier is here and waits to be assessed."""

    model_config = ConfigDict(json_schema_extra={"example": _EXAMPLES["DossierAssessmentView"]})
    code: str
    bases: list[DossierBasisView]
