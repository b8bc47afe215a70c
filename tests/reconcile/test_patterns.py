"""What only a unit's month shows: flags that never vary."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import date, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy.ext.asyncio import AsyncEngine

from services.reconcile import patterns, worker
from services.reconcile.parameters import parameters_on
from services.reconcile.patterns import Counted
from services.reconcile.rules import RESPONSIBLE_NAMES
from shared import queue
from shared.db import session_scope
from shared.models import Dossier
from shared.vocabulary import Consumer, Fact
from tests import make
from tests.make import NOW
from tests.reconcile.test_worker import COPY

PARAMETERS = parameters_on(NOW.date())
ENOUGH, IN_PERSON = PARAMETERS.pattern_dossiers, PARAMETERS.pattern_in_person
FLAGS = [flag.name for flag in patterns.FLAGS]


def counted(dossiers: int, in_person: int = 0, **constant: int) -> Counted:
    told = dict.fromkeys(FLAGS, dossiers)
    return Counted("H31.135", date(2026, 8, 1), told, dict.fromkeys(FLAGS, 0) | constant, in_person)


def found(*rows: Counted) -> list[tuple[str, str, str]]:
    return [each.identity for each in patterns.wanted(rows, PARAMETERS)]


def test_a_flag_that_never_varies() -> None:
    month = "2026-08"
    assert found(counted(ENOUGH)) == []
    every = counted(ENOUGH, IN_PERSON, **dict.fromkeys(FLAGS, ENOUGH))
    assert found(every) == [
        *(("H31.135", "flag_constant", f"{month}:{name}") for name in FLAGS[:4]),
        ("H31.135", "reuse_forced", month),
        ("H31.135", "cash_counted_online_suspected", month),
    ]
    assert found(counted(ENOUGH, vneid=ENOUGH - 1)) == [], "one exception is enough"
    assert found(counted(ENOUGH - 1, vneid=ENOUGH - 1)) == [], "too few to say"
    assert found(counted(ENOUGH, IN_PERSON - 1, paid_online=ENOUGH)) == []
    assert found(counted(0)) == [], "what nobody tells never varies"


def test_the_sentence_names_the_month_and_the_numbers() -> None:
    vneid, cash = patterns.wanted([counted(ENOUGH, 31, vneid=ENOUGH, paid_online=ENOUGH)], PARAMETERS)
    assert vneid.evidence["sentence"] == (
        f"Tháng 08/2026: cả {ENOUGH} hồ sơ của đơn vị đều ghi tài khoản không được xác thực với VNeID;"
        " đề nghị kiểm tra có phải phần mềm tự điền."
    )
    assert "trong đó 31 hồ sơ nộp trực tiếp" in cash.evidence["sentence"]
    for rule in patterns.RULES:
        assert "không kết luận" in rule.unknown
        assert rule.responsible in RESPONSIBLE_NAMES


@given(
    dossiers=st.integers(0, 90),
    in_person=st.integers(0, 40),
    constant=st.fixed_dictionaries({name: st.integers(0, 90) for name in FLAGS}),
)
def test_a_dossier_that_tells_otherwise_ends_a_pattern(
    dossiers: int, in_person: int, constant: dict[str, int]
) -> None:
    row = counted(dossiers, in_person, **{name: min(n, dossiers) for name, n in constant.items()})
    exception = row._replace(told={name: n + 1 for name, n in row.told.items()})
    assert found(exception) == []
    assert set(found(row)) <= {
        *found(row._replace(in_person=99)),
    }


async def put(engine: AsyncEngine, numbers: Iterable[int], **fields: Any) -> None:
    received = make.moment("2026-08-03 09:30")
    values: dict[str, Any] = COPY | {
        "version": received,
        "received_at": received,
        "submitted_at": received - timedelta(minutes=5),
        "learnt_at": NOW,
        "portal": "sent",
        "channel": 1,
        "facts_known": sum(Fact),
    }
    async with session_scope(engine) as session:
        for n in numbers:
            session.add(Dossier(code=f"H31.135-260803-{n:04d}", **(values | fields)))


async def open_findings(engine: AsyncEngine) -> set[tuple[str, str, str]]:
    async with session_scope(engine) as session:
        rows = await patterns.driver(session)
        return {
            tuple(row)
            for row in await rows.fetch(
                "SELECT code, kind, key FROM finding WHERE subject = 'unit' AND state = 'open'"
            )
        }


HEALTHY = int(Fact.VNEID)
"""A copy with nothing that looks filled in."""


async def test_the_pass_counts_what_the_nation_shows(engine: AsyncEngine) -> None:
    digitised = HEALTHY | Fact.DIGITISED
    await put(engine, range(ENOUGH), facts=digitised)
    # Not of this month, not of this unit, gone, cancelled, of another basis, without a receipt: none of them counts.
    await put(engine, [1000], facts=HEALTHY, received_at=make.moment("2026-09-01 00:00"))
    await put(engine, [1001], facts=HEALTHY, unit_code="H31.136")
    await put(engine, [1002], facts=HEALTHY, vanished_at=NOW)
    await put(engine, [1003], facts=HEALTHY, cancelled=True)
    await put(engine, [1004], facts=HEALTHY, portal="provincial")
    await put(engine, [1005], facts=HEALTHY, received_at=None)
    # The nation's own copy speaks, unless it tells no papers.
    await put(engine, [0], portal="national", facts=0, facts_known=0)
    await worker.full(engine, lambda: NOW)
    assert await open_findings(engine) == {("H31.135", "flag_constant", "2026-08:digitised")}
    await put(engine, [1], portal="national", facts=HEALTHY)
    await worker.full(engine, lambda: NOW)
    assert await open_findings(engine) == set(), "resolved by itself"


@pytest.mark.parametrize("otherwise", [0, 1])
async def test_cash_is_suspected_where_all_pay_online_at_the_counter_too(
    engine: AsyncEngine, otherwise: int
) -> None:
    paid = HEALTHY | Fact.FEE | Fact.PAID_ONLINE
    await put(engine, range(IN_PERSON), facts=paid)
    await put(engine, range(100, 105), facts=paid, channel=2)
    await put(engine, range(200, 210), facts=HEALTHY | Fact.FEE)  # not paid yet
    await put(engine, range(300, 300 + otherwise), facts=HEALTHY | Fact.FEE | Fact.PAID_OTHERWISE)
    await worker.full(engine, lambda: NOW)
    expected = {("H31.135", "cash_counted_online_suspected", "2026-08")}
    assert await open_findings(engine) == (set() if otherwise else expected)


async def test_the_worker_looks_once_an_hour(engine: AsyncEngine) -> None:
    looked = worker.Patterns()
    await looked.tick(engine, NOW)
    await put(engine, range(ENOUGH), facts=HEALTHY | Fact.REUSED)
    await looked.tick(engine, NOW + timedelta(minutes=59))
    assert await open_findings(engine) == set()
    await looked.tick(engine, NOW + timedelta(minutes=60))
    assert await open_findings(engine) == {("H31.135", "reuse_forced", "2026-08")}


async def test_the_worker_looks_soon_after_it_has_worked_off_what_came(engine: AsyncEngine) -> None:
    """Not while there is more of it, nor at each message."""
    looked, soon = worker.Patterns(), NOW + worker.PATTERNS_AFTER_CHANGES
    await looked.tick(engine, NOW)
    await put(engine, range(ENOUGH), facts=HEALTHY | Fact.REUSED)
    await changed(engine, ["H31.135-260803-0001"])
    await looked.tick(engine, soon)
    assert await open_findings(engine) == set(), "nothing is worked off yet"
    await queue.drain(engine, consumer=Consumer.RECONCILE, work=looked.work, now=NOW)
    await looked.tick(engine, soon - timedelta(seconds=1))
    assert await open_findings(engine) == set(), "looked a moment ago"
    await changed(engine, ["H31.135-260803-0002"])
    await looked.tick(engine, soon)
    assert await open_findings(engine) == set(), "there is more to come"
    await queue.drain(engine, consumer=Consumer.RECONCILE, work=looked.work, now=NOW)
    await looked.tick(engine, soon)
    assert await open_findings(engine) == {("H31.135", "reuse_forced", "2026-08")}


async def test_patterns_can_be_asked_for(engine: AsyncEngine) -> None:
    """As the first run does at the end of its load, whose summary tells them."""
    await put(engine, range(ENOUGH), facts=HEALTHY | Fact.REUSED)
    await changed(engine, [queue.UNITS])
    await queue.drain(engine, consumer=Consumer.RECONCILE, work=worker.work, now=NOW)
    assert await open_findings(engine) == {("H31.135", "reuse_forced", "2026-08")}


async def changed(engine: AsyncEngine, codes: list[str]) -> None:
    async with session_scope(engine) as session:
        await queue.enqueue(session, codes, consumers=(Consumer.RECONCILE,), now=NOW)
