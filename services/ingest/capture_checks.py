"""Whether what the portal published is consistent in itself (reporting-api.md §7, §11, §13). Pure.

A check that fails stops nothing: it is a fact beside the figures. Whether scores follow from their counts is not
asked here: that needs the rule sets, which are the indicators' (capture_score_check).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from decimal import ROUND_HALF_UP, Decimal
from typing import Any, NamedTuple
from uuid import UUID

from services.ingest.portals.reporting_messages import NATION, TOTAL, Figure, Report
from services.ingest.portals.reporting_requests import GROUPS, Endpoint

SHOWN = 20
"""Failures of one check that are told one by one."""
_CENT = Decimal("0.01")
PROVINCES = 34
PORTAL_FIELDS = {
    Endpoint.TRANSPARENCY: "CKMB",
    Endpoint.PROGRESS: "TDGQ",
    Endpoint.ONLINE_SERVICE: "CLGQ",
    Endpoint.ONLINE_PAYMENT: "TTTT",
    Endpoint.SATISFACTION: "MDHL",
    Endpoint.DIGITISATION: "MDSH",
}


class Named(NamedTuple):
    """A unit of the capture, and ours."""

    code: str | None
    name: str
    kind: str
    unit_code: str | None


class Earlier(NamedTuple):
    """An earlier complete capture of the same period: its figures, and the ids that it had for which codes."""

    figures: Mapping[tuple[str, UUID, str], tuple[int | None, int | None, Decimal | None]]
    codes: Mapping[UUID, str]


class Case(NamedTuple):
    """All that is checked. `known`: unit codes of ours that should be there. `earlier`: what this capture is held
    against; `ended`: the period had ended before both."""

    reports: Mapping[Endpoint, Report]
    units: Mapping[UUID, Named]
    known: frozenset[str]
    earlier: Earlier | None
    ended: bool


class Failure(NamedTuple):
    department_id: UUID | None
    what: str
    expected: object
    found: object


class Check(NamedTuple):
    """holds None: nothing to check it on."""

    code: str
    holds: bool | None
    checked: int
    failed: int
    detail: list[dict[str, Any]]


Outcome = Iterator[Failure | None]
"""None for each thing that is as it should be."""


def run(case: Case) -> list[Check]:
    """Every check, in a fixed order."""
    return [_result(code, check(case), case) for code, check in CHECKS.items()]


def _result(code: str, outcome: Outcome, case: Case) -> Check:
    checked, failures = 0, list[Failure]()
    for each in outcome:
        checked += 1
        if each is not None:
            failures.append(each)
    detail = [_told(each, case) for each in failures[:SHOWN]]
    return Check(code, None if checked == 0 else not failures, checked, len(failures), detail)


def _told(failure: Failure, case: Case) -> dict[str, Any]:
    unit = case.units.get(failure.department_id) if failure.department_id else None
    return {
        "department_id": None if failure.department_id is None else str(failure.department_id),
        "department_code": unit.code if unit else None,
        "unit_code": unit.unit_code if unit else None,
        "name": unit.name if unit else None,
        "what": failure.what,
        "expected": _plain(failure.expected),
        "found": _plain(failure.found),
    }


def _plain(value: object) -> object:
    return str(value) if isinstance(value, Decimal | UUID) else value


def _held(department_id: UUID | None, what: str, expected: object, found: object) -> Failure | None:
    return None if expected == found else Failure(department_id, what, expected, found)


def _by(report: Report) -> dict[UUID, dict[str, Figure]]:
    found: dict[UUID, dict[str, Figure]] = defaultdict(dict)
    for figure in report.figures:
        found[figure.department_id][figure.component] = figure
    return found


def missing_of(case: Case) -> dict[UUID, list[str]]:
    """By unit of the province: the endpoints that do not have it, of those that were understood. A unit that is
    not there is missing, never 0 (§7)."""
    found: dict[UUID, list[str]] = {}
    asked = [each for each in (Endpoint.PROVINCE, *GROUPS) if each in case.reports]
    has = {each: {row.department_id for row in case.reports[each].rows} for each in asked}
    for identity, unit in case.units.items():
        if unit.kind in ("department", "commune", "unknown"):
            found[identity] = [each.value for each in asked if identity not in has[each]]
    return found


def _national(case: Case) -> Outcome:
    """34 provinces, each with six groups whose sum is its total (34/34 [C])."""
    report = case.reports.get(Endpoint.NATIONAL)
    if report is None:
        return
    by = _by(report)
    yield _held(None, "số tỉnh, thành phố", PROVINCES, len(by) - (NATION in by))
    for identity, figures in by.items():
        if identity == NATION:
            continue
        parts = [figures[code].score for code in PORTAL_FIELDS.values() if code in figures]
        total = figures[TOTAL].score
        if len(parts) == len(PORTAL_FIELDS) and None not in parts:
            yield _held(identity, TOTAL, _sum(parts), total)
        else:
            yield Failure(identity, "số nhóm", len(PORTAL_FIELDS), sum(part is not None for part in parts))


def _sum(parts: Iterable[Decimal | None]) -> Decimal:
    return sum((part for part in parts if part is not None), Decimal(0))


def _radar(case: Case) -> Outcome:
    """The legal five: ONLINE_SERVICE is the sum of the two groups of online services, the five are the total."""
    report = case.reports.get(Endpoint.PROVINCE)
    if report is None or not report.rows:
        return
    root = report.rows[0].department_id
    figures = _by(report)[root]
    radar = [each.score for code, each in figures.items() if code.startswith("RADAR.")]
    if radar and None not in radar:
        yield _near(root, "RADAR", figures[TOTAL].score, _sum(radar))
    online = figures.get("RADAR.ONLINE_SERVICE")
    parts = [_total(case, each, root) for each in (Endpoint.ONLINE_SERVICE, Endpoint.ONLINE_PAYMENT)]
    if online is not None and None not in parts:
        yield _near(root, "RADAR.ONLINE_SERVICE", _sum(parts), online.score)


def _near(department_id: UUID, what: str, expected: Decimal | None, found: Decimal | None) -> Failure | None:
    """Equal but for a hundredth, which rounding twice may cost."""
    if expected is not None and found is not None and abs(expected - found) <= _CENT:
        return None
    return Failure(department_id, what, expected, found)


def _total(case: Case, endpoint: Endpoint, department_id: UUID) -> Decimal | None:
    report = case.reports.get(endpoint)
    if report is None:
        return None
    figure = _by(report).get(department_id, {}).get(TOTAL)
    return figure.score if figure else None


def _unit_totals(case: Case) -> Outcome:
    """A unit's total is the sum of its six groups, where all six have it (§11)."""
    report = case.reports.get(Endpoint.PROVINCE)
    if report is None or any(group not in case.reports for group in GROUPS):
        return
    by = {group: _by(case.reports[group]) for group in GROUPS}
    for identity, figures in _by(report).items():
        parts = [by[group].get(identity, {}).get(TOTAL) for group in GROUPS]
        scores = [part.score for part in parts if part is not None]
        if len(scores) == len(GROUPS) and None not in scores:
            yield _near(identity, TOTAL, _sum(scores), figures[TOTAL].score)


