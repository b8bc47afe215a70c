"""A recount judges one dossier of each shape and carries it to the rest: that is what judging each by itself gives."""

from __future__ import annotations

import asyncio
import json
from datetime import datetime, timedelta
from typing import Any

import asyncpg
import hypothesis
from hypothesis import strategies as st
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession

from services.indicators import recount
from services.indicators.plain import judge_plain
from services.indicators.rules.facts import LEAST, NEEDED
from services.indicators.rules.measures import COLUMNS
from services.indicators.service import assess_codes
from shared.db import create_engine, driver, session_scope
from shared.reasons import Bit
from shared.vocabulary import Portal
from tests import make
from tests.conftest import Cluster
from tests.make import moment

NOW = moment("2026-08-05 09:00")
# Where judgements turn: the rule's first day, ends of periods, sessions of work, now; and next to it.
TURNS = [
    moment(text)
    for text in (
        "2022-06-23", "2026-01-01", "2026-06-30 16:00", "2026-07-01", "2026-07-31 11:30", "2026-08-01",
        "2026-08-03 07:30", "2026-08-05 09:00", "2026-08-06 17:00", "2026-10-01", "2027-02-01",
    )
]  # fmt: skip
NEAR = [timedelta(microseconds=1) * n for n in (-1, 0, 1, 5_400_000_001)]
moments = st.builds(lambda turn, by: turn + by, st.sampled_from(TURNS), st.sampled_from(NEAR))
PROCEDURES = ("1.000001", "1.000002", "1.000003", "1.000004", "1.000005")
"""With a maximum in each unit, and with one that says nothing."""
COLUMNS_OF_COPY = (
    "known", "version", "status", "cancelled", "channel", "received_at", "due_at", "finished_at", "supplements",
    "facts", "facts_known", "step_status", "step_status_at", "unit_code", "procedure_code", "vanished_at",
)  # fmt: skip
REQUEST = '[{"requested_at": "2026-07-30T02:00:00+00:00", "completed_at": null, "due_before": null, "due_after": null}]'


def mostly(usual: Any, *others: Any) -> st.SearchStrategy[Any]:
    return st.integers(0, 9).flatmap(lambda n: st.sampled_from(others) if n == 9 else st.just(usual))


ASKED = moments | mostly(moment("2026-07-29 09:00"), None)


def request(asked: datetime | None, answered: datetime | None, moved: bool) -> dict[str, str | None]:
    return {
        "requested_at": asked.isoformat() if asked else None,
        "completed_at": answered.isoformat() if answered else None,
        "due_before": None,
        "due_after": NOW.isoformat() if moved else None,
    }


requests = st.lists(st.builds(request, ASKED, st.none() | moments, st.booleans()), max_size=2).map(json.dumps)
copies = st.fixed_dictionaries(
    {
        "known": mostly(make.ALL_KNOWN, int(NEEDED), int(LEAST), 0),
        "version": mostly(moment("2026-08-04"), None, moment("2026-08-05 08:00")),
        "status": st.sampled_from([9, 9, 4, 10, 7, 2, None]),
        "cancelled": mostly(False, True),
        "channel": st.sampled_from([1, 2, None]),
        "received_at": moments | mostly(moment("2026-07-20 10:00"), None),
        "due_at": moments | mostly(moment("2026-08-03 17:00"), None) | st.none(),
        "finished_at": moments | mostly(moment("2026-08-02 10:00"), None),
        "supplements": mostly(None, "[]", "null", REQUEST) | requests,
        "facts": st.sampled_from([0, 0, 2, 4]),
        "facts_known": st.sampled_from([0, 8191]),
        "step_status": mostly(None, 9, 4, 0),
        "step_status_at": mostly(None, moment("2026-08-04 12:00"), moment("2026-08-03")),
        "unit_code": st.sampled_from(["H31.135", "H31.140", None]),
        "procedure_code": mostly("1.001612", None, "1.009999") | st.sampled_from(PROCEDURES),
        "vanished_at": mostly(None, NOW),
    }
)
# All copies alike but for some fields of one of them: as in life.
dossiers = st.tuples(
    copies,
    st.sets(st.sampled_from(list(Portal)), min_size=1) | st.just(set(Portal)),
    mostly(None, *Portal),
    copies,
    st.sets(st.sampled_from(COLUMNS_OF_COPY)),
)


def rows_of(number: int, dossier: Any) -> list[tuple[Any, ...]]:
    base, portals, odd, other, fields = dossier
    return [
        (
            f"H31.135-260803-{number:04}",
            portal.value,
            *((other if portal is odd and name in fields else base)[name] for name in COLUMNS_OF_COPY),
        )
        for portal in sorted(portals)
    ]


INSERT = f"""
INSERT INTO dossier (code, portal, {", ".join(COLUMNS_OF_COPY)}, code_known, source_system, unit_via, via, learnt_at)
VALUES ({", ".join(f"${place}" for place in range(1, 3 + len(COLUMNS_OF_COPY)))},
    true, 'province', 'alias', 'push', now())
"""
BROKEN = (
    "SELECT 1",
    "DELETE FROM assessment_period; DELETE FROM assessment; DELETE FROM tally; DELETE FROM change",
    "UPDATE assessment_period SET bits = bits + 8, end_at = now() WHERE hashtext(code || period) % 3 = 0",
    "DELETE FROM assessment_period WHERE hashtext(code || period) % 3 = 0",
    "UPDATE assessment_period SET period = '2021' WHERE hashtext(code) % 2 = 0 AND period = '2026'",
    "UPDATE assessment SET source = 'absent', open = NOT open; DELETE FROM assessment WHERE hashtext(code) % 2 = 0",
    "UPDATE tally SET dossiers = dossiers + 7",
)


