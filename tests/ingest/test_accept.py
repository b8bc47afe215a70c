"""accept(), the one door: whatever comes in whatever order, twice, and in whatever batches, ends in the same rows."""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import Sequence
from datetime import date, datetime, timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession

from services.ingest import api, naming, service
from services.ingest.normalise import Head, Refusal, Step
from shared.db import session_scope
from shared.identifiers import unit_name_key
from shared.models import Dossier, DossierStep, UnitAlias
from shared.settings import Settings
from shared.vocabulary import Known, Portal, UnitLevel
from tests import make
from tests.conftest import Cluster
from tests.make import ALL_KNOWN, CODE, NOW, moment

HOUR = timedelta(hours=1)
START = moment("2026-08-03 08:00")
OTHER = "H31.136-260803-0001"
ODD = "hồ sơ lạ\\N 2026/17"
"""A code of unknown form, with what COPY reads as NULL."""


async def take(
    session: AsyncSession,
    heads: Sequence[Head | Refusal] = (),
    steps: Sequence[Step | Refusal] = (),
    *,
    portal: Portal = Portal.SENT,
    now: datetime = NOW,
) -> service.Outcome:
    return await service.accept(
        session, portal=portal, via="push", door="test", sender="k1", now=now, heads=heads, steps=steps
    )


async def rows(session: AsyncSession, sql: str) -> list[Any]:
    return [tuple(row) for row in await session.execute(text(sql))]


async def queued(session: AsyncSession) -> list[tuple[str, str]]:
    """What reconcile and indicators are told; the look-ups' own rows apart."""
    return await rows(
        session,
        "SELECT consumer, code FROM change, unnest(codes) AS code WHERE consumer IN ('reconcile', 'indicators')"
        " ORDER BY consumer, code",
    )


# --- any order, repetition and split -----------------------------------------------------------------

MESSAGES = st.lists(
    st.tuples(
        st.sampled_from([Portal.SENT, Portal.PROVINCIAL]),
        st.sampled_from([CODE, OTHER, ODD]),
        st.booleans(),  # a head or a step
        st.integers(0, 10),  # its status; a step may tell none
        st.sampled_from([None, "UBND phường Phố Hiến", "Nhà \\t lạ", "UBND phường Sơn Nam"]),
        st.booleans(),  # whether it knows the officer, has a finish, is cancelled …
    ),
    min_size=1,
    max_size=10,
)


def message(
    number: int, portal: Portal, code: str, is_head: bool, status: int, name: str | None, flag: bool
) -> tuple[Portal, Head | Step]:
    """The n-th thing that happened: its moment is its version, so that no two are equal."""
    at = START + number * HOUR
    if is_head:
        return portal, make.head(
            code,
            version=at,
            status=status or None,
            unit_name=name,
            agency_code=None,
            cancelled=flag and status == 1,
            finished_at=at if flag else None,
            known=ALL_KNOWN if flag else ALL_KNOWN - int(Known.DUE_AT),
            supplements='[{"requested_at": "2026-08-04T14:00:00+07:00"}]' if flag else None,
        )
    known = int(Known.OFFICER | Known.OFFICER_TITLE) if flag else int(Known.OFFICER)
    officer = {"officer": name, "officer_title": "Công chức" if flag else None}
    return portal, make.step(code)._replace(occurred_at=at, status=status, known=known, **officer)


HEAD_FIELDS = [name for name in Head._fields if name not in ("code", "known", "supplements")]


def expected(
    told: Sequence[tuple[Portal, Head | Step]],
) -> tuple[dict[tuple[str, str], dict[str, Any]], set[Any]]:
    """What must stand in the tables, found without them: the newest head, the newest step and the newest step
    with a state of each copy."""
    copies: dict[tuple[str, str], dict[str, Any]] = {}
    steps: set[Any] = set()
    for portal, item in sorted(told, key=lambda each: when(each[1])):
        row = copies.setdefault(
            (item.code, portal.value),
            {**dict.fromkeys(HEAD_FIELDS), "known": 0, "officer": 0, "state": (None, None)},
        )
        if isinstance(item, Head):
            row.update({name: as_stored(name, getattr(item, name)) for name in HEAD_FIELDS})
            row["known"] = item.known
        else:
            row["officer"] = (item.known, item.officer, item.officer_title, item.occurred_at)
            if item.status:
                row["state"] = (item.status, item.occurred_at)
            steps.add((item.code, portal.value, item.occurred_at, item.status, item.officer))
    return copies, steps


