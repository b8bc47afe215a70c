"""Look-ups: what is asked, in which order, what an answer proves, and whom it wakes."""

from __future__ import annotations

import asyncio
from datetime import datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from services.ingest import lookups, presence, pull
from services.ingest.lookups import FAILED_AT_MOST
from services.ingest.portals.http import PortalAnswerInvalid, PortalAway
from services.ingest.service import accept
from services.sandbox.defects import national_code
from shared.db import session_scope
from shared.settings import Settings
from shared.vocabulary import Portal, Subject
from tests import make
from tests.make import NOW
from tests.portals import ANCHOR, QUICK, Call, at, column, leading_to, ok, rows, sandbox, serving, world

LOOKUPS = (Portal.NATIONAL, Subject.LOOKUPS)


async def known(engine: AsyncEngine, *codes: str, portal: Portal = Portal.SENT) -> None:
    async with session_scope(engine) as session:
        heads = [make.head(code) for code in codes]
        await accept(session, portal=portal, via="push", door="test", sender="test", now=NOW, heads=heads)
        await presence.admit(session, now=NOW)
        await session.execute(text("DELETE FROM change"))


async def checked(engine: AsyncEngine, code: str, at: datetime | None, found: bool | None) -> None:
    async with session_scope(engine) as session:
        await session.execute(
            text(
                "UPDATE presence SET checked_at = :at, found = :found, via = 'lookup', ask_at = :ask_at"
                " WHERE code = :code"
            ),
            {
                "at": at,
                "found": found,
                "code": code,
                "ask_at": at + presence.FOUND_AGAIN if at and found else at,
            },
        )


class Nation:
    def __init__(self, *there: str) -> None:
        self.there = set(there)
        self.asked: list[str] = []
        self.odd: dict[str, Any] = {}

    def __call__(self, call: Call) -> Any:
        if call.path.endswith("/login"):
            return ok({"error_code": 0, "session": "s"})
        code = call.json["mahoso"]
        self.asked.append(code)
        if code in self.odd:
            return self.odd[code]
        return ok({"error_code": 0, "result": [{"MaHoSo": code}] if code in self.there else []})


async def take_changes(engine: AsyncEngine) -> set[tuple[str, str]]:
    found = {
        tuple(row) for row in await rows(engine, "SELECT code, consumer FROM change, unnest(codes) AS code")
    }
    async with session_scope(engine) as session:
        await session.execute(text("DELETE FROM change"))
    return found


def both(*codes: str) -> set[tuple[str, str]]:
    return {(code, consumer) for code in codes for consumer in ("reconcile", "indicators")}


async def test_proofs_equal_the_nation(engine: AsyncEngine, settings: Settings) -> None:
    of = world()
    settings = at(settings, ANCHOR)
    with sandbox(settings, of) as there:
        await pull.run_one(engine, there, Portal.PROVINCIAL, Subject.DOSSIERS)
        await pull.run_one(engine, there, *LOOKUPS)
    found = await rows(engine, "SELECT code, found, checked_at, via FROM presence")
    held = {  # one that got another code on its way is not there under the province's
        d.code: of.on_national(d, of.now) and national_code(d) == d.code
        for d in of.dossiers
        if of.provincial(d, of.now)
    }
    assert {row.code: row.found for row in found} == held
    assert {(row.checked_at, row.via) for row in found} == {(ANCHOR, "lookup")}
    (run,) = await rows(engine, "SELECT * FROM sync_run WHERE subject = 'lookups'")
    assert (run.items, run.total, run.accepted) == (len(held), len(held), sum(held.values()))


async def test_whom_an_answer_wakes(engine: AsyncEngine, settings: Settings) -> None:
    nation = Nation("H31.135-260803-0001")
    await known(engine, "H31.135-260803-0001", "H31.135-260803-0002")
    async with serving(nation) as url:
        here = leading_to(settings, url)
        await pull.run_one(engine, here, *LOOKUPS, retry=QUICK)
        assert await take_changes(engine) == both("H31.135-260803-0001", "H31.135-260803-0002")
        # An hour later only the absent one is asked again; its younger proof may end a grace time.
        nation.asked.clear()
        await pull.run_one(engine, at(here, NOW + timedelta(hours=1)), *LOOKUPS, retry=QUICK)
        assert nation.asked == ["H31.135-260803-0002"]
        assert await take_changes(engine) == both("H31.135-260803-0002")
        # A day and more later both are; one has arrived, the other's existence is no news.
        nation.there.add("H31.135-260803-0002")
        await pull.run_one(engine, at(here, NOW + timedelta(hours=26)), *LOOKUPS, retry=QUICK)
        assert await take_changes(engine) == both("H31.135-260803-0002")
        # One is gone.
        nation.there.remove("H31.135-260803-0001")
        await pull.run_one(engine, at(here, NOW + timedelta(days=3)), *LOOKUPS, retry=QUICK)
        assert await take_changes(engine) == both("H31.135-260803-0001")


