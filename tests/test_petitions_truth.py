"""Petitions and ratings from the sandbox through the real doors: every figure is what the sandbox knows to be true, for
every unit and period, while time goes on."""

from __future__ import annotations

from collections import Counter
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from services.indicators import petitions, queries, worker
from services.indicators.rules.petitions import Counts
from services.ingest import dvcqg, petitions_api
from services.sandbox.dossier import Copy, Dossier
from services.sandbox.facts import units as sandbox_units
from services.sandbox.integrator import Integrator, Target
from services.sandbox.published import Published
from services.sandbox.ratings import ratings
from services.sandbox.server import serving
from services.sandbox.world import World
from shared import access, queue
from shared.app import create_app
from shared.calendar import Period
from shared.db import session_scope
from shared.identifiers import is_within
from shared.settings import Settings
from shared.vocabulary import Basis, Consumer, Role, UnitLevel
from tests import make, portals

ANCHOR = datetime.fromisoformat("2026-09-21T00:00:00+07:00")
PERIODS = [
    Period.parse(key) for key in ("2026-06", "2026-07", "2026-08", "2026-09", "2026-10", "2026-Q3", "2026")
]
LEVELS = {"1": UnitLevel.PROVINCE, "2": UnitLevel.DEPARTMENT, "3": UnitLevel.COMMUNE}


def expected(truth: list[dict[str, Any]], period: Period, now: datetime) -> dict[str, Counts]:
    """By unit, of the petitions of a period."""
    at = min(now, period.end - timedelta(seconds=1))
    found: dict[str, Counter[str]] = {unit.code: Counter() for unit in sandbox_units()}
    for row in truth:
        if not period.contains(datetime.fromisoformat(row["counted_at"])):
            continue
        since = [row[name] and datetime.fromisoformat(row[name]) for name in ("late_from", "repeated_from")]
        late, repeated = (moment is not None and moment <= at for moment in since)
        for unit in (unit for unit in found if is_within(row["unit_code"], unit)):
            found[unit].update([row["kind"], "all"])
            found[unit]["on_time"] += not late
            found[unit]["satisfied"] += not (late or repeated or row["disliked"])
    names = ("all", "on_time", "satisfied", "tthc", "staff", "other")
    return {unit: Counts(*(each[name] for name in names)) for unit, each in found.items()}


async def test_figures_are_what_is_true(engine: AsyncEngine, settings: Settings) -> None:
    world = World(size=8_000, anchor=ANCHOR)
    assert any(each.dossier_code for each in world.petitions)
    world.dossiers = []  # the petitions alone are sent
    settings = portals.at(settings, ANCHOR)
    async with session_scope(engine) as session:
        for unit in sandbox_units():
            await make.unit(session, unit.code, unit.name, LEVELS[unit.level])
        key_id, key = await access.create_key(
            session, role=Role.INTEGRATOR, unit_code="H31", now=ANCHOR, by="test"
        )
    seen_late = 0
    for now in (ANCHOR, ANCHOR + timedelta(days=1, hours=15), ANCHOR + timedelta(days=24, hours=9)):
        world.move(now)
        app = create_app("test", dvcqg.router, petitions_api.router, settings=portals.at(settings, now))
        with serving(app) as url:
            counts = await Integrator(world, Target(url, key_id, key)).push()
        assert (counts.refused, counts.messages) == (0, [])
        truth: Any = world.truth(now)["petitions"]
        async with session_scope(engine) as session:
            tree = await queries.units(session)
            for period in PERIODS:
                seen = await petitions.seen(session, period=period, now=now, units=tree)
                for code, true in expected(truth, period, now).items():
                    assert seen.counts(code) == true, (code, period)
            province = seen.counts("H31")
            assert province.petitions == len(truth) >= 80
            assert province.on_time - province.satisfied >= 5
            seen_late += province.petitions - province.on_time
    assert seen_late > 50
    async with session_scope(engine) as session:
        assert await session.scalar(text("SELECT count(*) FROM quarantine")) == 0