def when(item: Head | Step) -> datetime:
    return datetime.fromisoformat(item.version) if isinstance(item, Head) else item.occurred_at


def as_stored(name: str, value: Any) -> Any:
    """A head keeps its times as stamps; the table as moments."""
    return datetime.fromisoformat(value) if value and (name == "version" or name.endswith("_at")) else value


@hypothesis_settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(told=MESSAGES, shuffle=st.randoms(use_true_random=False))
async def test_any_order_repetition_and_split_end_in_the_same_rows(
    session: AsyncSession, told: list[Any], shuffle: random.Random
) -> None:
    messages = [message(number, *each) for number, each in enumerate(told)]
    sent = messages + shuffle.choices(messages, k=len(messages) // 2)
    shuffle.shuffle(sent)
    undo = await session.begin_nested()
    try:
        while sent:
            size = shuffle.randint(1, len(sent))
            batch, sent = sent[:size], sent[size:]
            for portal in Portal:
                mine = [item for of, item in batch if of is portal]
                await take(
                    session,
                    [item for item in mine if isinstance(item, Head)],
                    [item for item in mine if isinstance(item, Step)],
                    portal=portal,
                )
        copies, steps = expected(messages)
        session.expire_all()
        found = (await session.execute(Dossier.__table__.select())).mappings()
        stored = {(row["code"], row["portal"]): row for row in found}
        assert stored.keys() == copies.keys()
        for key, want in copies.items():
            row = stored[key]
            known, *officer = want["officer"] or (0, None, None, None)
            assert row["known"] == want["known"] | known
            assert [row[name] for name in ("officer", "officer_title", "officer_at")] == officer
            assert (row["step_status"], row["step_status_at"]) == want["state"]
            if want["version"] is not None:
                assert {name: row[name] for name in HEAD_FIELDS} == {name: want[name] for name in HEAD_FIELDS}
            else:
                assert row["version"] is None
        stored_steps = await session.execute(DossierStep.__table__.select())
        assert {(s.code, s.portal, s.occurred_at, s.status, s.officer) for s in stored_steps} == steps
    finally:
        await undo.rollback()  # also where it failed: the next example finds nothing of this one


async def test_large_batches_take_another_way_to_the_same_rows(engine: AsyncEngine) -> None:
    """COPY instead of arrays: the same rows for every kind of value, also for what COPY's own syntax is made of."""
    nasty = ["\\N", "a\\tb", 'q"uote', "tab\\", "Đặng {x} %s $1", "\\.", "'; --", "💧 mưa", ","]
    heads = [
        make.head(
            f"H31.135-260803-{n:04d}" if n % 10 else f"{nasty[n // 10 % len(nasty)]}{n}",
            unit_name=nasty[n % len(nasty)] if n % 3 else None,
            agency_code=None,
            version=START + n * timedelta(microseconds=1),
            cancelled=n % 7 == 0,
            supplements='[{"requested_at": "a\\\\b\\"c"}]' if n % 5 else None,
            **({"status": None, "received_at": None} if n % 11 == 0 else {}),
        )
        for n in range(1, 701)
    ]
    async with session_scope(engine) as session:
        whole = await take(session, heads)
        await take(session, heads[:600], portal=Portal.NATIONAL)
        for start in range(0, len(heads), 100):
            await take(session, heads[start : start + 100], portal=Portal.PROVINCIAL)
    assert whole.results == ["accepted"] * 700
    columns = ", ".join(c.key for c in Dossier.__table__.columns if c.key != "portal")
    async with session_scope(engine) as session:
        assert await rows(session, "SELECT count(*) FROM dossier WHERE portal = 'sent'") == [(700,)]
        different = (
            f"SELECT {columns} FROM dossier WHERE portal = 'sent' EXCEPT"
            f" SELECT {columns} FROM dossier WHERE portal = 'provincial'"
        )
        assert await rows(session, different) == []
        assert {row[0] for row in await rows(session, "SELECT code FROM dossier")} == {
            head.code for head in heads
        }
        again = await take(session, heads)
        assert again.results == ["unchanged"] * 700


# --- one message after another -----------------------------------------------------------------------


async def test_stale_changes_nothing_and_queues_nothing(session: AsyncSession) -> None:
    newer = make.head(version=START + HOUR, status=9)
    await take(session, [newer], [make.step(at="2026-08-03 10:00")])
    before = await rows(session, "SELECT d::text FROM dossier d")
    await session.execute(text("DELETE FROM change"))
    later = NOW + HOUR
    stale = await take(session, [make.head(version=START, status=1, unit_name="khác")], now=later)
    assert (stale.results, stale.stale, stale.accepted) == (["stale"], 1, 0)
    same = await take(session, [newer], [make.step(at="2026-08-03 10:00")], now=later)
    assert same.results == ["unchanged"]
    await take(session, steps=[make.step(at="2026-08-03 09:00", keep=False, officer="cũ")], now=later)
    assert await rows(session, "SELECT d::text FROM dossier d") == before
    assert await queued(session) == []


async def test_of_equal_versions_the_later_arrival_is_kept(session: AsyncSession) -> None:
    for status, known in ((4, True), (9, False), (5, True)):
        outcome = await take(session, [make.head(version=START, status=status)])
        assert outcome.results == ["accepted"]
        assert (CODE in outcome.known_before) is (not known or status == 5)
        assert await rows(session, "SELECT status FROM dossier") == [(status,)]
    for name in ("Một", "Hai"):
        await take(session, steps=[make.step(officer=name)])
        assert await rows(session, "SELECT officer FROM dossier") == [(name,)]
        assert await rows(session, "SELECT officer FROM dossier_step") == [(name,)]
    both = [make.head(version=START, status=1), make.head(version=START, status=2)]
    assert (await take(session, both)).results == ["accepted", "accepted"]
    assert await rows(session, "SELECT status FROM dossier") == [(2,)], "also inside one batch"


async def test_facts_are_kept_and_compared_as_the_rest_of_the_head(session: AsyncSession) -> None:
    results = []
    for facts, known, version in ((1, 3, START), (1, 3, START), (0, 3, START), (0, 1, START), (3, 3, NOW)):
        head = make.head(version=version, facts=facts, facts_known=known)
        results += (await take(session, [head])).results
    results += (await take(session, [make.head(version=START, facts=8, facts_known=8)])).results
    assert results == ["accepted", "unchanged", "accepted", "accepted", "accepted", "stale"]
    assert await rows(session, "SELECT facts, facts_known FROM dossier") == [(3, 3)]


async def test_both_consumers_are_told_once_a_batch(session: AsyncSession) -> None:
    await take(session, [make.head(), make.head(OTHER), make.head()])
    assert await queued(session) == [
        (consumer, code) for consumer in ("indicators", "reconcile") for code in (CODE, OTHER)
    ]


async def test_a_step_before_its_head(session: AsyncSession) -> None:
    outcome = await take(session, steps=[make.step(at="2026-08-03 10:00"), make.step(at="2026-08-03 09:00")])
    assert outcome.results == []
    assert await rows(session, "SELECT version, status, officer_at FROM dossier") == [
        (None, None, moment("2026-08-03 10:00"))
    ]
    late = await take(session, [make.head(version=START)])
    assert late.results == ["accepted"]
    assert late.known_before == set(), "the copy had steps, but no head"
    (row,) = await rows(session, "SELECT status, officer, known FROM dossier")
    assert row == (4, "Trần Thị Mẫu", ALL_KNOWN | Known.OFFICER | Known.OFFICER_TITLE)
    assert (await take(session, [make.head(version=START)])).known_before == {CODE}
    assert await rows(session, "SELECT count(*) FROM dossier_step") == [(2,)]


async def test_a_copy_that_had_vanished_comes_back(session: AsyncSession) -> None:
    await take(session, [make.head()])
    await session.execute(text("UPDATE dossier SET vanished_at = now()"))
    assert (await take(session, [make.head()])).results == ["accepted"]
    assert await rows(session, "SELECT vanished_at FROM dossier") == [(None,)]


async def test_what_is_refused_stands_in_quarantine_and_stops_nothing(session: AsyncSession) -> None:
    bad = Refusal(1, OTHER, "status", "sai", "wrong", b"1" * 16, {"MaHoSo": OTHER})
    late = Refusal(0, None, "ThoiDiemXuLy", "thiếu", "missing", b"2" * 16, None)
    for _ in range(2):
        outcome = await take(session, [make.head(), bad, make.head(ODD, code_known=False)], [late])
    assert outcome.results == ["unchanged", "rejected", "unchanged"]
    assert outcome.rejected == 2
    assert await rows(
        session, "SELECT door, portal, code, field, reason, position, sender FROM quarantine ORDER BY field"
    ) == [
        ("test", "sent", None, "ThoiDiemXuLy", "thiếu | missing", 0, "k1"),
        ("test", "sent", OTHER, "status", "sai | wrong", 1, "k1"),
    ], "the same bytes refused again are one row"


async def test_nothing_is_committed_by_accept(engine: AsyncEngine) -> None:
    async with AsyncSession(engine) as session:
        await take(session, [make.head()], [make.step()])
        await session.rollback()
    async with session_scope(engine) as session:
        for table in ("dossier", "dossier_step", "change", "presence"):
            assert await rows(session, f"SELECT count(*) FROM {table}") == [(0,)]


# --- units -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("code", "agency", "name", "unit", "via"),
    [
        (CODE, "H31.136", "UBND phường Phố Hiến", "H31.136", "agency_code"),
        (CODE, "000.00.136.H31", None, "H31.136", "agency_code"),
        (CODE, "H31.999", "Ủy ban nhân dân phường Sơn Nam", "H31.136", "alias"),
        (CODE, "không phải mã", "ubnd PHƯỜNG SƠN NAM ", "H31.136", "alias"),
        (CODE, None, "một nơi không ai biết", "H31.135", "dossier_code"),
        ("H31.135.02-260803-0001", None, None, "H31.135", "dossier_code"),
        ("000.00.135.H31-260803-0001", None, None, "H31.135", "dossier_code"),
        ("H31-260803-0001", None, None, None, "none"),
        ("H40.135-260803-0001", None, "", None, "none"),
        (ODD, None, None, None, "none"),
    ],
)
async def test_the_unit_is_found_in_the_order_of_trust(
    session: AsyncSession, code: str, agency: str | None, name: str | None, unit: str | None, via: str
) -> None:
    await make.units(session)
    await take(session, [make.head(code, agency_code=agency, unit_name=name)])
    assert await rows(session, "SELECT unit_code, unit_via FROM dossier") == [(unit, via)]


