"""The reconcile worker on a real database: what it keeps by differences is what comparing all of it gives."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from sqlalchemy import delete, func, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncEngine

from services.reconcile import pairs, queries, worker
from services.reconcile.compare import compare
from services.reconcile.findings import values_of
from services.reconcile.parameters import parameters_on
from shared import queue
from shared.calendar import TZ
from shared.db import session_scope
from shared.models import Change, Comparison, Dossier, Finding, FindingEvent, Presence, SyncState
from shared.vocabulary import Consumer, Known

START = datetime(2026, 8, 3, 8, tzinfo=TZ)
HOUR = timedelta(hours=1)
CODES = ("H31.135-260803-0001", "H31.135-260803-0002", "procedures")
ALL = int(Known(8191))
COPY: dict[str, Any] = {
    "code_known": True,
    "source_system": "province",
    "known": ALL,
    "version": START,
    "procedure_code": "1.001612",
    "procedure_suffix": None,
    "agency_code": None,
    "unit_name": "UBND phường Phố Hiến",
    "unit_code": "H31.135",
    "unit_via": "alias",
    "status": 4,
    "cancelled": False,
    "channel": 1,
    "submitted_at": START,
    "received_at": START,
    "due_at": START + 72 * HOUR,
    "finished_at": None,
    "returned_at": None,
    "rejected_at": None,
    "supplements": None,
    "officer": "Trần Thị Mẫu",
    "officer_title": "Chuyên viên",
    "officer_at": START,
    "step_status": 4,
    "step_status_at": START,
    "via": "push",
    "learnt_at": START,
    "vanished_at": None,
}


async def put(engine: AsyncEngine, now: datetime, code: str, portal: str, **fields: Any) -> None:
    """A copy arrives, as ingest would write it: the row and the change in one transaction."""
    values = {"code": code, "portal": portal, **COPY, "learnt_at": now, **fields}
    async with session_scope(engine) as session:
        await session.execute(
            insert(Dossier)
            .values(values)
            .on_conflict_do_update(index_elements=["code", "portal"], set_=values)
        )
        await queue.enqueue(session, [code], consumers=[Consumer.RECONCILE], now=now)


async def prove(engine: AsyncEngine, now: datetime, code: str, found: bool) -> None:
    values = {"code": code, "portal": "national", "found": found, "checked_at": now, "via": "lookup"}
    async with session_scope(engine) as session:
        statement = insert(Presence).values(values)
        await session.execute(statement.on_conflict_do_update(index_elements=["code", "portal"], set_=values))
        await queue.enqueue(session, [code], consumers=[Consumer.RECONCILE], now=now)


async def walk_ended(
    engine: AsyncEngine, now: datetime, portal: str = "provincial", subject: str = "dossiers"
) -> None:
    values = {"portal": portal, "subject": subject, "complete_through": now, "updated_at": now}
    async with session_scope(engine) as session:
        statement = insert(SyncState).values(values)
        await session.execute(
            statement.on_conflict_do_update(index_elements=["portal", "subject"], set_=values)
        )
        codes = CODES if subject == "dossiers" else ["procedures"]
        await queue.enqueue(session, codes, consumers=[Consumer.RECONCILE], now=now)


async def drain(engine: AsyncEngine, now: datetime, limit: int = 1000) -> int:
    return await queue.drain(engine, consumer=Consumer.RECONCILE, work=worker.work, now=now, limit=limit)


async def open_findings(engine: AsyncEngine) -> dict[tuple[str, str, str], Any]:
    async with session_scope(engine) as session:
        rows = await session.scalars(select(Finding).where(Finding.state == "open"))
        return {
            (row.code, row.kind, row.key): (row.unit_code, row.procedure_code, values_of(row.evidence))
            for row in rows
        }


async def from_scratch(engine: AsyncEngine, now: datetime) -> dict[tuple[str, str, str], Any]:
    async with session_scope(engine) as session:
        copies, proofs = await queries.copies(session, CODES), await queries.proofs(session, CODES)
    twins = pairs.pair({code: pairs.half(copies.get(code, ()), proofs[code]) for code in CODES})
    wanted = {}
    for code in CODES:
        proved = replace(proofs[code], twin=twins.get(code))
        result = compare(copies.get(code, ()), proved, now, parameters_on(now.date()))
        for each in result.findings:
            unit = result.unit_code or "H31"
            wanted[code, each.kind, each.key] = (unit, result.procedure_code, values_of(each.evidence))
    return wanted


async def history(engine: AsyncEngine) -> dict[str, list[str]]:
    async with session_scope(engine) as session:
        rows = await session.execute(
            select(Finding.kind, FindingEvent.event)
            .join(FindingEvent, FindingEvent.finding_id == Finding.id)
            .order_by(FindingEvent.at, FindingEvent.id)
        )
        told: dict[str, list[str]] = {}
        for kind, event in rows:
            told.setdefault(kind, []).append(event)
        return told


async def test_opens_resolves_and_reopens_with_its_history(engine: AsyncEngine) -> None:
    code = CODES[0]
    await put(engine, START, code, "provincial")
    await put(engine, START, code, "sent", due_at=None)
    await drain(engine, START)
    assert list(await open_findings(engine)) == [(code, "appointment_missing", "provincial-sent")]
    await put(engine, START + HOUR, code, "sent")
    await drain(engine, START + HOUR)
    assert await open_findings(engine) == {}
    await put(engine, START + 2 * HOUR, code, "sent", due_at=None)
    await drain(engine, START + 2 * HOUR)
    async with session_scope(engine) as session:
        (row,) = await session.scalars(select(Finding))
    assert (row.state, row.times_opened, row.resolved_at) == ("open", 2, None)
    assert row.opened_at == START + 2 * HOUR
    assert await history(engine) == {"appointment_missing": ["opened", "resolved", "reopened"]}


async def test_learning_the_same_again_is_no_event(engine: AsyncEngine) -> None:
    code = CODES[0]
    await put(engine, START, code, "provincial")
    await put(engine, START, code, "sent", procedure_code="2.000720")
    await drain(engine, START)
    await put(engine, START + HOUR, code, "sent", procedure_code="2.000720", via="list")
    await drain(engine, START + HOUR)
    assert await history(engine) == {"procedure_differs": ["opened"]}
    await put(engine, START + 2 * HOUR, code, "sent", procedure_code="2.000721")
    await drain(engine, START + 2 * HOUR)
    assert await history(engine) == {"procedure_differs": ["opened", "changed"]}


async def test_a_difference_that_waits_for_the_sync_comes_by_time_alone(engine: AsyncEngine) -> None:
    code = CODES[0]
    await put(engine, START, code, "sent")
    await put(
        engine,
        START + HOUR,
        code,
        "provincial",
        status=9,
        step_status=9,
        version=START + HOUR,
        finished_at=START,
    )
    await drain(engine, START + HOUR)
    assert await open_findings(engine) == {}
    await drain(engine, START + 7 * HOUR - timedelta(seconds=1))
    assert await open_findings(engine) == {}
    await drain(engine, START + 7 * HOUR)
    assert list(await open_findings(engine)) == [(code, "status_differs", "provincial-sent")]
    async with session_scope(engine) as session:
        assert await session.scalar(select(func.count()).select_from(Change)) == 0


async def test_a_wake_is_written_once(engine: AsyncEngine) -> None:
    code = CODES[0]
    await put(engine, START, code, "sent")
    for _ in range(3):
        await put(engine, START, code, "provincial", procedure_code="2.000720", version=START + HOUR)
        await drain(engine, START + HOUR)
    async with session_scope(engine) as session:
        assert list(await session.scalars(select(Change.wake_at))) == [START + 7 * HOUR]
        row = await session.get_one(Comparison, code)
    assert (row.copies, row.unit_code, row.received_at, row.wake_at) == (
        3,
        "H31.135",
        START,
        START + 7 * HOUR,
    )


async def test_many_workers_at_once_give_what_one_gives(engine: AsyncEngine) -> None:
    codes = [f"H31.135-260803-{number:04}" for number in range(1, 41)]
    for code in codes:
        await put(engine, START, code, "provincial")
        await put(engine, START, code, "sent", due_at=None)
        await put(engine, START, code, "national", officer=None, procedure_code="2.000720")
    await asyncio.gather(*(drain(engine, START, limit=7) for _ in range(4)))
    found = await open_findings(engine)
    assert sorted(found) == sorted(
        (code, kind, key)
        for code in codes
        for kind, key in (
            ("appointment_missing", "provincial-sent"),
            ("appointment_differs", "sent-national"),
            ("procedure_differs", "sent-national"),
            ("officer_missing", ""),
        )
    )
    assert all(events == ["opened"] * 40 for events in (await history(engine)).values())


async def test_full_mends_what_no_change_told_of(engine: AsyncEngine) -> None:
    for code in CODES[:2]:
        await put(engine, START, code, "provincial")
        await put(engine, START, code, "sent", officer="Cán bộ một cửa")
    async with session_scope(engine) as session:
        await session.execute(delete(Change))
    told: list[tuple[int, int]] = []
    found = await worker.full(engine, lambda: START, batch=1, on_progress=lambda *now: told.append(now))
    assert found == {"compared": 2, "opened": 2}
    assert list(dict.fromkeys(told)) == [(0, 2), (1, 2), (2, 2)]
    assert await open_findings(engine) == await from_scratch(engine, START)
    assert await worker.full(engine, lambda: START) == {"compared": 2}


async def test_a_long_full_comparison_judges_each_batch_at_its_own_moment(engine: AsyncEngine) -> None:
    """While it goes on, time passes, and a worker opens what was not due at its start."""
    grace = 30 * HOUR
    for code in CODES[:2]:
        await put(engine, START, code, "sent")
        await prove(engine, START + grace, code, False)
    moments = iter([START, START + grace, START + grace])
    await drain(engine, START + grace)
    opened = await open_findings(engine)
    assert {code for code, *_ in opened} == set(CODES[:2])
    await worker.full(engine, lambda: next(moments, START + grace), batch=1)
    assert CODES[1] in {code for code, *_ in await open_findings(engine)}


# --- any sequence of arrivals, corrections, proofs and moves of time ----------------------------------------

hours = st.integers(-3, 12).map(lambda number: START + number * HOUR)
maybe = st.none() | hours
fields = st.fixed_dictionaries(
    {
        "version": hours,
        "status": st.sampled_from([4, 4, 5, 9]),
        "step_status": st.none() | st.integers(1, 10),
    },
    optional={
        "known": st.sampled_from([ALL, ALL & ~int(Known.DUE_AT), int(Known.OFFICER)]),
        "procedure_code": st.sampled_from(["1.001612", "2.000720", None]),
        "unit_code": st.sampled_from(["H31.135", "H31.136", None]),
        "received_at": maybe,
        "due_at": maybe,
        "finished_at": maybe,
        "officer": st.sampled_from(["", "Cán bộ một cửa", "Lê Văn Thử"]),
        "officer_at": maybe,
        "step_status_at": maybe,
    },
)
rare = st.sampled_from([{}, {}, {}, {}, {"cancelled": True}, {"vanished_at": START}, {"version": None}])
fields = st.builds(lambda one, two: one | two, fields, rare)
codes = st.sampled_from(CODES)
actions = st.lists(
    st.one_of(
        st.tuples(st.just("put"), codes, st.sampled_from(["provincial", "sent", "national"]), fields),
        st.tuples(st.just("prove"), codes, st.booleans()),
        st.tuples(st.just("walk_ended")),
        st.tuples(st.just("later"), st.sampled_from([1, 2, 5, 7, 30])),
        st.tuples(st.just("drain")),
    ),
    max_size=14,
)


slow = hypothesis_settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


@given(sequence=actions)
@slow
async def test_any_sequence_ends_as_a_comparison_from_scratch(
    engine: AsyncEngine, sequence: list[tuple[Any, ...]]
) -> None:
    await _ends_as_from_scratch(engine, sequence)


odd = st.sampled_from(
    [
        *[{}] * 8,
        {"received_at": START + HOUR},
        {"received_at": None},
        {"procedure_code": "2.000720"},
        {"unit_code": None},
        {"cancelled": True},
        {"vanished_at": START},
    ]
)
halves = st.builds(
    lambda second, one: {"received_at": second} | one, st.sampled_from([START, START + HOUR / 90]), odd
)
told = st.tuples(
    st.just("put"), codes, st.sampled_from(["provincial", "provincial", "sent", "national"]), halves
)
of_halves = st.lists(
    st.one_of(told, told, st.tuples(st.just("prove"), codes, st.booleans())), min_size=2, max_size=8
).map(lambda news: [each for one in news for each in (one, ("drain",))])


@given(sequence=of_halves)
@slow
async def test_pairs_are_proposed_and_dropped_as_from_scratch(
    engine: AsyncEngine, sequence: list[tuple[Any, ...]]
) -> None:
    proved = [("later", 30), ("walk_ended",), *(("prove", code, False) for code in CODES)]
    await _ends_as_from_scratch(engine, [*proved, *sequence], ())


async def _ends_as_from_scratch(
    engine: AsyncEngine, sequence: list[tuple[Any, ...]], first: tuple[str, ...] = ("provincial", "sent")
) -> None:
    async with session_scope(engine) as session:
        for table in (Change, FindingEvent, Finding, Comparison, Presence, SyncState, Dossier):
            await session.execute(delete(table))
    now = START
    for portal in first:
        await put(engine, now, CODES[0], portal)
    for action, *given_values in sequence:
        if action == "put":
            code, portal, values = given_values
            await put(engine, now, code, portal, **values)
        elif action == "prove":
            await prove(engine, now, *given_values)
        elif action == "walk_ended":
            await walk_ended(engine, now)
        elif action == "later":
            now += given_values[0] * HOUR
        else:
            await drain(engine, now, limit=1)
    for wait in (0, 3, 8):  # the last two by the passing of time alone
        now += wait * HOUR
        await drain(engine, now)
        assert await open_findings(engine) == await from_scratch(engine, now)
    changed = await worker.full(engine, lambda: now, batch=2)
    assert changed.keys() == {"compared"}
    async with session_scope(engine) as session:
        rows = await session.execute(
            select(Finding, func.array_agg(FindingEvent.event))
            .join(FindingEvent, FindingEvent.finding_id == Finding.id)
            .group_by(Finding.code, Finding.id)
        )
        for row, events in rows:
            assert row.times_opened == events.count("opened") + events.count("reopened")
            assert row.times_opened - events.count("resolved") == (row.state == "open")
            assert events.count("opened") == 1


async def test_one_dossier_under_two_codes_is_proposed_once(engine: AsyncEngine) -> None:
    """Whatever comes first; a third that fits as well makes it ambiguous, and its end makes it clear again."""
    ours, theirs, third = CODES[0], "H31.135-260803-48213", CODES[1]
    late = START + 30 * HOUR
    await put(engine, START, theirs, "sent", received_at=START + timedelta(seconds=20))
    await walk_ended(engine, late)
    await put(engine, late, theirs, "sent", received_at=START + timedelta(seconds=20))
    await drain(engine, late)
    assert list(await open_findings(engine)) == [(theirs, "missing_on_provincial", "")]
    await put(engine, late, ours, "provincial")
    await prove(engine, late, ours, False)
    await drain(engine, late)
    found = await open_findings(engine)
    assert list(found) == [(ours, "possible_duplicate", "")]
    assert found[ours, "possible_duplicate", ""][2]["codes"] == [ours, theirs]
    assert theirs in found[ours, "possible_duplicate", ""][2]["sentence"]
    await put(engine, late, third, "provincial")
    await drain(engine, late)
    assert set(await open_findings(engine)) == {
        (ours, "missing_on_national", ""),
        (theirs, "missing_on_provincial", ""),
    }
    await put(engine, late, third, "sent")
    await drain(engine, late)
    assert list(await open_findings(engine)) == [(ours, "possible_duplicate", "")]
    async with session_scope(engine) as session:
        assert await session.scalar(select(func.count()).select_from(Change)) == 0


@pytest.mark.parametrize("portal", ["provincial", "sent"])
async def test_absence_is_only_told_with_a_proof_after_the_grace_time(
    engine: AsyncEngine, portal: str
) -> None:
    code = CODES[0]
    await put(engine, START, code, portal)
    await prove(engine, START + 23 * HOUR, code, False)
    await drain(engine, START + 23 * HOUR)
    assert await open_findings(engine) == {}
    await prove(engine, START + 24 * HOUR, code, False)
    await drain(engine, START + 24 * HOUR)
    assert list(await open_findings(engine)) == [(code, "missing_on_national", "")]
    await put(engine, START + 25 * HOUR, code, "national")
    await drain(engine, START + 25 * HOUR)
    assert await open_findings(engine) == {}
