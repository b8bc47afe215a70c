"""The national list: copies by windows of a day, and absence only when all windows have been read."""

from __future__ import annotations

from datetime import datetime, timedelta
from itertools import pairwise
from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from services.ingest import pull
from services.ingest.portals.http import PortalAway
from services.ingest.portals.national import ListRefused
from services.ingest.service import accept
from services.sandbox.defects import national_code
from shared.calendar import TZ, parse_wire
from shared.db import session_scope
from shared.settings import Settings
from shared.vocabulary import Portal, Subject
from tests import make
from tests.make import NOW, moment
from tests.portals import ANCHOR, QUICK, Call, at, column, leading_to, ok, rows, sandbox, serving, world

LIST = (Portal.NATIONAL, Subject.DOSSIERS)


async def test_refused_list_fails_the_run_with_a_reason(engine: AsyncEngine, settings: Settings) -> None:
    """The settings say that it is granted; the portal does not."""
    with sandbox(settings, world(20)) as there, pytest.raises(ListRefused):
        await pull.run_one(engine, there.model_copy(update={"national_list": True}), *LIST)
    (run,) = await rows(engine, "SELECT * FROM sync_run")
    assert run.state == "failed"
    assert run.error.startswith("ListRefused: Cổng DVC quốc gia không cấp quyền")
    assert await rows(engine, "SELECT * FROM sync_state") == []


async def test_copies_equal_the_nation_and_what_is_not_listed_is_absent(
    engine: AsyncEngine, settings: Settings
) -> None:
    of = world()
    settings = at(settings, ANCHOR)
    with sandbox(settings, of, grant_list=True) as there:
        await pull.run_one(engine, there, Portal.PROVINCIAL, Subject.DOSSIERS)
        await pull.run_one(engine, there, *LIST)
    shown = {national_code(d): copy for d in of.dossiers if (copy := of.national(d, of.now)) is not None}
    found = await rows(engine, "SELECT * FROM dossier WHERE portal = 'national'")
    assert {row.code for row in found} == set(shown)
    for row in found:
        copy = shown[row.code]
        assert (row.status, row.procedure_code, row.unit_name) == (
            copy.status,
            copy.procedure.code,
            copy.unit.name,
        )
        assert row.received_at == datetime.fromtimestamp(copy.received_at or 0, TZ)
        assert row.via == "list"
    received = await column(
        engine, "SELECT code FROM dossier WHERE portal = 'provincial' AND received_at IS NOT NULL"
    )
    absent = await rows(engine, "SELECT code, checked_at, via FROM presence WHERE found = false")
    assert {row.code for row in absent} == set(received) - set(shown)
    assert {(row.checked_at, row.via) for row in absent} == {(ANCHOR, "list")}
    waiting = await column(
        engine, "SELECT DISTINCT code FROM change, unnest(codes) AS code WHERE consumer = 'reconcile'"
    )
    assert set(waiting) >= {row.code for row in absent} | set(shown)


class Nation:
    """A national list. `items` by code: (receipt, other fields)."""

    def __init__(self, **items: str) -> None:
        self.items = {code: {"NgayTiepNhan": at} for code, at in items.items()}
        self.windows: list[tuple[datetime, datetime]] = []
        self.away_after: int | None = None

    def __call__(self, call: Call) -> Any:
        if call.path.endswith("/login"):
            return ok({"error_code": 0, "session": "s"})
        if self.away_after is not None and len(self.windows) >= self.away_after:
            return 503, {}, b""
        start, end = parse_wire(call.json["ngayNhan1"]), parse_wire(call.json["ngayNhan2"])
        self.windows.append((start, end))
        return ok(
            {
                "error_code": "0",
                "result": [
                    {"MaHoSo": code, "MaTTHC": "1.001612", "TrangThaiHoSo": "4", "ChuHoSo": "MẪU", **fields}
                    for code, fields in self.items.items()
                    if start <= parse_wire(fields["NgayTiepNhan"]) < end
                ],
            }
        )


A, B, C = "H31.135-261030-0001", "H31.135-261030-0002", "H31.135-261030-0003"


async def of_province(engine: AsyncEngine, **received: str) -> None:
    async with session_scope(engine) as session:
        await accept(
            session,
            portal=Portal.PROVINCIAL,
            via="pull",
            door="test",
            sender="test",
            now=NOW,
            heads=[make.head(code, received_at=moment(at)) for code, at in received.items()],
        )


async def forget_changes(engine: AsyncEngine) -> None:
    async with session_scope(engine) as session:
        await session.execute(text("DELETE FROM change"))


async def test_windows_reach_from_the_oldest_receipt_to_now(engine: AsyncEngine, settings: Settings) -> None:
    await of_province(engine, **{A: "2026-10-30 15:00"})
    nation = Nation()
    async with serving(nation) as url:
        await pull.run_one(engine, leading_to(settings, url, national_list=True), *LIST, retry=QUICK)
    days = [moment("2026-10-30"), moment("2026-10-31"), moment("2026-11-01"), moment("2026-11-02")]
    assert nation.windows == [*pairwise(days), (days[-1], NOW + timedelta(seconds=1))]


