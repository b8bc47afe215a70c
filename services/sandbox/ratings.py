"""What citizens thought, month by month (DongBoDanhGia, portals.md §1.3)."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date
from random import Random

from services.sandbox.facts import PROVINCE, offered, units
from services.sandbox.workdays import moment

Item = dict[str, object]
NAMELESS = 20
"""Every so many units are told by their name only."""


def ended_months(begin: int, at: int) -> list[tuple[int, int]]:
    """(year, month) of the months that have ended by `at`, from that of `begin` on."""
    day, today = moment(begin).date().replace(day=1), moment(at).date()
    found: list[tuple[int, int]] = []
    while (following := _next(day)) <= today:
        found.append((day.year, day.month))
        day = following
    return found


def _next(day: date) -> date:
    return date(day.year + day.month // 12, day.month % 12 + 1, 1)


def ratings(seed: int, year: int, month: int) -> Iterator[Item]:
    """The items of a month: two procedures of every unit, in the protocol's words."""
    for number, unit in enumerate(units()):
        if unit.code == PROVINCE:
            continue
        for procedure in offered(unit.code)[:2]:
            rng = Random(f"{seed} {unit.code} {procedure.code} {year}-{month}")  # noqa: S311
            best = rng.randint(30, 80)
            good = rng.randint(0, 100 - best)
            yield {
                "NgayTongHop": f"{month}-{year}",
                "TongSoNguoiDanhGia": str(rng.randint(3, 60)),
                "PhanTramDanhGia": {
                    "RatHaiLong": str(best),
                    "HaiLong": str(good),
                    "ChuaHaiLong": str(100 - best - good),
                },
                "MaThuTuc": procedure.code,
                "Madonvi": "" if number % NAMELESS == 7 else unit.code,
                "TenDonVi": unit.name,
            }
