"""The shapes of the reporting API's answers, field by field (reporting-api.md §4). Pure.

A field that is null, one that is 0 and one that is not there are three things: hence UNSET. Any further key is
passed over; a number that comes as a text, or a count with decimals, is refused.
"""

from __future__ import annotations

from uuid import UUID

import msgspec
from msgspec import UNSET, UnsetType

Number = float | None | UnsetType
Count = int | None | UnsetType
Text = str | None | UnsetType


class _Struct(msgspec.Struct, rename="camel"):
    """Any further key is passed over."""


class Envelope(msgspec.Struct):
    code: str
    data: msgspec.Raw


class Head(_Struct):
    department_name: str
    total_score: Number = UNSET
    total_max_score: Number = UNSET
    ratio: Number = UNSET
    department_id: UUID | None = None
    department_code: Text = UNSET


class Radar(_Struct):
    code: str
    score: Number = UNSET
    max_score: Number = UNSET
    ratio: Number = UNSET


class Unit(_Struct):
    department_id: UUID
    department_name: str
    department_code: Text = UNSET
    total_score: Number = UNSET
    total_max_score: Number = UNSET
    ratio: Number = UNSET
    child_group: Text = UNSET
    group_scores: dict[str, float | None] | UnsetType | None = UNSET


class Results(_Struct):
    overview: Head
    evaluation: list[Unit]
    radar: list[Radar] = []


class Metric(_Struct):
    code: str
    numerator: Count = UNSET
    denominator: Count = UNSET
    ratio: Number = UNSET
    score: Number = UNSET
    max_score: Number = UNSET
    data_quality_status: Text = UNSET


class MetricRow(_Struct):
    department_name: str
    metrics: list[Metric]
    department_id: UUID | None = None
    department_code: Text = UNSET
    department_type: Text = UNSET
    total_score: Number = UNSET
    total_max_score: Number = UNSET
    ratio: Number = UNSET
    total_petitions: Count = UNSET
    classified_petitions: Count = UNSET
    total_dossiers: Count = UNSET
    average_score: Number = UNSET


class Pagination(_Struct):
    total: int | None = None


class Metrics(_Struct):
    overview: MetricRow
    evaluation: list[MetricRow]
    pagination: Pagination | None = None
    source: str | None = None


class Node(_Struct):
    """A parent has totalScore and totalMaxScore; a child of E4 has score and maxScore instead (§15, trap 4)."""

    department_id: UUID
    department_name: str
    department_code: Text = UNSET
    level: Text = UNSET
    total_score: Number = UNSET
    total_max_score: Number = UNSET
    score: Number = UNSET
    max_score: Number = UNSET
    ratio: Number = UNSET
    total_received: Count = UNSET
    total_on_time: Count = UNSET
    total_overdue: Count = UNSET
    total_completed: Count = UNSET
    avg_processing_days: Number = UNSET
    authority_count: Count = UNSET
    partial_count: Count = UNSET
    full_count: Count = UNSET
    online_dossier_count: Count = UNSET
    online_service_total: Count = UNSET
    channel_online_sum: Count = UNSET
    channel_direct_sum: Count = UNSET
    channel_postal_sum: Count = UNSET
    channel_total_sum: Count = UNSET
    online_on_time_sum: Count = UNSET
    online_overdue_sum: Count = UNSET
    total_dossier_online_payment_success: Count = UNSET
    total_dossier_financial_obligation: Count = UNSET
    total_dossier_online_formality_payment_success: Count = UNSET
    total_fee_dossier_formality_distinct: Count = UNSET
    total_fee_dossier_formality: Count = UNSET
    total_fee_formality: Count = UNSET


class Tree(_Struct):
    parent: Node
    children: list[Node]