async def test_a_receipt_on_another_day_is_no_absence(engine: AsyncEngine, settings: Settings) -> None:
    await of_province(engine, **{A: "2026-10-30 15:00", B: "2026-10-30 15:00"})
    await forget_changes(engine)
    nation = Nation(**{A: "20261101080000"})
    async with serving(nation) as url:
        await pull.run_one(engine, leading_to(settings, url, national_list=True), *LIST, retry=QUICK)
    assert await rows(engine, "SELECT code, found FROM presence WHERE checked_at IS NOT NULL") == [(B, False)]
    assert set(await column(engine, "SELECT code FROM change, unnest(codes) AS code")) == {A, B}


async def test_a_refused_item_is_there_all_the_same(engine: AsyncEngine, settings: Settings) -> None:
    await of_province(engine, **{A: "2026-10-30 15:00"})
    nation = Nation(**{A: "20261030080000"})
    nation.items[A]["TrangThaiHoSo"] = "99"
    async with serving(nation) as url:
        await pull.run_one(engine, leading_to(settings, url, national_list=True), *LIST, retry=QUICK)
    assert await rows(engine, "SELECT code, found FROM presence WHERE portal = 'national'") == [(A, True)]
    assert await rows(engine, "SELECT rejected, complete FROM sync_run") == [(1, True)]


async def test_what_is_no_longer_listed_has_vanished_and_may_come_back(
    engine: AsyncEngine, settings: Settings
) -> None:
    await of_province(engine, **{A: "2026-10-30 15:00", B: "2026-10-30 15:00"})
    nation = Nation(**{A: "20261030150000", B: "20261030150000"})
    gone = "SELECT code FROM dossier WHERE portal = 'national' AND vanished_at IS NOT NULL"
    async with serving(nation) as url:
        here = leading_to(settings, url, national_list=True)
        await pull.run_one(engine, here, *LIST, retry=QUICK)
        assert await column(engine, gone) == []
        await forget_changes(engine)
        kept = nation.items.pop(B)
        later = at(here, NOW + timedelta(hours=1))
        await pull.run_one(engine, later, *LIST, retry=QUICK)
        assert await column(engine, gone) == [B]
        assert await rows(engine, "SELECT code, checked_at FROM presence WHERE found = false") == [
            (B, NOW + timedelta(hours=1))
        ]
        assert set(await column(engine, "SELECT code FROM change, unnest(codes) AS code")) == {B}
        nation.items[B] = kept
        await pull.run_one(engine, at(here, NOW + timedelta(hours=2)), *LIST, retry=QUICK)
    assert await column(engine, gone) == []


async def test_a_broken_pass_proves_no_absence_and_is_gone_on_with(
    engine: AsyncEngine, settings: Settings
) -> None:
    await of_province(engine, **{A: "2026-10-30 15:00", C: "2026-10-31 15:00"})
    nation = Nation(**{A: "20261030150000"})
    nation.away_after = 2
    async with serving(nation) as url:
        here = leading_to(settings, url, national_list=True)
        with pytest.raises(PortalAway):
            await pull.run_one(engine, here, *LIST, retry=QUICK)
        assert await column(engine, "SELECT code FROM presence WHERE found = false") == []
        assert await column(engine, "SELECT complete_through FROM sync_state") == []
        async with session_scope(engine) as session:  # as if its worker had died
            await session.execute(text("UPDATE sync_run SET state = 'running'"))
        nation.away_after = None
        nation.windows.clear()
        later = at(here, NOW + timedelta(minutes=5))
        await pull.run_one(engine, later, *LIST, retry=QUICK)
    assert nation.windows[0][0] == moment("2026-11-01")
    # As of the first question of the pass, which came before all of its answers.
    assert await rows(engine, "SELECT code, checked_at FROM presence WHERE found = false") == [(C, NOW)]
    assert await column(engine, "SELECT complete_through FROM sync_state") == [NOW]


@pytest.mark.parametrize("moved_to", ["20261030080000", "20261101080000"])
async def test_a_listed_dossier_is_there_also_where_its_form_is_older_than_our_copy(
    engine: AsyncEngine, settings: Settings, moved_to: str
) -> None:
    """The nation corrects a receipt, earlier or later, and takes back an end: the newest event is an older one."""
    await of_province(engine, **{A: "2026-10-30 15:00"})
    nation = Nation(**{A: "20261031080000"})
    nation.items[A]["NgayKetThucXuLy"] = "20261101170000"
    async with serving(nation) as url:
        here = leading_to(settings, url, national_list=True)
        await pull.run_one(engine, here, *LIST, retry=QUICK)
        nation.items[A] = {"NgayTiepNhan": moved_to}
        await pull.run_one(engine, at(here, NOW + timedelta(hours=1)), *LIST, retry=QUICK)
    assert await column(engine, "SELECT vanished_at FROM dossier WHERE portal = 'national'") == [None]
    assert await column(engine, "SELECT code FROM presence WHERE NOT found") == []
