"""Reads of the numbers that people handed in of the national reporting system (BCQG), and 1.4 with them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import NamedTuple

from sqlalchemy.ext.asyncio import AsyncSession

from services.indicators.boards import Place
from services.indicators.queries import Figures
from services.indicators.rules.measures import DOSSIER_SYNC
from services.indicators.rules.reports import to_be_synced, year_before
from shared.calendar import TZ, Period
from shared.db import driver
from shared.vocabulary import Basis, ReportSource

_SOURCES = {
    ReportSource.SCREEN: "đọc trên màn hình hệ thống",
    ReportSource.FILE: "tệp do hệ thống kết xuất",
    ReportSource.LETTER: "văn bản",
}
_NONE = (
    "Chưa có số hồ sơ của đơn vị trong kỳ này trên Hệ thống báo cáo Chính phủ (BCQG) nên chưa tính được; Trung tâm nhập"
    " bằng POST /v1/reporting-counts."
)
_OTHER_BASIS = (
    "Chỉ tính theo bản ghi của Cổng Dịch vụ công quốc gia: bản ghi của tỉnh không cho biết Cổng có hồ sơ nào."
)


class Reported(NamedTuple):
    id: int
    number: int
    source: str
    given_at: datetime


async def given(
    session: AsyncSession, *, units: Sequence[str], periods: Sequence[Period]
) -> dict[Place, Reported]:
    """The newest number of each of the units in each of the periods, and in the years before them."""
    keys = sorted({key for period in periods for key in (period.key, year_before(period))})
    rows = await (await driver(session)).fetch(
        "SELECT DISTINCT ON (unit_code, period) unit_code, period, id, count, source, given_at FROM reporting_count"
        " WHERE unit_code = ANY($1::text[]) AND period = ANY($2::text[]) ORDER BY unit_code, period, id DESC",
        list(units),
        keys,
    )
    return {Place(*row[:2]): Reported(*row[2:]) for row in map(tuple, rows)}


def added(
    figures: Figures, reported: Mapping[Place, Reported], *, unit: str, period: Period, basis: Basis
) -> Figures:
    """With 1.4, or why it cannot be told. What changes a number changes the version."""
    component = DOSSIER_SYNC.component
    mine = reported.get(Place(unit, period.key))
    if mine is None or basis is not Basis.COUNTED:
        why = _NONE if basis is Basis.COUNTED else _OTHER_BASIS
        return replace(figures, uncounted={**figures.uncounted, component: why})
    before = reported.get(Place(unit, year_before(period)))
    synced = figures.measured[DOSSIER_SYNC.numerator]
    whole = to_be_synced(synced, mine.number, before and before.number, period)
    version = f"{figures.version} {mine.id} {before and before.id}"
    return replace(
        figures,
        measured={**figures.measured, DOSSIER_SYNC.denominator: whole},
        remarks={**figures.remarks, component: _remark(mine, before, synced)},
        as_of=max(filter(None, (figures.as_of, mine.given_at, before and before.given_at))),
        version=version,
    )


def _remark(mine: Reported, before: Reported | None, synced: int) -> str:
    told = (
        f" Số trên BCQG: {mine.number} ({_SOURCES[ReportSource(mine.source)]}, nhập ngày"
        f" {mine.given_at.astimezone(TZ):%d/%m/%Y}); mẫu số là số lớn hơn giữa số đó và số trên Cổng ({synced})."
    )
    if not (mine.number or synced) and before is not None:
        told += f" Cả hai bằng 0 nên lấy theo số cả năm trước trên BCQG ({before.number})."
    return told