async def test_a_name_of_two_units_goes_by_the_day_of_receipt(engine: AsyncEngine) -> None:
    async with session_scope(engine) as session:
        await make.unit(session, "H31.01", "UBND xã An Bình", valid_to=date(2025, 12, 31))
        await make.unit(session, "H31.02", "UBND xã An Bình", UnitLevel.COMMUNE, valid_from=date(2026, 1, 1))
        for number, day in enumerate(("2025-12-31 23:00", "2026-01-01 00:00", "2020-01-01 08:00")):
            head = make.head(
                f"HS{number}",
                agency_code=None,
                unit_name="xã An Bình",
                received_at=moment(day),
                version=START,
            )
            await take(session, [head])
    async with session_scope(engine) as session:
        assert await rows(session, "SELECT unit_code FROM dossier ORDER BY code") == [
            ("H31.01",),
            ("H31.02",),
            (None,),
        ]


async def test_a_mended_alias_finds_what_came_before(engine: AsyncEngine) -> None:
    async with session_scope(engine) as session:
        await make.units(session)
        await take(
            session,
            [
                make.head(ODD, agency_code=None, unit_name="Bộ phận Một cửa Sơn Nam"),
                make.head(CODE, agency_code=None, unit_name="Bộ phận Một cửa Sơn Nam"),
                make.head(OTHER, agency_code="H31.136", unit_name="Bộ phận Một cửa Sơn Nam"),
                make.head("HS-9", agency_code=None, unit_name="nơi khác"),
            ],
        )
        await session.execute(text("DELETE FROM change"))
        assert await naming.re_resolve(session, now=NOW) == 0
        session.add(
            UnitAlias(
                name_key=unit_name_key("Bộ phận Một cửa Sơn Nam"),
                valid_from=date(2025, 7, 1),
                valid_to=None,
                name="Bộ phận Một cửa Sơn Nam",
                unit_code="H31.136",
                source="test",
                updated_at=NOW + HOUR,
            )
        )
        await session.flush()
        assert await naming.re_resolve(session, now=NOW) == 2
        assert await rows(session, "SELECT code, unit_code, unit_via FROM dossier ORDER BY code") == [
            (CODE, "H31.136", "alias"),
            (OTHER, "H31.136", "agency_code"),
            ("HS-9", None, "none"),
            (ODD, "H31.136", "alias"),
        ]
        assert {code for _, code in await queued(session)} == {ODD, CODE}
        assert await naming.re_resolve(session, now=NOW) == 0