async def test_oldest_check_first_and_none_where_a_copy_is(engine: AsyncEngine, settings: Settings) -> None:
    nation = Nation()
    codes = [f"H31.135-260803-000{n}" for n in range(1, 6)]
    await known(engine, *codes)
    await known(engine, codes[4], portal=Portal.NATIONAL)
    await checked(engine, codes[0], NOW - timedelta(days=2), True)
    await checked(engine, codes[1], NOW - timedelta(days=5), False)
    await checked(engine, codes[2], NOW - timedelta(hours=3), True)
    async with session_scope(engine) as session:
        due = await presence.due(session, before=NOW, limit=10)
    assert due == [codes[3], codes[1], codes[0]]
    async with serving(nation) as url:
        await pull.run_one(engine, leading_to(settings, url), *LOOKUPS, retry=QUICK)
    assert sorted(nation.asked) == sorted(due)


async def test_what_was_found_is_asked_for_daily_while_it_is_open_and_monthly_when_it_ended(
    engine: AsyncEngine, settings: Settings
) -> None:
    open_, ended = "H31.135-260803-0001", "H31.135-260803-0002"
    nation = Nation(open_, ended)
    async with session_scope(engine) as session:
        heads = [make.head(open_), make.head(ended, status=10)]
        await accept(
            session, portal=Portal.SENT, via="push", door="test", sender="test", now=NOW, heads=heads
        )
    asked = []
    async with serving(nation) as url:
        here = leading_to(settings, url)
        for days in (0, 2, 29, 31):
            await pull.run_one(engine, at(here, NOW + timedelta(days=days)), *LOOKUPS, retry=QUICK)
            asked.append(sorted(nation.asked))
            nation.asked.clear()
    assert asked == [[open_, ended], [open_], [open_], [open_, ended]]


async def test_a_national_copy_spares_the_look_up_until_it_vanishes(
    engine: AsyncEngine, settings: Settings
) -> None:
    codes = ["H31.135-260803-0001", "H31.135-260803-0002"]
    nation = Nation()
    await known(engine, codes[0])  # which is to be looked up before its national copy comes
    async with session_scope(engine) as session:
        for portal, via in ((Portal.NATIONAL, "list"), (Portal.SENT, "push")):
            heads = [make.head(code) for code in codes]
            await accept(session, portal=portal, via=via, door="test", sender="test", now=NOW, heads=heads)
    async with serving(nation) as url:
        here = leading_to(settings, url)
        await pull.run_one(engine, here, *LOOKUPS, retry=QUICK)
        assert nation.asked == []
        assert await column(engine, "SELECT code FROM presence WHERE ask_at IS NULL") == []
        later = NOW + timedelta(hours=1)
        async with session_scope(engine) as session:
            day = make.moment("2026-08-03")
            gone = await presence.vanish(
                session, start=day, end=day + timedelta(days=1), listed=[], asked_since=later, now=later
            )
        assert gone == 2
        await pull.run_one(engine, at(here, later), *LOOKUPS, retry=QUICK)
    assert sorted(nation.asked) == codes


