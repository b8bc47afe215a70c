"""1.4: dossiers that the nation has, against the number of the national reporting system (BCQG). Pure.

Rule (indicators.md §3, from an unsigned description of the 766 formulas; words read, author not verified):

    Hồ sơ đồng bộ có NgayTiepNhan trong kỳ / số lớn hơn giữa số trên BCQG và số trên Cổng. Cả hai bằng 0: số cả năm
    trước trên BCQG / 12 (tháng), / 4 (quý), × 1 (năm); không có → 0.

The count on the portal is here that of the dossiers which the nation is known to have: so it is never more than 100 %.
"""

from __future__ import annotations

from collections.abc import Mapping

from shared.calendar import Period, PeriodKind

_PARTS: Mapping[PeriodKind, int] = {"month": 12, "quarter": 4, "year": 1}


def to_be_synced(synced: int, reported: int, last_year: int | None, period: Period) -> int:
    """The denominator. last_year: BCQG's number of the whole year before, None where it is not known; half a dossier
    counts as one."""
    parts = _PARTS[period.kind]
    return max(synced, reported) or (2 * (last_year or 0) + parts) // (2 * parts)


def year_before(period: Period) -> str:
    """The key of the year before a period's."""
    return Period.parse(str(period.year)).previous().key