# --- at once -----------------------------------------------------------------------------------------


async def test_pushes_at_once_in_opposite_orders_wait_for_each_other(engine: AsyncEngine) -> None:
    codes = [f"H31.135-260803-{n:04d}" for n in range(40)]

    async def push(number: int, order: list[str]) -> None:
        version = START + number * timedelta(seconds=1)
        heads = [make.head(code, version=version, status=1 + number % 10) for code in order]
        steps = [make.step(code, officer=f"{number}") for code in order]
        refused = [
            Refusal(n, code, "status", "sai", "wrong", code.encode(), None) for n, code in enumerate(order)
        ]
        async with session_scope(engine) as session:
            if number % 3 == 0:
                await take(session, heads)
            elif number % 3 == 1:
                await take(session, [*heads, *refused], steps)
            else:
                await take(session, steps=[*steps, *refused])

    for number in range(0, 48, 4):
        await asyncio.gather(
            push(number, codes),
            push(number + 1, codes[::-1]),
            push(number + 2, codes[20:] + codes[:20]),
            push(number + 3, random.Random(number).sample(codes, 40)),
        )
    async with session_scope(engine) as session:
        newest = START + 46 * timedelta(seconds=1)
        assert await rows(session, "SELECT DISTINCT version, status FROM dossier") == [(newest, 7)]


