"""What the reporting API answers (reporting-api.md §4–9). Pure.

Unknown keys are passed over, wrong types never: a body is understood as a whole or not at all (ReportInvalid). A
field that is null, one that is 0 and one that is not there are three things (Given). The wire names stand here
only; texts of a body go no further than names, codes and the portal's own word for data quality.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from decimal import Decimal
from typing import Any, NamedTuple, TypeVar
from uuid import UUID

import msgspec
from msgspec import UNSET, UnsetType

from services.ingest.portals.reporting_requests import Endpoint
from services.ingest.portals.reporting_shapes import (
    Count,
    Envelope,
    Metrics,
    Node,
    Number,
    Results,
    Text,
    Tree,
)
from shared.vocabulary import Given

PARSER = "reporting-1"
"""Version of this reading, kept with what it read. A change of what a body means to us is a new one."""
TOTAL = "TOTAL"
"""The component under which an endpoint's own sum stands."""
NATION = UUID(int=0)
"""Stands for the country, which has no id."""
LARGEST = 10**9
"""Of a score or ratio; anything above is no figure."""


class ReportInvalid(Exception):
    """A body that is not what its endpoint promises. `reason`: not_json, envelope, not_ok or shape; `where`: the
    path in the body, without any value."""

    def __init__(self, reason: str, where: str = "") -> None:
        super().__init__(f"{reason} {where}".strip())
        self.reason, self.where = reason, where


class Row(NamedTuple):
    """A unit as a body names it. kind: nation, province, department, commune or unknown."""

    department_id: UUID
    code: str | None
    name: str
    kind: str


class Figure(NamedTuple):
    """`given` says which of the next five the body had. `counts`: further counts, by the portal's names."""

    department_id: UUID
    component: str
    given: int
    numerator: int | None = None
    denominator: int | None = None
    ratio: Decimal | None = None
    score: Decimal | None = None
    max_score: Decimal | None = None
    data_quality: str | None = None
    counts: dict[str, Any] | None = None


class Report(NamedTuple):
    """A body as it was understood. `total`: rows that the portal says there are."""

    rows: list[Row]
    figures: list[Figure]
    source: str | None
    total: int | None


Shape = TypeVar("Shape")


def read(endpoint: Endpoint, body: bytes, *, root: UUID | None = None) -> Report:
    """What a body says. `root`: whose overview it is, where the overview tells no id. Raises ReportInvalid, and
    nothing else."""
    try:
        envelope = msgspec.json.decode(body, type=Envelope)
    except msgspec.ValidationError as error:
        raise ReportInvalid("envelope", _path(error)) from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise ReportInvalid("not_json") from None
    if envelope.code != "OK":
        raise ReportInvalid("not_ok", "code")
    report = _READERS[endpoint](bytes(envelope.data), root)
    _check(report)
    return report


def _decoded(data: bytes, shape: type[Shape]) -> Shape:
    try:
        return msgspec.json.decode(data, type=shape)
    except msgspec.ValidationError as error:
        raise ReportInvalid("shape", _path(error)) from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise ReportInvalid("not_json") from None


def _path(error: msgspec.ValidationError) -> str:
    """Where it is wrong: of the message only the path, for the rest could hold a value."""
    _, found, path = str(error).rpartition("at `")
    return path.rstrip("`") if found else "$"


def _check(report: Report) -> None:
    """What no type says: units and components once, texts that can be kept, numbers that are figures."""
    ids = [row.department_id for row in report.rows]
    if len(set(ids)) != len(ids):
        raise ReportInvalid("shape", "departmentId: twice")
    keys = {(each.department_id, each.component) for each in report.figures}
    if len(keys) != len(report.figures):
        raise ReportInvalid("shape", "metrics: a code twice")
    texts: list[str | None] = [report.source]
    for row in report.rows:
        texts += (row.code, row.name)
    for each in report.figures:
        texts += (each.component, each.data_quality)
        for count in (each.numerator, each.denominator, *(each.counts or {}).values()):
            if count is not None and not -LARGEST * LARGEST < count < LARGEST * LARGEST:
                raise ReportInvalid("shape", "a count that cannot be")
        for number in (each.ratio, each.score, each.max_score):
            if number is not None and not -LARGEST < number < LARGEST:
                raise ReportInvalid("shape", "a number that cannot be")
    if any(text is not None and ("\0" in text or len(text) > 500) for text in texts):
        raise ReportInvalid("shape", "a text that cannot be")


