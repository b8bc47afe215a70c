"""The papers of a dossier: files, results, payment, identity; and the units whose adapter tells them falsely.

Each unit has rates of its own (by seed), far from none and from all, so that a flag that never varies over a month is
an adapter's and not a unit's. `TOLD_FALSELY` is what one client's code does for all dossiers of a unit (portals.md §1.9
rows 6, 7, 9); the province itself holds the truth.
"""

from __future__ import annotations

from functools import cache
from random import Random
from typing import NamedTuple

from services.sandbox.facts import Procedure, Unit
from services.sandbox.features import has_result

LEAST, MOST = 0.30, 0.60
"""Between these lies each rate of a unit."""
NO_FILE = 0.05  # dossiers of which no component was scanned
FREE = 0.08  # of the dossiers with a fee: exempt, every price 0
NO_CODE = 0.10  # of the results: a file without its code
NO_RESULT = 0.25  # of the finished dossiers with a result paper: no file of it

CONSTANT, REUSED, CASH = "flag_constant", "reuse_forced", "cash_counted_online"
TOLD_FALSELY: dict[str, str] = {
    "H31.902": CONSTANT,
    "H31.135": CONSTANT,
    "H31.09": REUSED,
    "H31.136": REUSED,
    "H31.10": CASH,
    "H31.137": CASH,
}
"""Unit → what its adapter does: NgayNopHoSo = NgayTiepNhan, VNeID 0, MaCSDL 7 and DuocSoHoa 1 whatever there is; the
first component forced to DuocTaiSuDung 1; every paid fee told as paid online."""


class Papers(NamedTuple):
    """`reused`: DuocTaiSuDung. `paid`: DuocThanhToanTrucTuyen, once a fee has been paid. `free`: exempt of the fee.
    `result`, told when the dossier is done: "" no file, "link", "coded" (with MaGiayToKetQua), "submitted" (the first
    submitted file, as row 8 has it)."""

    files: int
    digitised: bool
    reused: int
    from_store: bool
    vneid: bool
    population: bool
    paid: int
    free: bool
    result: str


NONE = Papers(0, False, 0, False, False, False, 0, False, "")


class _Rates(NamedTuple):
    digitised: float
    reused: float
    from_store: float
    vneid: float
    population: float
    paid_online: float


@cache
def rates(seed: int, unit_code: str) -> _Rates:
    rng = Random(f"papers:{seed}:{unit_code}")  # noqa: S311
    return _Rates(*(rng.uniform(LEAST, MOST) for _ in _Rates._fields))


def draw(rng: Random, seed: int, unit: Unit, procedure: Procedure) -> Papers:
    """What is true of one dossier. Always the same number of draws."""
    mine = rates(seed, unit.code)
    drawn = [rng.random() for _ in range(10)]
    paid = 1 + (drawn[6] >= mine.paid_online * 0.6) if drawn[6] < mine.paid_online else 3
    result = "" if drawn[8] < NO_RESULT else "link" if drawn[9] < NO_CODE else "coded"
    return Papers(
        files=0 if drawn[0] < NO_FILE else 1 + int(drawn[0] * 3),
        digitised=drawn[1] < mine.digitised,
        reused=0 if drawn[2] >= mine.reused else 1 if drawn[2] < mine.reused * 0.7 else 2,
        from_store=drawn[3] < mine.from_store,
        vneid=drawn[4] < mine.vneid,
        population=drawn[5] < mine.population,
        paid=paid if procedure.fee else 0,
        free=bool(procedure.fee) and drawn[7] < FREE,
        result=result if has_result(procedure) else "",
    )


def told(unit: Unit, papers: Papers) -> Papers:
    """What a unit's adapter makes of them."""
    fault = TOLD_FALSELY.get(unit.code)
    if fault == CONSTANT:
        return papers._replace(vneid=False, population=True, digitised=True)
    if fault == REUSED:
        return papers._replace(reused=1, files=max(papers.files, 1))
    if fault == CASH and papers.paid:
        return papers._replace(paid=1)
    return papers
