"""Published scores computed once more from their own counts: the province's published rows come out exactly; a changed
formula shows in a fact and in a finding."""

from __future__ import annotations

import csv
import re
import tomllib
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx
import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from services.indicators import worker
from services.indicators.capture_scores import score_captures
from services.indicators.rules import engine
from services.indicators.rules.published import TOTAL, Published, by_code, recompute
from services.ingest import pull
from services.reconcile import worker as reconcile_worker
from shared import queue
from shared.calendar import Period
from shared.db import session_scope
from shared.settings import Settings
from shared.vocabulary import Consumer, IndicatorGroup, Portal, Subject
from tests.portals import ANCHOR, QUICK, at, column, rows, world
from tests.portals import sandbox as portals

RULES = engine.rule_set_for(Period.parse("2026"))
SHARED = Path(__file__).parents[3] / "shared" / "data"
UNIT = UUID(int=1)
CODES = {code: group.value for group in IndicatorGroup for code in by_code(group.value)}


def published(
    code: str, numerator: int | None, denominator: int | None, score: Any, given: int = 31
) -> Published:
    return Published(
        CODES[code], UNIT, code, given, numerator, denominator, None if score is None else Decimal(str(score))
    )


@pytest.mark.parametrize(
    ("code", "numerator", "denominator", "score"),
    [
        ("PROGRESS_ON_TIME", 420877, 482812, "17.43"),
        ("PUBLISH_ON_TIME", 0, 51, 0),
        ("PUBLISH_ON_TIME", 0, 0, None),
        ("DOSSIER_SYNC", 399243, 399243, 6),
        ("ORIGINAL_RESULT_AVAILABLE", 334394, 482812, "4.16"),
        ("SO_HOA_GIAY_TO_GIAI_QUYET", 110763, 482812, "0.92"),
        ("REUSED_DIGITIZED_DATA", 585, 587, 2),
        ("ELECTRONIC_CERTIFIED_COPY", None, None, 2),
        ("DOSSIER_RECEIVING_SATISFACTION", 420667, 482812, "5.81"),
        ("PETITION_PROCESSING_ON_TIME", 0, 0, 6),
        ("PETITION_HANDLING_SATISFACTION", 203, 568, "2.14"),
    ],
)
def test_published_scores_come_out(
    code: str, numerator: int | None, denominator: int | None, score: Any
) -> None:
    found = recompute([published(code, numerator, denominator, score)], RULES)
    assert (found.checked, found.differences) == (1, [])
    other = Decimal(str(score or 0)) + Decimal("0.01")
    (different,) = recompute([published(code, numerator, denominator, other)], RULES).differences
    assert different.recomputed == (None if score is None else Decimal(str(score)))


def files() -> Iterator[dict[str, str]]:
    for name in ("hungyen_766_thanh_phan_2026.csv", "phutho_766_2026-08.csv"):
        with (SHARED / name).open(encoding="utf-8-sig", newline="") as lines:
            yield from csv.DictReader(lines)


@pytest.mark.skipif(not SHARED.exists(), reason="the published files are not beside the project")
def test_all_published_rows_come_out() -> None:
    """Rows without a published score are skipped, not filled."""
    told = [row for row in files() if row["diem_cong_bo"] and row["chi_so"] in CODES]
    figures = [
        published(row["chi_so"], int(row["tu_so"]), int(row["mau_so"]), row["diem_cong_bo"])._replace(
            department_id=UUID(int=place)
        )
        for place, row in enumerate(told)
    ]
    found = recompute(figures, RULES)
    assert found.differences == []
    assert found.checked == len(told) >= 25


def test_cases_of_progress() -> None:
    cases = tomllib.loads((Path(__file__).parents[1] / "cases/published.toml").read_text("utf-8"))
    progress = [case for case in cases["published"] if case["component"] == "2.1"]
    for place, case in enumerate(progress):
        one = published("PROGRESS_ON_TIME", case["numerator"], case["denominator"], case["points"])
        assert recompute([one], RULES).differences == [], place
    assert len(progress) > 5


def total_of(score: str) -> Published:
    return Published("satisfaction", UNIT, TOTAL, 31, None, None, Decimal(score))