def _told(value: Any) -> Any:
    return None if value is UNSET else value


def _decimal(value: Number) -> Decimal | None:
    """As it was written: the shortest decimal that is this number."""
    if value is None or isinstance(value, UnsetType):
        return None
    return Decimal(int(value)) if float(value).is_integer() else Decimal(repr(value))


def _figure(
    department_id: UUID,
    component: str,
    *,
    numerator: Count = UNSET,
    denominator: Count = UNSET,
    ratio: Number = UNSET,
    score: Number = UNSET,
    max_score: Number = UNSET,
    data_quality: Text = UNSET,
    counts: dict[str, Any] | None = None,
) -> Figure:
    fields = (numerator, denominator, ratio, score, max_score)
    given = sum(int(bit) for bit, value in zip(Given, fields, strict=True) if value is not UNSET)
    return Figure(
        department_id,
        component,
        given,
        _told(numerator),
        _told(denominator),
        _decimal(ratio),
        _decimal(score),
        _decimal(max_score),
        _told(data_quality),
        counts or None,
    )


def _name(text: str) -> str:
    """Without the newline that some names end with (§15, trap 23)."""
    return " ".join(text.split())


def _code(text: Text) -> str | None:
    return text.strip() if isinstance(text, str) and text.strip() else None


_KINDS = {
    "PROVINCE": "department",  # of a child of a tree: the level at which a department works
    "AGENCY": "department",
    "PROVINCIAL_DEPARTMENT": "department",
    "COMMUNE": "commune",
    "COMMUNE_PEOPLE_COMMITTEE": "commune",
}


def _kind(text: Text) -> str:
    return _KINDS.get(text, "unknown") if isinstance(text, str) else "unknown"


def _results(data: bytes, root: UUID | None) -> Report:
    """E0n and E0p: totals, the legal five groups, and by province the six."""
    found = _decoded(data, Results)
    head = found.overview
    of_province = root is not None
    top = head.department_id or root or NATION
    rows = [
        Row(top, _code(head.department_code), _name(head.department_name), "province" if root else "nation")
    ]
    figures = [
        _figure(top, TOTAL, score=head.total_score, max_score=head.total_max_score, ratio=head.ratio),
        *(
            _figure(top, f"RADAR.{each.code}", score=each.score, max_score=each.max_score, ratio=each.ratio)
            for each in found.radar
        ),
    ]
    for unit in found.evaluation:
        kind = _kind(unit.child_group) if of_province else "province"
        rows.append(Row(unit.department_id, _code(unit.department_code), _name(unit.department_name), kind))
        figures.append(
            _figure(
                unit.department_id,
                TOTAL,
                score=unit.total_score,
                max_score=unit.total_max_score,
                ratio=unit.ratio,
            )
        )
        groups = _told(unit.group_scores) or {}
        figures += [_figure(unit.department_id, group, score=score) for group, score in groups.items()]
    return Report(rows, figures, None, None)


def _metrics(data: bytes, root: UUID | None) -> Report:
    """E1, E2, E3: rows with metrics."""
    found = _decoded(data, Metrics)
    rows: list[Row] = []
    figures: list[Figure] = []
    for place, each in enumerate([found.overview, *found.evaluation]):
        department = each.department_id or (root if place == 0 else None)
        if department is None:
            raise ReportInvalid("shape", "departmentId: missing")
        kind = "province" if place == 0 else _kind(each.department_type)
        rows.append(Row(department, _code(each.department_code), _name(each.department_name), kind))
        counts = _counts(
            totalPetitions=each.total_petitions,
            classifiedPetitions=each.classified_petitions,
            totalDossiers=each.total_dossiers,
            averageScore=each.average_score,
        )
        figures.append(
            _figure(
                department,
                TOTAL,
                score=each.total_score,
                max_score=each.total_max_score,
                ratio=each.ratio,
                counts=counts,
            )
        )
        figures += [
            _figure(
                department,
                metric.code,
                numerator=metric.numerator,
                denominator=metric.denominator,
                ratio=metric.ratio,
                score=metric.score,
                max_score=metric.max_score,
                data_quality=metric.data_quality_status,
            )
            for metric in each.metrics
        ]
    return Report(rows, figures, found.source, found.pagination.total if found.pagination else None)