async def state(session: AsyncSession) -> list[list[Any]]:
    connection = await driver(session)
    queries = (
        "SELECT * FROM assessment_period ORDER BY code, basis, period",
        "SELECT code, basis, source, open, wake_at FROM assessment ORDER BY code, basis",
        f"SELECT basis, period, unit_code, procedure_code, {', '.join(COLUMNS)} FROM tally"
        " WHERE dossiers > 0 ORDER BY 1, 2, 3, 4",
        "SELECT DISTINCT wake_at, unnest(codes) FROM change ORDER BY 1, 2",
    )
    return [[tuple(row) for row in await connection.fetch(query)] for query in queries]


async def complain(connection: asyncpg.Connection, complaints: list[tuple[int, datetime]]) -> None:
    await connection.executemany(
        "INSERT INTO petition (code, kind, dossier_code, unit_via, sent_at, likes, dislikes, version, via, learnt_at)"
        " VALUES ($1, 'tthc', $2, 'none', $3, 0, 0, $3, 'push', $3)",
        [(f"P{n}", f"H31.135-260803-{number:04}", at) for n, (number, at) in enumerate(complaints)],
    )


async def compare(
    engine: AsyncEngine, drawn: list[Any], complaints: list[tuple[int, datetime]], broken: str
) -> None:
    async with engine.connect() as outer, outer.begin() as undone:
        async with AsyncSession(outer, join_transaction_mode="create_savepoint") as session:
            connection = await driver(session)
            rows = [row for number, each in enumerate(drawn) for row in rows_of(number, each)]
            await connection.executemany(INSERT, rows)
            await complain(connection, complaints)
            codes = sorted({row[0] for row in rows})
            await assess_codes(session, codes=codes, now=NOW)
            expected = await state(session)
            await connection.execute(broken)
            assert await recount.recount(session, now=NOW) == len(codes)
            assert await state(session) == expected
            assert await recount.check(session) == []
        await undone.rollback()


async def base(engine: AsyncEngine) -> None:
    async with session_scope(engine) as session:
        await make.units(session)
        await make.unit(
            session, "H31.140", "UBND xã Cũ", valid_to=moment("2026-07-15").date(), successor_code="H31.136"
        )
        await make.procedure(session)
        for code, value, unit in zip(
            PROCEDURES, (20, 12, 1, 0, 9), ("Giờ", "Ngày", "Tháng", "Ngày", "Ngày làm việc"), strict=True
        ):
            await make.procedure(session, code, max_duration=value, duration_unit=unit)


def test_shapes_say_what_each_dossier_says(cluster: Cluster) -> None:
    with asyncio.Runner() as runner:
        name = runner.run(cluster.create())
        engine = create_engine(cluster.app_url(name), pool_size=1)
        runner.run(base(engine))

        @hypothesis.settings(
            max_examples=40, deadline=None, suppress_health_check=list(hypothesis.HealthCheck)
        )
        @hypothesis.given(
            st.lists(dossiers, min_size=1, max_size=40),
            st.lists(st.tuples(st.integers(0, 40), moments), max_size=20),
            st.sampled_from(BROKEN),
        )
        def holds(drawn: list[Any], complaints: list[tuple[int, datetime]], broken: str) -> None:
            runner.run(compare(engine, drawn, complaints, broken))

        try:
            holds()
        finally:
            runner.run(engine.dispose())
            runner.run(cluster.drop(name))


async def test_the_mass_is_judged_by_its_shape(engine: AsyncEngine) -> None:
    """So that the property above is one of shapes: of alike dossiers none is left to be judged by itself."""
    await base(engine)
    usual: dict[str, Any] = dict.fromkeys(COLUMNS_OF_COPY) | {
        "known": make.ALL_KNOWN, "version": NOW, "status": 9, "cancelled": False, "facts": 0, "facts_known": 0,
        "received_at": moment("2026-07-20 10:00"), "due_at": moment("2026-08-03 17:00"), "unit_code": "H31.135",
    }  # fmt: skip
    drawn: list[Any] = [
        (
            usual | {"finished_at": moment("2026-08-02 10:00") + timedelta(seconds=n)},
            set(Portal),
            None,
            {},
            set(),
        )
        for n in range(50)
    ]
    drawn += [
        (usual | {"finished_at": moment("2026-08-02 10:00"), **odd}, set(Portal), None, {}, set())
        for odd in (
            {"due_at": None, "procedure_code": "1.000005"},
            {"due_at": None},
            {"supplements": REQUEST},
        )
    ]
    twice = usual | {"status": 4, "supplements": json.dumps([*json.loads(REQUEST)] * 2)}
    async with session_scope(engine) as session:
        connection = await driver(session)
        for number, each in enumerate([*drawn, (twice, set(Portal), None, {}, set())]):
            await connection.executemany(INSERT, rows_of(number, each))
        # One is complained of by now, one will be: that one is judged by itself.
        await complain(connection, [(7, moment("2026-08-04 10:00")), (8, moment("2026-08-05 10:00"))])
        plain = await judge_plain(connection, NOW)
        assert (plain.judged, len(plain.left)) == (52, 2)
        bit = int(Bit.COMPLAINED)
        complained = await connection.fetch(
            f"SELECT DISTINCT code, period FROM assessment_period WHERE bits & {bit} <> 0 ORDER BY 2"
        )
        assert [row[1] for row in complained] == ["2026", "2026-08", "2026-Q3"]
        assert {row[0] for row in complained} == {"H31.135-260803-0007"}
        timed = await connection.fetchval(
            "SELECT count(DISTINCT end_at) FROM assessment_period WHERE basis = $1 AND elapsed_seconds > 0",
            "both",
        )
        assert timed == 50, "of each its own, and in July the request for more papers"