def test_sums_are_of_the_parts_and_what_has_no_counts_cannot_be_checked() -> None:
    payment = [
        published("PAYMENT_DOSSIER", 292524, 338679, None, given=3),
        published("PAYMENT_TTHC_TRANSACTION", 135, 339, None, given=3),
        published("PAYMENT_TTHC_INTEGRATED", 69, 339, None, given=3),
    ]
    total = Published("online-payment", UNIT, TOTAL, 31, None, None, Decimal("6.69"))
    found = recompute([*payment, total], RULES)
    assert (found.checked, found.uncheckable, found.differences) == (1, 0, [])
    (wrong,) = recompute([*payment, total._replace(score=Decimal("6.70"))], RULES).differences
    assert (wrong.figure.component, wrong.recomputed) == (TOTAL, Decimal("6.69"))
    children = [each._replace(given=0, numerator=None, denominator=None) for each in payment]
    assert recompute([*children, total], RULES)[:2] == (0, 1)
    petitions = [
        published("PETITION_PROCESSING_ON_TIME", 297, 568, "3.14"),
        Published("satisfaction", UNIT, "PETITION_CLASSIFICATION_TTHC", 31, 432, 568, None),
        total_of("3.14"),
    ]
    assert recompute(petitions, RULES) == (2, 0, []), "petitions by kind are for information"
    new = Published("satisfaction", UNIT, "A_COMPONENT_OF_TOMORROW", 31, 1, 2, Decimal(1))
    assert recompute([*petitions[:2], new, total_of("4.14")], RULES) == (2, 1, []), (
        "its own score is in the sum"
    )


def test_one_changed_component_is_told_once() -> None:
    """The sum is held against the published parts."""
    figures = [
        published("PUBLISH_ON_TIME", 1, 2, "2.50"),
        Published("transparency", UNIT, TOTAL, 31, None, None, Decimal("2.50")),
    ]
    (found,) = recompute(figures, RULES).differences
    assert (found.figure.component, found.recomputed) == ("PUBLISH_ON_TIME", Decimal("3.00"))


async def test_a_changed_formula_becomes_a_finding_and_goes_with_it(
    engine: AsyncEngine, settings: Settings
) -> None:
    now = at(settings, ANCHOR.replace(hour=9)).now()

    async def capture(given: Settings) -> None:
        await pull.run_one(
            engine, given, Portal.NATIONAL, Subject.CAPTURES, cursor={"periods": ["2026-10"]}, retry=QUICK
        )
        await queue.drain(engine, consumer=Consumer.INDICATORS, work=worker.work, now=now)
        await queue.drain(engine, consumer=Consumer.RECONCILE, work=reconcile_worker.work, now=now)

    with portals(settings, world(300)) as leading:
        assert leading.national_url is not None
        base = leading.national_url.removesuffix("/national")
        given = at(
            leading.model_copy(update={"reporting_url": f"{base}/reporting", "reporting_pause_seconds": 0}),
            now,
        )
        await pull.run_one(engine, given, Portal.NATIONAL, Subject.UNITS, retry=QUICK)
        await capture(given)
        (first,) = await rows(engine, "SELECT * FROM capture_scoring")
        assert (first.rule_set, first.differing) == ("portal-2026-09", 0)
        assert first.checked > 1_000
        assert first.uncheckable == 117 - 1, "only the sums of online service, whose units have no counts"
        async with httpx.AsyncClient(base_url=base) as sandbox:
            fault = {"portal": "reporting", "kind": "rescored", "service": "dvc-progress-tree"}
            (await sandbox.post("/_sandbox/faults", json=[fault])).raise_for_status()
        await capture(given)
        differences = await rows(engine, "SELECT * FROM capture_score_check")
        assert {(each.endpoint, each.component) for each in differences} == {("progress", "PROGRESS_ON_TIME")}
        assert all(each.published != each.recomputed for each in differences)
        found = await rows(
            engine, "SELECT * FROM finding WHERE subject = 'capture' AND kind = 'formula_changed'"
        )
        (changed,) = found
        assert (changed.code, changed.key, changed.state) == ("progress.PROGRESS_ON_TIME", "2026-10", "open")
        assert (changed.unit_code, changed.responsible, changed.evidence["then"]) == ("H31", "centre", "vpcp")
        assert changed.evidence["units"] == len(differences)
        assert "portal-2026-09; ví dụ UBND tỉnh Hưng Yên" in changed.evidence["sentence"]
        restated = await column(
            engine, "SELECT state FROM finding WHERE subject = 'capture' AND kind = 'published_restated'"
        )
        assert restated == ["open"], "October had ended before both"
        await capture(given)
    (told,) = await rows(
        engine, "SELECT evidence FROM finding WHERE subject = 'capture' AND code = 'inventory'"
    )
    assert "lẽ ra đơn vị có đủ trong các nhóm;" in told.evidence["sentence"]
    assert " không có trong nhóm " in told.evidence["sentence"]
    assert not re.search("[a-z]+ion|không có, đã công bố", told.evidence["sentence"])
    states = await rows(engine, "SELECT kind, code, state FROM finding WHERE subject = 'capture'")
    assert {(row.kind, row.code, row.state) for row in states} == {
        ("formula_changed", "progress.PROGRESS_ON_TIME", "resolved"),
        ("published_restated", "restated", "resolved"),
        ("capture_inconsistent", "inventory", "open"),
        ("capture_inconsistent", "unit_totals", "resolved"),
    }
    assert await column(engine, "SELECT code FROM assessment") == [], "the reserved code is no dossier"
    async with session_scope(engine) as session:
        assert await score_captures(session, now=now) == 0, "each once"
        assert await score_captures(session, now=now, again=True) == 3
