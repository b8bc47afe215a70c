"""Values → the shapes of the answers. No I/O."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from decimal import ROUND_HALF_UP, Decimal

from services.indicators import schemas
from services.indicators.capture_queries import Figure, Head
from services.indicators.queries import Assessed, Figures, Item, ProcedureItem, ProcedureTime, Scope, percent
from services.indicators.rules import engine, scoring
from services.indicators.rules.catalogue import Judged
from services.indicators.rules.engine import Provenance, RuleSet, Scoring
from services.indicators.rules.handling import Handling, average, unit_of
from services.indicators.rules.measures import (
    DOSSIER_SATISFIED,
    MEASURES,
    PROGRESS_ON_TIME,
    Measure,
    Part,
    why_procedure,
)
from services.indicators.rules.units import UnitTree
from shared import coverage
from shared.calendar import Period
from shared.dossier_components import tell, tell_all
from shared.reasons import COUNTED, Bit, Source, explain, explain_satisfaction, explain_source
from shared.vocabulary import Basis, Consumer, IndicatorGroup

_RATIO = Decimal("0.000001")


def indicators() -> schemas.IndicatorsView:
    found = engine.parameters()
    bands = found.bands[-1]
    return schemas.IndicatorsView(
        groups=[
            schemas.GroupView(
                slug=group.slug,
                name=group.name,
                law_name=group.law_name,
                portal_field=group.portal_field,
                max=group.max,
                computed=any(component.computed for component in group.components),
                provenance=provenance(group.provenance),
                components=[_component(component) for component in group.components],
            )
            for group in found.groups.values()
        ],
        legal_groups=[
            schemas.LegalGroupView(name=each.name, groups=list(each.groups), max=each.max)
            for each in scoring.legal_groups({})
        ],
        rule_sets=[rule_set(each) for each in found.rule_sets],
        rating_bands=[
            schemas.BandView(from_percent=band.from_percent, name=band.name) for band in bands.bounds
        ],
        rating_provenance=provenance(bands.provenance),
    )


def _component(component: engine.Component) -> schemas.ComponentView:
    return schemas.ComponentView(
        id=component.id,
        code=component.code,
        code_is_ours=component.code_is_ours,
        name=component.name,
        numerator=component.numerator,
        denominator=component.denominator,
        computed=component.computed,
        inherited=component.inherited,
        counting=provenance(component.counting),
        scoring=[_scoring(key, each) for key, each in component.scoring.items()],
    )


def _scoring(key: str, each: Scoring) -> schemas.ScoringView:
    return schemas.ScoringView(
        rule_set=key,
        max=each.max,
        scaling=each.scaling,
        target=each.target,
        empty=each.empty,
        not_at=sorted(each.not_at),
        formula=each.formula,
        provenance=provenance(each.provenance),
    )


def provenance(each: Provenance) -> schemas.ProvenanceView:
    return schemas.ProvenanceView(source=each.source, on=each.on, mark=each.mark, note=each.note)


def rule_set(each: RuleSet) -> schemas.RuleSetView:
    return schemas.RuleSetView(
        id=each.id, name=each.name, since=each.since, until=each.until, provenance=provenance(each.provenance)
    )


def group_score(
    group: IndicatorGroup,
    scope: Scope,
    rules: RuleSet,
    found: Figures,
    covered: coverage.Coverage,
    units: UnitTree,
    now: datetime,
    handling: schemas.HandlingView | None = None,
    petitions: schemas.PetitionsView | None = None,
    published: tuple[Head, Mapping[str, Figure]] | None = None,
) -> schemas.GroupScoreView:
    """One group of one unit: each measure scored, the group as their sum (indicators.md §4.1)."""
    described = engine.parameters()
    scored, absent, points, inapplicable = scoring.score_group(group, found.measured, rules, found.level)
    views = [
        _given(component, score, rules) if measure is None else _score_view(measure, score, rules, found)
        for component, measure, score in scored
    ]
    maximum = described.groups[group].max
    counts = found.counts
    return schemas.GroupScoreView(
        group=group,
        name=described.groups[group].name,
        unit=schemas.UnitView(code=scope.unit, name=units.name(scope.unit, scope.period.last_day)),
        period=period_view(scope.period, now),
        basis=scope.basis,
        rule_set=rule_set(rules),
        score=points,
        max=maximum,
        rating=None if points is None else engine.rating(points, maximum, scope.period.last_day),
        components=views,
        not_computed=[
            schemas.NotComputedView(
                id=component.id,
                name=component.name,
                max=component.scoring[rules.id].max,
                why=found.uncounted.get(component.id)
                or component.counting.note
                or "Chưa có dữ liệu để đếm thành phần này.",
                published=_published(published, component.code),
            )
            for component in absent
        ],
        not_applicable=[
            schemas.NotApplicableView(
                id=component.id,
                name=component.name,
                max=component.scoring[rules.id].max,
                why=component.scoring[rules.id].provenance.note or "Cấp của đơn vị không có thành phần này.",
                provenance=provenance(component.scoring[rules.id].provenance),
            )
            for component in inapplicable
        ],
        counts=schemas.CountsView(
            dossiers=counts["dossiers"],
            done=counts["done"],
            in_progress=counts["dossiers"] - counts["done"],
            on_time=counts["on_time"],
            overdue=counts["dossiers"] - counts["on_time"] - counts["undetermined"],
            undetermined=counts["undetermined"],
        ),
        handling=handling,
        petitions=petitions,
        coverage=coverage_view(scope, counts, covered, now),
        as_of=found.as_of,
    )


def _published(
    captured: tuple[Head, Mapping[str, Figure]] | None, code: str
) -> schemas.PublishedPairView | None:
    if captured is None or code not in captured[1]:
        return None
    head, figure = captured[0], captured[1][code]
    return schemas.PublishedPairView(
        numerator=figure.numerator,
        denominator=figure.denominator,
        points=figure.score,
        data_quality=figure.data_quality,
        capture_id=head.id,
        captured_at=head.captured_at,
    )


def handling(
    rules: RuleSet, found: Figures, procedures: int, most: Iterable[ProcedureTime]
) -> schemas.HandlingView:
    measure = MEASURES["2.2"]
    component = engine.parameters().components[measure.component]
    dossiers = found.measured[measure.denominator]
    return schemas.HandlingView(
        id=component.id,
        name=component.name,
        dossiers=dossiers,
        procedures=procedures,
        why=(measure.why if dossiers else measure.why_empty).format(denominator=vietnamese(dossiers)),
        period_date=measure.period_date,
        by_procedure=[procedure_time(each) for each in most],
        provenance=provenance(component.scoring[rules.id].provenance),
        counting=provenance(component.counting),
    )


def procedure_time(each: ProcedureTime) -> schemas.ProcedureTimeView:
    unit, known = unit_of(each.unit)
    return schemas.ProcedureTimeView(
        procedure_code=each.procedure_code or None,
        procedure_name=each.name,
        dossiers=each.dossiers,
        average=average(each.handling, each.dossiers, unit),
        unit=unit,
        unit_known=known,
        maximum=each.maximum if known else None,
    )


TIME_HEADER = (
    "Mã thủ tục", "Thủ tục", "Số hồ sơ", "Thời gian trung bình", "Đơn vị tính", "Thời hạn tối đa",
)  # fmt: skip


def time_row(each: ProcedureTime) -> tuple[object, ...]:
    """A row under TIME_HEADER."""
    view = procedure_time(each)
    return (
        view.procedure_code,
        view.procedure_name,
        view.dossiers,
        view.average,
        view.unit.value,
        view.maximum,
    )


def _score_view(measure: Measure, score: engine.Score, rules: RuleSet, found: Figures) -> schemas.ScoreView:
    component = engine.parameters().components[measure.component]
    scoring = component.scoring[rules.id]
    numerator, denominator = found.measured[measure.numerator], found.measured[measure.denominator]
    why = (measure.why if score.ratio is not None else measure.why_empty).format(
        numerator=vietnamese(numerator),
        denominator=vietnamese(denominator),
        ratio="" if score.ratio is None else vietnamese(percent(score.ratio)),
        points="–" if score.points is None else vietnamese(score.points),
        max=vietnamese(score.max),
        given=_given_for_none(score),
    ) + found.remarks.get(component.id, "")
    return schemas.ScoreView(
        id=component.id,
        name=component.name,
        numerator=numerator,
        denominator=denominator,
        ratio=None if score.ratio is None else score.ratio.quantize(_RATIO, ROUND_HALF_UP),
        points=score.points,
        max=score.max,
        scaling=scoring.scaling,
        formula=scoring.formula,
        why=why,
        period_date=measure.period_date,
        provenance=provenance(scoring.provenance),
        counting=provenance(component.counting),
    )


def _given_for_none(score: engine.Score) -> str:
    """What the rule set gives where there is nothing to count."""
    if score.points is None:
        return "không có điểm (Cổng tính là 0 trong tổng nhóm)"
    return f"được {vietnamese(score.points)} trên {vietnamese(score.max)} điểm"


def _given(component: engine.Component, score: engine.Score, rules: RuleSet) -> schemas.ScoreView:
    scoring = component.scoring[rules.id]
    return schemas.ScoreView(
        id=component.id,
        name=component.name,
        numerator=None,
        denominator=None,
        ratio=None,
        points=score.points,
        max=score.max,
        scaling=scoring.scaling,
        formula=scoring.formula,
        why=f"Cổng không công bố tử số, mẫu số; đơn vị nào cũng được {vietnamese(score.max)} điểm.",
        period_date="–",
        provenance=provenance(scoring.provenance),
        counting=provenance(component.counting),
    )


def vietnamese(number: int | Decimal) -> str:
    """1234.5 → 1.234,5: how an officer writes numbers."""
    return f"{number:,}".translate(str.maketrans(",.", ".,"))


def period_view(period: Period, now: datetime) -> schemas.PeriodView:
    return schemas.PeriodView(key=period.key, start=period.start, end=period.end, running=now < period.end)


def coverage_view(
    scope: Scope, counts: Mapping[str, int], covered: coverage.Coverage, now: datetime
) -> schemas.CoverageView:
    """counts: dossiers, and by the copy that counts."""
    gaps = coverage.gaps(covered, Consumer.INDICATORS, until=min(now, scope.period.end), now=now)
    by_copy = {"provincial": counts["dossiers"]}
    if scope.basis is Basis.COUNTED:
        by_copy = {
            "national": counts["from_national"],
            "sent_confirmed": counts["from_sent_confirmed"],
            "sent_unconfirmed": counts["from_sent_unconfirmed"],
        }
        if unconfirmed := by_copy["sent_unconfirmed"]:
            sentence = (
                f"{vietnamese(unconfirmed)} hồ sơ tính theo bản tin đã gửi, chưa tra cứu được"
                " trên Cổng Dịch vụ công quốc gia."
            )
            gaps.append(coverage.Gap("national", covered.national_complete_through, sentence))
    return schemas.CoverageView(
        complete=not gaps,
        missing=[gap.sentence for gap in gaps],
        gaps=[schemas.GapView(**gap._asdict()) for gap in gaps],
        missing_since=min((gap.since for gap in gaps if gap.since is not None), default=None),
        by_copy=by_copy,
        pending_changes=covered.backlog[Consumer.INDICATORS].due,
        provincial_complete_through=covered.provincial_complete_through,
        national_complete_through=covered.national_complete_through,
        oldest_lookup_at=covered.oldest_lookup_at,
        lookups_waiting=bool(covered.lookups_waiting),
    )


ITEM_HEADER = (
    "Mã hồ sơ", "Mã đơn vị", "Đơn vị", "Mã thủ tục", "Thủ tục", "Đúng hạn", "Đã kết thúc",
    "Thời điểm kết thúc để so", "Hạn", "Lý do", "Thời gian giải quyết", "Đơn vị tính",
)  # fmt: skip


PROCEDURE_HEADER = ("Mã thủ tục", "Thủ tục", "Số hồ sơ", "Lý do")
LISTED_HEADER = ("Mã thủ tục", "Thủ tục", "Vì sao", "Ngày do hệ thống quan sát")


def listed(each: Judged) -> schemas.ProcedureItemView:
    """A procedure behind a figure of the catalogue."""
    return schemas.ProcedureItemView(
        code=each.listed.code,
        name=each.listed.name,
        dossiers=None,
        why=each.why,
        observed=each.observed,
    )


def procedure_item(each: ProcedureItem, measure: Measure, part: Part) -> schemas.ProcedureItemView:
    """A procedure behind a figure that counts procedures by their dossiers."""
    return schemas.ProcedureItemView(
        code=each.code,
        name=each.name,
        dossiers=each.dossiers,
        why=why_procedure(measure, part, each.dossiers),
    )


def item(each: Item, scope: Scope, units: UnitTree, component: str) -> schemas.ItemView:
    """component: whose list it is, and so what the sentence tells of."""
    took, unit = None, None
    if each.elapsed_seconds is not None and each.working_seconds is not None:
        unit, _ = unit_of(each.duration_unit)
        took = average(Handling(each.elapsed_seconds, each.working_seconds), 1, unit)
    return schemas.ItemView(
        code=each.code,
        unit_code=each.unit_code,
        unit_name=units.name(each.unit_code, scope.period.last_day),
        procedure_code=each.procedure_code or None,
        procedure_name=each.procedure_name,
        on_time=bool(each.bits & Bit.ON_TIME),
        done=bool(each.bits & Bit.DONE),
        undetermined=bool(each.bits & Bit.UNDETERMINED),
        complained=bool(each.bits & Bit.COMPLAINED),
        copy_counted=copy_counted(each.bits),
        reason=each.reason,
        why=_why(each, component),
        end_at=each.end_at,
        deadline_at=each.deadline_at,
        handling_time=took,
        handling_unit=unit,
    )


def _why(each: Item, component: str) -> str:
    if component not in (PROGRESS_ON_TIME.component, DOSSIER_SATISFIED.component):
        return tell(component, each.bits, each.procedure_facts).sentence
    judged = explain(each.reason, each.bits, each.end_at, each.deadline_at).vi
    if component == PROGRESS_ON_TIME.component:
        return judged
    return f"{explain_satisfaction(each.bits).vi} {judged}"


def item_row(each: Item, scope: Scope, units: UnitTree, component: str) -> tuple[object, ...]:
    """A row under ITEM_HEADER."""
    view = item(each, scope, units, component)
    return (
        view.code,
        view.unit_code,
        view.unit_name,
        view.procedure_code,
        view.procedure_name,
        "có" if view.on_time else "không",
        "có" if view.done else "không",
        view.end_at,
        view.deadline_at,
        view.why,
        view.handling_time,
        view.handling_unit and view.handling_unit.value,
    )


def copy_counted(bits: int) -> str:
    for bit, source in (
        (Bit.FROM_NATIONAL, Source.NATIONAL),
        (Bit.FROM_SENT_CONFIRMED, Source.SENT_CONFIRMED),
        (Bit.FROM_SENT_UNCONFIRMED, Source.SENT_UNCONFIRMED),
    ):
        if bits & bit:
            return source.value
    return Source.PROVINCIAL.value


def dossier(code: str, found: Assessed) -> schemas.DossierAssessmentView:
    bases = []
    for head in found.heads if found.assessed_at is not None else ():
        told = explain_source(head["source"])
        bases.append(
            schemas.DossierBasisView(
                basis=head["basis"],
                counted=head["source"] in COUNTED,
                source=head["source"],
                why=told.vi,
                citation=told.citation,
                open=head["open"],
                assessed_at=found.assessed_at,
                next_change_at=head["wake_at"],
                periods=[_dossier_period(row, head["basis"]) for row in found.periods_of(head["basis"])],
            )
        )
    return schemas.DossierAssessmentView(code=code, bases=bases)


def _dossier_period(row: object, basis: str) -> schemas.DossierPeriodView:
    values = dict(row)  # type: ignore[call-overload]
    bits = values["bits"]
    told = explain(values["reason"], bits, values["end_at"], values["deadline_at"])
    satisfaction = explain_satisfaction(bits)
    return schemas.DossierPeriodView(
        component="2.1",
        period=values["period"],
        unit_code=values["unit_code"],
        procedure_code=values["procedure_code"] or None,
        on_time=bool(bits & Bit.ON_TIME),
        done=bool(bits & Bit.DONE),
        undetermined=bool(bits & Bit.UNDETERMINED),
        reason=values["reason"],
        why=told.vi,
        citation=told.citation,
        end_at=values["end_at"],
        deadline_at=values["deadline_at"],
        satisfaction=schemas.SatisfactionView(
            satisfied=DOSSIER_SATISFIED.numerator.holds(bits),
            complained=bool(bits & Bit.COMPLAINED),
            why=satisfaction.vi,
            citation=satisfaction.citation,
        ),
        components=[
            schemas.DossierComponentView(**each._asdict())
            for each in tell_all(bits, values["procedure_facts"], basis, told)
        ],
    )