def _received(case: Case) -> Outcome:
    """E4, per child: received = on time + overdue."""
    for identity, figures in _progress(case):
        counts = figures[TOTAL].counts or {}
        received, on_time, overdue = (counts.get(n) for n in ("totalReceived", "totalOnTime", "totalOverdue"))
        if None not in (received, on_time, overdue):
            yield _held(identity, "totalReceived", on_time + overdue, received)  # type: ignore[operator]


def _progress(case: Case) -> Iterator[tuple[UUID, dict[str, Figure]]]:
    report = case.reports.get(Endpoint.PROGRESS)
    if report is not None:
        yield from _by(report).items()


def _children(case: Case) -> Outcome:
    """E4: what the children have received beside the parent's count. Units may act for others: a difference is
    recorded, not an error [U]."""
    counted = [(identity, figures[TOTAL].counts or {}) for identity, figures in _progress(case)]
    received = [counts.get("totalReceived") for _, counts in counted]
    if len(received) > 1 and None not in received:
        whole, *parts = (int(count) for count in received if count is not None)
        yield _held(counted[0][0], "totalReceived", whole, sum(parts))


def _ratios(case: Case) -> Outcome:
    """ratio = numerator / denominator × 100, half-up to two decimals, but for empty denominators."""
    for _, figure in _figures(case):
        if figure.numerator is not None and figure.denominator and figure.ratio is not None:
            expected = (Decimal(100 * figure.numerator) / figure.denominator).quantize(_CENT, ROUND_HALF_UP)
            yield _held(figure.department_id, figure.component, expected, figure.ratio.quantize(_CENT))


