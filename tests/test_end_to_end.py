"""The main job over real HTTP: pull, push, look up, compare, count — held against what the sandbox injected.

The findings must equal the injected truth, with the national list granted and without: precision and recall are
printed for each class, and both must be 1.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import httpx
import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from services.indicators import recount
from services.indicators import worker as indicators
from services.ingest import dvcqg, pull
from services.reconcile import decisions_api
from services.reconcile import worker as reconcile
from services.reconcile.parameters import Parameters, parameters_on
from services.sandbox import decisions as register
from services.sandbox.integrator import Integrator, Target
from services.sandbox.server import serving
from shared import access, queue
from shared.app import create_app
from shared.db import session_scope
from shared.settings import Settings
from shared.vocabulary import Consumer, Portal, Role, Subject
from tests import joined, portals
from tests.portals import ANCHOR

MISSING_GRACE = timedelta(hours=24)
FIELD_GRACE = timedelta(hours=6)
SIZE = 2000

KINDS: dict[str, frozenset[str]] = {
    "lost_before_send": frozenset({"missing_on_national"}),
    "lost_after_send": frozenset({"missing_on_national"}),
    # Once the province has gone on from 5 to 4, what is left to see is that the states differ.
    "status_overwritten": frozenset({"status_overwritten", "status_differs"}),
    "end_as_receipt": frozenset({"end_stamped_as_receipt"}),
    "no_appointment": frozenset({"appointment_missing"}),
    "appointment_differs": frozenset({"appointment_differs"}),
    "procedure_differs": frozenset({"procedure_differs"}),
    "unit_differs": frozenset({"unit_differs"}),
    "officer_missing": frozenset({"officer_missing", "officer_title_missing"}),
    "officer_placeholder": frozenset({"officer_missing"}),
    "national_only": frozenset({"missing_on_provincial"}),
    "code_replaced": frozenset({"possible_duplicate"}),
    "appointment_invented": frozenset({"appointment_invented"}),
    "end_is_push_time": frozenset({"processing_date_is_push_time"}),
    "impossible_record": frozenset({"impossible_record"}),
    "result_is_submitted": frozenset({"result_is_submitted_file"}),
}
"""The finding of each injected defect."""


def visible(row: dict[str, Any], *, granted: bool, now: datetime) -> bool:
    """Whether the services have the means to see a defect. Without the list, what differs only at the nation and
    what only the nation knows cannot be seen; within the grace times nothing is judged yet."""
    if not granted and (row["where"] == "nation" and not row["defect"].startswith("lost")):
        return False
    if row["defect"] in ("lost_before_send", "lost_after_send", "national_only", "code_replaced"):
        return datetime.fromisoformat(row["received_at"]) + MISSING_GRACE <= now
    return True


async def pulled(engine: AsyncEngine, settings: Settings, *, granted: bool) -> None:
    wanted = [
        (Portal.NATIONAL, Subject.UNITS),
        (Portal.NATIONAL, Subject.PROCEDURES),
        (Portal.PROVINCIAL, Subject.DOSSIERS),
        (Portal.NATIONAL, Subject.DOSSIERS if granted else Subject.LOOKUPS),
    ]
    for portal, subject in wanted:
        await pull.run_one(engine, settings, portal, subject)


async def worked(engine: AsyncEngine, now: datetime) -> None:
    await indicators.tick(engine, now)
    await queue.drain(engine, consumer=Consumer.RECONCILE, work=reconcile.work, now=now)
    await queue.drain(engine, consumer=Consumer.INDICATORS, work=indicators.work, now=now)


async def found(engine: AsyncEngine, subject: str) -> set[tuple[str, str]]:
    async with session_scope(engine) as session:
        rows = await session.execute(
            text("SELECT code, kind FROM finding WHERE state = 'open' AND subject = :subject"),
            {"subject": subject},
        )
        return {(code, kind) for code, kind in rows}


def compare(
    truth: list[dict[str, Any]],
    findings: set[tuple[str, str]],
    record: Callable[[str, object], None],
    *,
    granted: bool,
    now: datetime,
) -> None:
    """Every finding is an injected defect's, and every visible defect has its finding: precision and recall are 1 in
    each class, and no class is empty."""
    by_code = {row["code"]: row for row in truth}
    assert len(by_code) == len(truth), "one defect a dossier at the most"
    right, wrong, missed, pending = Counter[str](), Counter[str](), Counter[str](), 0
    for code, kind in findings:
        row = by_code.get(code)
        if row is not None and kind in KINDS[row["defect"]] and visible(row, granted=granted, now=now):
            right[row["defect"]] += 1
        else:
            wrong[kind] += 1
    codes = {code for code, _ in findings}
    for row in truth:
        if row["code"] not in codes and visible(row, granted=granted, now=now):
            if (
                row["defect"] == "status_overwritten"
                and datetime.fromisoformat(row["updated_at"]) + FIELD_GRACE > now
            ):
                pending += 1  # a new event at the province: the nation has hours to follow
            else:
                missed[row["defect"]] += 1
    exact = True
    table = [
        f"{'national list granted' if granted else 'look-ups only'}: {len(findings)} findings, {pending} pending"
    ]
    for defect, kinds in KINDS.items():
        if granted or defect != "national_only":
            false = sum(wrong[kind] for kind in kinds)
            precision = right[defect] / (right[defect] + false)
            recall = right[defect] / (right[defect] + missed[defect])
            table.append(
                f"  {defect:<20}{right[defect]:>5} found  precision {precision:.2f}  recall {recall:.2f}"
            )
            exact &= precision == recall == 1
    record("printed", "\n".join(table))
    assert exact
    assert not wrong, f"findings where nothing was injected: {wrong}"
    assert not missed
    assert len(codes) == len(findings), "one cause is told once"


@pytest.mark.parametrize("granted", [False, True], ids=["look-ups only", "list granted"])
async def test_findings_equal_what_was_injected(
    engine: AsyncEngine, settings: Settings, granted: bool, record_property: Callable[[str, object], None]
) -> None:
    world = portals.world(SIZE)
    now = ANCHOR
    settings = portals.at(settings, now)
    async with session_scope(engine) as session:
        key_id, key = await access.create_key(
            session, role=Role.INTEGRATOR, unit_code="H31", now=now, by="test"
        )
        _, admin = await access.create_key(session, role=Role.ADMIN, unit_code="H31", now=now, by="test")
    app = create_app("test", dvcqg.router, decisions_api.router, settings=settings)
    with portals.sandbox(settings, world, grant_list=granted) as here, serving(app) as url:
        integrator = Integrator(world, Target(url, key_id, key))
        await pull.run_one(engine, here, Portal.NATIONAL, Subject.UNITS)
        counts = await integrator.push()
        assert counts.refused == 0, counts.messages
        await pulled(engine, here, granted=granted)
        async with httpx.AsyncClient(base_url=url, headers={"X-API-Key": admin}, trust_env=False) as http:
            for decision in register.register():
                answer = await http.post("/v1/decisions", json=decision)
                assert answer.status_code == 201, answer.text
        await worked(engine, now)
        compare(
            world.truth(now)["dossiers"],
            await found(engine, "dossier"),
            record_property,
            granted=granted,
            now=now,
        )
        injected = {(row["code"], row["defect"]) for row in register.injected()}
        assert await found(engine, "procedure") == injected

        # Eight hours on, a working day has passed: new dossiers, new states; nothing is asked for from the beginning.
        for hours in (12, 20):
            now = ANCHOR + timedelta(hours=hours)
            world.move(now)
            later = portals.at(here, now)
            await integrator.push()
            await pulled(engine, later, granted=granted)
            await worked(engine, now)
        compare(
            world.truth(now)["dossiers"],
            await found(engine, "dossier"),
            record_property,
            granted=granted,
            now=now,
        )
    async with session_scope(engine) as session:
        assert await recount.check(session) == [], "the tally is what a recount gives"
        dossiers = await session.scalar(text("SELECT count(*) FROM dossier WHERE portal = 'sent'"))
        refused = await session.scalar(text("SELECT count(*) FROM quarantine"))
    assert dossiers is not None
    assert dossiers > SIZE * 0.9
    assert refused == 0
    before = await found(engine, "dossier")
    await reconcile.full(engine, lambda: now)
    assert await found(engine, "dossier") == before, "a full comparison gives the same findings"
    told_falsely = {row["unit_code"] for row in world.truth(now)["units"]}
    assert {code for code, _ in await found(engine, "unit")} <= told_falsely


ADAPTERS = ("H31.135", "H31.136", "H31.137", "H31.138", "H31.16")
"""Three communes whose adapter tells flags falsely, a commune and a department whose do not."""


def patterns_of(truth: list[dict[str, Any]], numbers: Parameters) -> set[tuple[str, str, str]]:
    """The findings about units that the sandbox's truth asks for, where there are dossiers enough."""
    wanted = set()
    for row in truth:
        unit, month, defect = row["unit_code"], row["month"], row["defect"]
        if defect == "cash_counted_online":
            if row["in_person"] >= numbers.pattern_in_person:
                wanted.add((unit, "cash_counted_online_suspected", month))
        elif row["dossiers"] >= numbers.pattern_dossiers:
            flags = ("submitted_at", "vneid", "population_db", "digitised")
            keys = [f"{month}:{flag}" for flag in flags] if defect == "flag_constant" else [month]
            wanted |= {(unit, defect, key) for key in keys}
    return wanted


