"""The invariants of a capture, on small bodies of our own."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from uuid import UUID

from services.ingest import capture_checks
from services.ingest.capture_checks import Case, Check, Earlier, Named
from services.ingest.portals.reporting_messages import NATION, TOTAL, Figure, Report, Row
from services.ingest.portals.reporting_requests import GROUPS, Endpoint

ROOT, UNIT, OTHER = UUID(int=1), UUID(int=2), UUID(int=3)
NAMES = {
    ROOT: Named("H31", "UBND tỉnh", "province", "H31"),
    UNIT: Named("H31.16", "Sở Công Thương", "department", "H31.16"),
    OTHER: Named("H31.135", "UBND phường Phố Hiến", "commune", "H31.135"),
}


def figure(unit: UUID, component: str = TOTAL, **values: object) -> Figure:
    numbers = {
        name: Decimal(str(value)) for name, value in values.items() if name in ("score", "ratio", "max_score")
    }
    return Figure(unit, component, 31)._replace(**(values | numbers))  # type: ignore[arg-type]


def report(
    *figures: Figure, units: tuple[UUID, ...] = (ROOT, UNIT, OTHER), total: int | None = None
) -> Report:
    rows = [Row(each, NAMES[each].code if each in NAMES else None, "x", "unknown") for each in units]
    return Report(rows, list(figures), None, total)


@dataclass
class Given:
    """A capture in which everything holds."""

    reports: dict[Endpoint, Report] = field(default_factory=dict)
    units: Mapping[UUID, Named] = field(default_factory=lambda: dict(NAMES))
    known: frozenset[str] = frozenset({"H31.16", "H31.135"})
    earlier: Earlier | None = None
    ended: bool = True

    def __post_init__(self) -> None:
        for group in GROUPS:
            self.reports.setdefault(
                group, report(*(figure(each, score=10, max_score=20) for each in NAMES), total=2)
            )
        self.reports.setdefault(
            Endpoint.PROVINCE, report(*(figure(each, score=60, max_score=100) for each in NAMES))
        )

    def check(self, code: str) -> Check:
        found = capture_checks.run(Case(self.reports, self.units, self.known, self.earlier, self.ended))
        return next(each for each in found if each.code == code)

    def codes(self) -> dict[str, bool | None]:
        found = capture_checks.run(Case(self.reports, self.units, self.known, self.earlier, self.ended))
        return {each.code: each.holds for each in found}


def test_a_capture_in_which_everything_holds() -> None:
    found = Given().codes()
    assert set(found) == set(capture_checks.CHECKS)
    assert False not in found.values()
    assert found["national_totals"] is None, "it did not come"
    assert found["unit_totals"] is True


def test_nothing_at_all_fails_nothing() -> None:
    found = capture_checks.run(Case({}, {}, frozenset({"H31.16"}), None, False))
    assert {each.holds for each in found} == {None}


def test_national_totals() -> None:
    parts = [figure(ROOT, code, score=10) for code in ("CKMB", "TDGQ", "CLGQ", "TTTT", "MDHL", "MDSH")]
    country = figure(NATION, score=56)
    right = report(country, figure(ROOT, score=60), *parts)
    check = Given({Endpoint.NATIONAL: right}).check("national_totals")
    assert (check.holds, check.checked, check.failed) == (False, 2, 1)
    assert (check.detail[0]["expected"], check.detail[0]["found"]) == (34, 1)
    wrong = Given({Endpoint.NATIONAL: report(country, figure(ROOT, score=61), *parts)}).check(
        "national_totals"
    )
    assert wrong.detail[1] == {
        "department_id": str(ROOT), "department_code": "H31", "unit_code": "H31", "name": "UBND tỉnh",
        "what": TOTAL, "expected": "60", "found": "61",
    }  # fmt: skip
    fewer = Given({Endpoint.NATIONAL: report(country, figure(ROOT, score=50), *parts[1:])}).check(
        "national_totals"
    )
    assert (fewer.detail[1]["expected"], fewer.detail[1]["found"]) == (6, 5)


def test_a_unit_s_total_is_the_sum_of_its_groups_but_for_a_hundredth() -> None:
    for total, holds in ((60, True), ("60.01", True), ("59.98", False)):
        figures = [figure(ROOT, score=60), figure(UNIT, score=total), figure(OTHER, score=60)]
        assert Given({Endpoint.PROVINCE: report(*figures)}).check("unit_totals").holds is holds


def test_the_radar() -> None:
    def radar(online: object) -> Given:
        figures = [figure(ROOT, score=60), figure(ROOT, "RADAR.CKMB", score=40)]
        return Given(
            {Endpoint.PROVINCE: report(*figures, figure(ROOT, "RADAR.ONLINE_SERVICE", score=online))}
        )

    assert radar(20).check("radar").holds is True
    wrong = radar("20.5").check("radar")
    assert [each["what"] for each in wrong.detail] == ["RADAR", "RADAR.ONLINE_SERVICE"]


def progress(*counts: dict[str, int | None]) -> Given:
    figures = [figure(unit, counts=each) for unit, each in zip(NAMES, counts, strict=True)]
    return Given({Endpoint.PROGRESS: report(*figures)})


def test_received_is_on_time_and_overdue() -> None:
    right: dict[str, int | None] = {"totalReceived": 5, "totalOnTime": 3, "totalOverdue": 2}
    given = progress({"totalReceived": 10, "totalOnTime": 6}, right, right | {"totalOverdue": 1})
    found = given.check("received")
    assert (found.checked, found.failed) == (2, 1), "the parent tells no overdue count: it is not 0"
    assert (found.detail[0]["unit_code"], found.detail[0]["expected"]) == ("H31.135", 4)
    assert given.check("children_sum").holds is True
    assert progress({"totalReceived": 11}, right, right).check("children_sum").detail[0]["found"] == 10
    assert progress({"totalReceived": 11}, right, {"totalReceived": None}).check("children_sum").holds is None


def test_ratios_and_bounds() -> None:
    def one(**values: object) -> Given:
        return Given({Endpoint.DIGITISATION: report(figure(UNIT, "X", **values))})

    assert one(numerator=334394, denominator=482812, ratio="69.26").check("ratios").holds is True
    assert one(numerator=334394, denominator=482812, ratio="69.25").check("ratios").failed == 1
    assert one(numerator=0, denominator=0, ratio=0).check("ratios").holds is None
    assert one(numerator=1, denominator=2, score=2, max_score=2, ratio=50).check("bounds").holds is True
    for wrong in (
        {"numerator": -1},
        {"numerator": 3, "denominator": 2},
        {"score": "2.01", "max_score": 2},
        {"ratio": "100.01"},
    ):
        assert one(**wrong).check("bounds").failed == 1, wrong


def test_units_that_are_missing_or_unknown() -> None:
    short = Given({Endpoint.DIGITISATION: report(units=(ROOT, OTHER))})
    (found,) = short.check("inventory").detail
    assert (found["unit_code"], found["found"]) == ("H31.16", "digitisation")
    gone = Given(known=frozenset({"H31.16", "H31.135", "H31.99"})).check("units_known")
    assert [each["expected"] for each in gone.detail] == ["H31.99"]
    new = Given(units=NAMES | {UNIT: NAMES[UNIT]._replace(unit_code=None)}, known=frozenset({"H31.135"}))
    assert [each["found"] for each in new.check("units_known").detail] == ["H31.16"]


def test_one_id_for_one_code() -> None:
    assert Given(earlier=Earlier({}, {UNIT: "H31.16"})).check("ids").holds is True
    moved = Given(earlier=Earlier({}, {UUID(int=9): "H31.16"})).check("ids")
    assert (moved.failed, moved.detail[0]["expected"]) == (1, str(UUID(int=9)))
    twice = Given(units=NAMES | {OTHER: NAMES[OTHER]._replace(code="H31.16")}).check("ids")
    assert (twice.failed, twice.detail[0]["found"]) == (1, 2)


def test_rows_all_came_in_one_page() -> None:
    assert Given({Endpoint.TRANSPARENCY: report(total=163)}).check("rows").detail[0]["expected"] == 163


def test_what_is_restated() -> None:
    key = (Endpoint.PROGRESS.value, UNIT, "PROGRESS_ON_TIME")

    def now(received: int, *, ended: bool) -> Check:
        told = figure(UNIT, "PROGRESS_ON_TIME", numerator=5, denominator=received, score=10)
        shown = report(figure(UNIT), told)
        before = Earlier({key: (5, 10, Decimal(10))}, {})
        return Given({Endpoint.PROGRESS: shown}, earlier=before, ended=ended).check("restated")

    assert now(10, ended=True).holds is True
    assert now(11, ended=True).detail[0]["found"] == "5/11 → 10"
    assert now(11, ended=False).holds is True, "a running count may grow"
    assert now(9, ended=False).detail[0]["expected"] == "5/10 → 10"