async def test_what_could_not_be_answered_waits_behind_the_others(
    engine: AsyncEngine, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    bad = [f"H31.135-260803-{n:04d}" for n in range(FAILED_AT_MOST + 1)]
    good = [f"H31.135-260804-{n:04d}" for n in range(3)]
    nation = Nation(*good)
    nation.odd = dict.fromkeys(bad, ok({"error_code": "-7"}))
    await known(engine, *bad, *good)
    for code in bad:
        await checked(engine, code, NOW - timedelta(days=3), False)
    for code in good:
        await checked(engine, code, NOW - timedelta(days=2), True)
    monkeypatch.setattr(lookups, "BATCH", len(bad))
    async with serving(nation) as url:
        here = leading_to(settings, url)
        with pytest.raises(PortalAnswerInvalid):
            await pull.run_one(engine, here, *LOOKUPS, retry=QUICK)
    async with session_scope(engine) as session:
        first = await presence.due(session, before=NOW + timedelta(hours=1), limit=3)
    assert sorted(first) == good
    # No answer is no proof: what was known stays as old as it was.
    assert await column(engine, "SELECT DISTINCT checked_at FROM presence WHERE NOT found") == [
        NOW - timedelta(days=3)
    ]


async def test_codes_that_arrived_are_asked_about(engine: AsyncEngine, settings: Settings) -> None:
    nation = Nation()
    async with session_scope(engine) as session:
        heads = [make.head("H31.135-260803-0001")]
        await accept(
            session, portal=Portal.SENT, via="push", door="test", sender="test", now=NOW, heads=heads
        )
    async with serving(nation) as url:
        await pull.run_one(engine, leading_to(settings, url), *LOOKUPS, retry=QUICK)
    assert nation.asked == ["H31.135-260803-0001"]
    assert (
        await column(engine, "SELECT code FROM change, unnest(codes) AS code WHERE consumer = 'lookups'")
        == []
    )


async def test_an_odd_answer_proves_nothing_and_stops_nobody(engine: AsyncEngine, settings: Settings) -> None:
    codes = [f"H31.135-260803-000{n}" for n in range(1, 5)]
    nation = Nation(codes[3])
    nation.odd = {
        codes[0]: ok({"error_code": "-7", "message": "lỗi"}),
        codes[1]: ok({"error_code": 0, "result": [{"MaHoSo": "H31.135-260803-9999"}]}),
    }
    await known(engine, *codes)
    async with serving(nation) as url:
        await pull.run_one(engine, leading_to(settings, url), *LOOKUPS, retry=QUICK)
    assert await rows(engine, "SELECT code, found FROM presence ORDER BY 1") == [
        (codes[0], None),
        (codes[1], None),
        (codes[2], False),
        (codes[3], True),
    ]
    assert await rows(engine, "SELECT state, complete, accepted, unchanged, rejected FROM sync_run") == [
        ("done", False, 1, 1, 2)
    ]


async def test_when_every_answer_is_odd_the_run_fails(engine: AsyncEngine, settings: Settings) -> None:
    codes = [f"H31.135-260803-{n:04d}" for n in range(FAILED_AT_MOST + 1)]
    nation = Nation()
    nation.odd = dict.fromkeys(codes, ok({"error_code": "-7"}))
    await known(engine, *codes)
    async with serving(nation) as url:
        with pytest.raises(PortalAnswerInvalid):
            await pull.run_one(engine, leading_to(settings, url), *LOOKUPS, retry=QUICK)
    assert await column(engine, "SELECT state FROM sync_run") == ["failed"]


async def test_answers_before_the_portal_went_away_are_kept(engine: AsyncEngine, settings: Settings) -> None:
    codes = [f"H31.135-260803-{n:04d}" for n in range(40)]
    nation = Nation(*codes)
    nation.odd = {codes[39]: (503, {}, b"")}
    await known(engine, *codes)
    async with serving(nation) as url:
        here = leading_to(settings, url)
        with pytest.raises(PortalAway):
            await pull.run_one(engine, here, *LOOKUPS, retry=QUICK)
        kept = set(await column(engine, "SELECT code FROM presence WHERE found"))
        assert kept
        assert codes[39] not in kept
        nation.odd.clear()
        nation.asked.clear()
        await pull.run_one(engine, here, *LOOKUPS, retry=QUICK)
    assert set(nation.asked) == set(codes) - kept
    assert set(await column(engine, "SELECT code FROM presence WHERE found")) == set(codes)


async def test_what_arrives_during_a_pass_does_not_wait_for_its_end(
    engine: AsyncEngine, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lookups, "BATCH", 2)
    codes = [f"H31.135-260803-{n:04d}" for n in range(1, 9)]
    nation = Nation(*codes)
    await known(engine, *codes)
    for code in codes:
        await checked(engine, code, NOW - timedelta(days=2), True)
    late = "H31.135-260803-0099"
    arriving: list[asyncio.Task[object]] = []

    async def arrive() -> None:
        async with session_scope(engine) as session:
            await accept(
                session,
                portal=Portal.SENT,
                via="push",
                door="test",
                sender="test",
                now=NOW,
                heads=[make.head(late)],
            )

    def answer(call: Call) -> Any:
        if not arriving and nation.asked:
            arriving.append(asyncio.create_task(arrive()))
        return nation(call)

    async with serving(answer) as url:
        here = leading_to(settings, url, lookups_per_second=20.0)
        await pull.run_one(engine, here, *LOOKUPS, retry=QUICK)
        await arriving[0]
    assert late in nation.asked
    assert nation.asked.index(late) < len(codes), "before what had been asked about in an earlier pass"


async def test_the_portal_may_write_a_code_in_another_way(engine: AsyncEngine, settings: Settings) -> None:
    code = "H31.135-260803-0001"
    nation = Nation()
    nation.odd = {code: ok({"error_code": 0, "result": [{"MaHoSo": " h31.135–260803–0001"}]})}
    await known(engine, code)
    async with serving(nation) as url:
        await pull.run_one(engine, leading_to(settings, url), *LOOKUPS, retry=QUICK)
    assert await rows(engine, "SELECT code, found FROM presence") == [(code, True)]
