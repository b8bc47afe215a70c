"""Petitions → the shapes of the answers. No I/O."""

from __future__ import annotations

from services.indicators import petition_schemas as shapes
from services.indicators import schemas
from services.indicators.answers import provenance, vietnamese
from services.indicators.petitions import Ratings
from services.indicators.rules import engine
from services.indicators.rules.engine import PetitionLimits, RuleSet
from services.indicators.rules.measures import PETITION_KINDS
from services.indicators.rules.petitions import Counts, Judged, explain
from services.indicators.rules.units import UnitTree
from shared.calendar import Period


def kinds(counts: Counts, found: Ratings, rules: RuleSet) -> schemas.PetitionsView:
    """5.1, and what people thought."""
    component = engine.parameters().components[PETITION_KINDS.component]
    why = PETITION_KINDS.why if counts.petitions else PETITION_KINDS.why_empty
    return schemas.PetitionsView(
        id=component.id,
        name=component.name,
        petitions=counts.petitions,
        procedure=counts.procedure,
        staff=counts.staff,
        other=counts.other,
        why=why.format(
            denominator=vietnamese(counts.petitions),
            procedure=vietnamese(counts.procedure),
            staff=vietnamese(counts.staff),
            other=vietnamese(counts.other),
        ),
        period_date=PETITION_KINDS.period_date,
        ratings=schemas.RatingsView(**found._asdict()),
        provenance=provenance(component.scoring[rules.id].provenance),
        counting=provenance(component.counting),
    )


def item(each: Judged, period: Period, units: UnitTree, limits: PetitionLimits) -> shapes.PetitionItemView:
    petition, judgement = each.petition, each.judgement
    return shapes.PetitionItemView(
        code=petition.code,
        unit_code=each.unit_code,
        unit_name=units.name(each.unit_code, period.last_day),
        kind=petition.kind,
        dossier_code=petition.dossier_code,
        sent_at=petition.sent_at,
        received_at=petition.received_at,
        on_time=judgement.on_time,
        satisfied=judgement.satisfied,
        disliked=judgement.disliked,
        repeated=judgement.repeated,
        duty=judgement.duty,
        end_at=judgement.end_at,
        deadline_at=judgement.deadline_at,
        why=explain(petition, judgement),
        citation=limits.provenance.source,
    )


HEADER = (
    "Mã phản ánh, kiến nghị", "Mã đơn vị", "Đơn vị", "Loại", "Mã hồ sơ", "Thời điểm gửi", "Tiếp nhận lần đầu",
    "Đúng hạn", "Hài lòng", "Hạn", "Lý do",
)  # fmt: skip


def row(view: shapes.PetitionItemView) -> tuple[object, ...]:
    """A row under HEADER."""
    return (
        view.code, view.unit_code, view.unit_name, view.kind, view.dossier_code, view.sent_at, view.received_at,
        "có" if view.on_time else "không", "có" if view.satisfied else "không", view.deadline_at, view.why,
    )  # fmt: skip