async def test_ratings_are_those_that_were_sent(engine: AsyncEngine, settings: Settings) -> None:
    world = World(size=0, anchor=ANCHOR)
    async with session_scope(engine) as session:
        for unit in sandbox_units():
            await make.unit(session, unit.code, unit.name, LEVELS[unit.level])
        key_id, key = await access.create_key(
            session, role=Role.INTEGRATOR, unit_code="H31", now=ANCHOR, by="test"
        )
    app = create_app("test", dvcqg.router, settings=portals.at(settings, ANCHOR))
    with serving(app) as url:
        counts = await Integrator(world, Target(url, key_id, key)).push()
    sent = list(ratings(world.seed, 2026, 8))
    assert counts.ratings == 4 * len(sent), "May to August"
    codes = {unit.name: unit.code for unit in sandbox_units()}
    async with session_scope(engine) as session:
        tree = await queries.units(session)
        for unit in sandbox_units():
            mine = [item for item in sent if is_within(codes[str(item["TenDonVi"])], unit.code)]
            raters = sum(map(_raters, mine))
            found = await petitions.ratings(
                session, unit=unit.code, period=Period.parse("2026-08"), units=tree
            )
            assert found.raters == raters
            weighed = sum((_raters(item) * _satisfied(item) for item in mine), Decimal(0))
            assert found.satisfied is not None
            assert abs(found.satisfied * raters - weighed) <= Decimal("0.005") * raters


def _raters(item: Any) -> int:
    return int(item["TongSoNguoiDanhGia"])


def _satisfied(item: Any) -> Decimal:
    return Decimal(item["PhanTramDanhGia"]["HaiLong"])


class Prompt(World):
    """The nation shows at once what it was told."""

    def national(self, dossier: Dossier, at: int) -> Copy | None:
        return self.sent(dossier, at)


async def test_dossiers_complained_of_are_those_that_are(engine: AsyncEngine, settings: Settings) -> None:
    """2.1 and 5.4 of dossiers that no portal distorts, for every unit and period, while time goes on: petitions come
    before and after their dossiers, and more is found overdue."""
    world = Prompt(size=2_000, anchor=ANCHOR)
    world.dossiers = [each for each in world.dossiers if each.defect is None]
    named = [each for each in world.petitions if each.dossier_code is not None]
    settings = portals.at(settings, ANCHOR)
    async with session_scope(engine) as session:
        for unit in sandbox_units():
            await make.unit(session, unit.code, unit.name, LEVELS[unit.level])
        key_id, key = await access.create_key(
            session, role=Role.INTEGRATOR, unit_code="H31", now=ANCHOR, by="test"
        )
    taken_off = 0
    for now in (ANCHOR, ANCHOR + timedelta(days=24, hours=9)):
        world.move(now)
        app = create_app("test", dvcqg.router, petitions_api.router, settings=portals.at(settings, now))
        with serving(app) as url:
            counts = await Integrator(world, Target(url, key_id, key)).push()
        assert (counts.refused, counts.messages) == (0, [])
        await worker.tick(engine, now)
        await queue.drain(engine, consumer=Consumer.INDICATORS, work=worker.work, now=now)
        published = Published(world)
        async with session_scope(engine) as session:
            for period in PERIODS:
                if period.start > now:
                    continue
                true = published.counts(int(period.start.timestamp()), int(period.end.timestamp()))
                for code, unit_counts in true.items():
                    found = await queries.figures(session, queries.Scope(Basis.COUNTED, period, code))
                    n = unit_counts.n
                    told = [found.counts[name] for name in ("dossiers", "on_time", "satisfied")]
                    assert told == [n["received"], n["on_time"], n["satisfied"]], (code, period)
                taken_off += true["H31"].n["on_time"] - true["H31"].n["satisfied"]
    assert len(named) >= 5
    assert taken_off >= 5