def _figures(case: Case) -> Iterator[tuple[Endpoint, Figure]]:
    for endpoint, report in case.reports.items():
        for figure in report.figures:
            yield endpoint, figure


def _bounds(case: Case) -> Outcome:
    """Nothing negative, no score above its maximum, no ratio above 100, no numerator above its denominator."""
    for _, figure in _figures(case):
        numbers = (figure.numerator, figure.denominator, figure.ratio, figure.score, figure.max_score)
        wrong: Failure | None = None
        if any(number is not None and number < 0 for number in numbers):
            wrong = Failure(figure.department_id, figure.component, "≥ 0", _least(numbers))
        elif _above(figure.score, figure.max_score):
            wrong = Failure(figure.department_id, figure.component, figure.max_score, figure.score)
        elif _above(figure.ratio, Decimal(100)):
            wrong = Failure(figure.department_id, figure.component, "≤ 100", figure.ratio)
        elif figure.numerator is not None and _above(figure.numerator, figure.denominator):
            wrong = Failure(figure.department_id, figure.component, figure.denominator, figure.numerator)
        yield wrong


def _least(numbers: Iterable[int | Decimal | None]) -> str:
    return str(min(number for number in numbers if number is not None))


def _above(value: int | Decimal | None, most: int | Decimal | None) -> bool:
    return value is not None and most is not None and value > most


def _inventory(case: Case) -> Outcome:
    """Every unit of the province stands in every endpoint."""
    for identity, missing in missing_of(case).items():
        yield Failure(identity, "thiếu trong nhóm", None, ", ".join(missing)) if missing else None


def _known(case: Case) -> Outcome:
    """The units are those that we know, and all of them."""
    if Endpoint.PROGRESS not in case.reports and Endpoint.PROVINCE not in case.reports:
        return
    told = {unit.unit_code for unit in case.units.values()}
    for code in sorted(case.known):
        yield None if code in told else Failure(None, "đơn vị không có trong số liệu", code, None)
    for identity, unit in case.units.items():
        if unit.kind in ("department", "commune", "unknown") and unit.unit_code is None:
            yield Failure(identity, "đơn vị chưa biết", None, unit.code or unit.name)


def _ids(case: Case) -> Outcome:
    """One id for one code, in this capture and as in the one before."""
    by_code: dict[str, set[UUID]] = defaultdict(set)
    before = {} if case.earlier is None else {code: identity for identity, code in case.earlier.codes.items()}
    for identity, unit in case.units.items():
        if unit.code is not None:
            by_code[unit.code].add(identity)
    for code, found in by_code.items():
        first = next(iter(found))
        if len(found) > 1:
            yield Failure(first, "một mã nhiều định danh", 1, len(found))
        else:
            yield _held(first, code, before.get(code, first), first)


def _rows(case: Case) -> Outcome:
    """The flat lists say how many rows there are: all came in one page."""
    for endpoint, report in case.reports.items():
        if report.total is not None:
            yield _held(None, endpoint.value, report.total, len(report.rows) - 1)


def _restated(case: Case) -> Outcome:
    """Of an ended period nothing moves any more; in a running one no count of dossiers falls."""
    if case.earlier is None:
        return
    for endpoint, figure in _figures(case):
        before = case.earlier.figures.get((endpoint.value, figure.department_id, figure.component))
        if before is None:
            continue
        now = (figure.numerator, figure.denominator, figure.score)
        if case.ended:
            moved = before != now
        else:
            moved = (
                before[1] is not None and figure.denominator is not None and figure.denominator < before[1]
            )
            moved = moved and endpoint is Endpoint.PROGRESS
        what = f"{endpoint.value} {figure.component}"
        yield Failure(figure.department_id, what, _counted(before), _counted(now)) if moved else None


def _counted(values: tuple[int | None, int | None, Decimal | None]) -> str:
    numerator, denominator, score = ("–" if value is None else str(value) for value in values)
    return f"{numerator}/{denominator} → {score}"


CHECKS: Mapping[str, Callable[[Case], Outcome]] = {
    "national_totals": _national,
    "radar": _radar,
    "unit_totals": _unit_totals,
    "received": _received,
    "children_sum": _children,
    "ratios": _ratios,
    "bounds": _bounds,
    "inventory": _inventory,
    "units_known": _known,
    "ids": _ids,
    "rows": _rows,
    "restated": _restated,
}
"""By code, as it is stored; docs/glossary.md and services/reconcile say what each means."""