async def waiting(session: AsyncSession) -> None:
    """Until another transaction waits for a lock that this one holds."""
    async with asyncio.timeout(30):
        while not await session.scalar(  # noqa: ASYNC110 - a lock sets no event
            text(
                "SELECT count(*) FROM pg_locks WHERE NOT granted"
                " AND pg_backend_pid() = ANY(pg_blocking_pids(pid))"
            )
        ):
            await asyncio.sleep(0.01)


async def test_a_dossier_and_its_steps_are_locked_in_one_order_by_every_door(engine: AsyncEngine) -> None:
    """Heads with steps from one client, steps alone from another: the second waits, and neither deadlocks."""

    async def steps_alone() -> None:
        async with session_scope(engine) as session:
            await take(session, steps=[make.step(officer="Hai")])

    async with session_scope(engine) as session:
        await take(session, [make.head(version=START)], [make.step(officer="Một")])
    async with session_scope(engine) as session:
        await take(session, [make.head(version=START + HOUR)])
        other = asyncio.create_task(steps_alone())
        await waiting(session)
        await take(session, steps=[make.step(officer="Ba")])
    await other
    async with session_scope(engine) as session:
        assert await rows(session, "SELECT officer FROM dossier") == [("Hai",)], "it arrived last"


async def test_a_stream_says_from_which_line_on_nothing_is_stored(
    cluster: Cluster, database: str, engine: AsyncEngine, settings: Settings
) -> None:
    """The driver's own error, with a connection that lives on: a lock that is not had in time."""
    name = database.rpartition("/")[2].partition("?")[0]
    await cluster.statement(f"ALTER DATABASE {name} SET lock_timeout = '100ms'")
    item = {"code": CODE, "status": 4, "updated_at": "2026-08-03T09:30:00+07:00"}
    kind = {"Content-Type": "application/x-ndjson"}
    async with make.client(engine, settings, api.router) as http, session_scope(engine) as session:
        await take(session, [make.head()], portal=Portal.PROVINCIAL)
        whole = await http.post("/v1/dossiers", json=[item])
        stream = await http.post("/v1/dossiers", content=json.dumps(item).encode(), headers=kind)
    assert whole.status_code == 503
    (line,) = [json.loads(each) for each in stream.text.splitlines()]
    assert (line["error"], line["from_index"]) == ("unavailable", 0)