def _counts(**found: Any) -> dict[str, Any]:
    return {name: value for name, value in found.items() if value is not UNSET}


def _tree(components: Callable[[Node], Iterator[Figure]]) -> Callable[[bytes, UUID | None], Report]:
    """E4, E5, E6: a parent and its children; `components` reads what is special in a node."""

    def reader(data: bytes, root: UUID | None) -> Report:
        found = _decoded(data, Tree)
        rows: list[Row] = []
        figures: list[Figure] = []
        for place, node in enumerate([found.parent, *found.children]):
            kind = "province" if place == 0 else _kind(node.level)
            rows.append(
                Row(node.department_id, _code(node.department_code), _name(node.department_name), kind)
            )
            figures.append(
                _figure(
                    node.department_id,
                    TOTAL,
                    score=_score(node),
                    max_score=_max(node),
                    ratio=node.ratio,
                    counts=_counts(**{wire: getattr(node, name) for name, wire in _COUNTS.items()}),
                )
            )
            figures += components(node)
        return Report(rows, figures, None, None)

    return reader


def _score(node: Node) -> Number:
    return node.score if node.total_score is UNSET else node.total_score


def _max(node: Node) -> Number:
    return node.max_score if node.total_max_score is UNSET else node.total_max_score


_COUNTS = {
    field.name: field.encode_name
    for field in msgspec.structs.fields(Node)
    if field.name.startswith(("total_", "avg_", "authority_", "partial_", "full_", "online_", "channel_"))
    and field.name not in ("total_score", "total_max_score")
}


def _progress(node: Node) -> Iterator[Figure]:
    yield _figure(
        node.department_id,
        "PROGRESS_ON_TIME",
        numerator=node.total_on_time,
        denominator=node.total_received,
        ratio=node.ratio,
        score=_score(node),
        max_score=_max(node),
    )


def _online_service(node: Node) -> Iterator[Figure]:
    """Only a parent has counts; no component has a score of its own."""
    offered: Count = UNSET
    if isinstance(node.partial_count, int) and isinstance(node.full_count, int):
        offered = node.partial_count + node.full_count
    elif node.partial_count is not UNSET or node.full_count is not UNSET:
        offered = None
    for component, numerator, denominator in (
        ("PROVIDE_ONLINE", offered, node.authority_count),
        ("ONLINE_SERVICE_USED", node.online_dossier_count, node.online_service_total),
        ("ONLINE_SUBMISSION", node.channel_online_sum, node.channel_total_sum),
    ):
        yield _figure(node.department_id, component, numerator=numerator, denominator=denominator)


def _online_payment(node: Node) -> Iterator[Figure]:
    for component, numerator, denominator in (
        (
            "PAYMENT_DOSSIER",
            node.total_dossier_online_payment_success,
            node.total_dossier_financial_obligation,
        ),
        (
            "PAYMENT_TTHC_TRANSACTION",
            node.total_dossier_online_formality_payment_success,
            node.total_fee_dossier_formality_distinct,
        ),
        ("PAYMENT_TTHC_INTEGRATED", node.total_fee_dossier_formality, node.total_fee_formality),
    ):
        yield _figure(node.department_id, component, numerator=numerator, denominator=denominator)


_READERS: Mapping[Endpoint, Callable[[bytes, UUID | None], Report]] = {
    Endpoint.NATIONAL: lambda data, root: _results(data, None),
    Endpoint.PROVINCE: _results,
    Endpoint.TRANSPARENCY: _metrics,
    Endpoint.PROGRESS: _tree(_progress),
    Endpoint.ONLINE_SERVICE: _tree(_online_service),
    Endpoint.ONLINE_PAYMENT: _tree(_online_payment),
    Endpoint.DIGITISATION: _metrics,
    Endpoint.SATISFACTION: _metrics,
}


def root_of(report: Report, code: str) -> UUID | None:
    """The id of a province in a national answer."""
    found = (row.department_id for row in report.rows if row.code == code and row.kind == "province")
    return next(found, None)