@pytest.mark.parametrize("granted", [False, True], ids=["sent only", "list granted"])
async def test_patterns_of_units_equal_what_was_injected(
    engine: AsyncEngine, settings: Settings, granted: bool, record_property: Callable[[str, object], None]
) -> None:
    world = portals.world(2400, only=ADAPTERS)
    settings = portals.at(settings, ANCHOR)
    key_id, key = await joined.key(engine, Role.INTEGRATOR)
    app = create_app("test", dvcqg.router, settings=settings)
    with portals.sandbox(settings, world, grant_list=granted) as here, serving(app) as url:
        await pull.run_one(engine, here, Portal.NATIONAL, Subject.UNITS)
        counts = await Integrator(world, Target(url, key_id, key)).push()
        assert counts.refused == 0, counts.messages
        if granted:
            await pull.run_one(engine, here, Portal.NATIONAL, Subject.DOSSIERS)
    await reconcile.Patterns().tick(engine, ANCHOR)
    async with session_scope(engine) as session:
        rows = await session.execute(
            text("SELECT code, kind, key FROM finding WHERE state = 'open' AND subject = 'unit'")
        )
        findings = {(code, kind, key) for code, kind, key in rows}
    expected = patterns_of(world.truth(ANCHOR)["units"], parameters_on(ANCHOR.date()))
    kinds = {kind: sum(each[1] == kind for each in expected) for _, kind, _ in expected}
    record_property("printed", f"patterns of units: {kinds}")
    assert len(kinds) == 3, "every kind was injected where it can be seen"
    assert findings == expected, "precision and recall are 1"
