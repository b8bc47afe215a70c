"""Portals on a bad day: the pull survives what they do and ends in the rows and findings of a pull without faults."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from typing import Any

import httpx
import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from services.indicators import worker as indicators
from services.ingest import pull
from services.ingest.portals.circuit import BLOCKS
from services.ingest.portals.http import PortalBlocked, Retry
from services.reconcile import worker as reconcile
from services.sandbox.server import running
from shared import queue
from shared.db import session_scope
from shared.errors import Unavailable
from shared.settings import Settings
from shared.vocabulary import Consumer, Portal, Subject
from tests import portals
from tests.conftest import Cluster
from tests.joined import own_database
from tests.portals import ANCHOR

RETRY = Retry(attempts=8, first=0.001, longest=0.001, jitter=0, cooling=0.05)
ORDER = [
    (Portal.NATIONAL, Subject.UNITS),
    (Portal.PROVINCIAL, Subject.UNITS),
    (Portal.NATIONAL, Subject.PROCEDURES),
    (Portal.PROVINCIAL, Subject.DOSSIERS),
    (Portal.PROVINCIAL, Subject.DOSSIERS),  # once more: what arrived during the first walk
    (Portal.NATIONAL, Subject.LOOKUPS),
    (Portal.NATIONAL, Subject.DOSSIERS),
]
RUNS_AT_MOST = 8
"""So often a run that failed is asked for again, as the worker would."""

PAGES = {"portal": "provincial", "kind": "small_pages", "service": "search", "size": 40, "every": 1}
BOTH = ("national", "provincial")


def on_both(kind: str, **more: Any) -> list[dict[str, Any]]:
    return [{"portal": portal, "kind": kind} | more for portal in BOTH]


FAULTS: dict[str, list[dict[str, Any]]] = {
    "latency and 429 with Retry-After": [
        *on_both("latency", every=40, seconds=0.01),
        *on_both("rate_limited", every=7, retry_after="0"),
    ],
    "500 and 502": [
        *on_both("server_error", every=7),
        *on_both("server_error", every=9, after=1, status=502),
    ],
    "dropped connection": on_both("dropped", every=7),
    "truncated and half bodies": [*on_both("truncated", every=7), *on_both("half_body", every=9, after=1)],
    "expired session": on_both("session_expired", every=40, after=3),
    "block page": on_both("block_page", every=7),
    "a block that lasts a while": on_both("block_page", times=BLOCKS + 2, after=2),
    "rows arrive": [
        {"portal": "provincial", "kind": "rows_arrive", "service": "search", "after": 2, "rows": 7}
    ],
    "rows leave": [
        {"portal": "provincial", "kind": "rows_leave", "service": "search", "after": 2, "times": 3, "rows": 7}
    ],
    "duplicated and reordered items": [
        *on_both("duplicated", every=2, rows=4),
        *on_both("reordered", every=1),
    ],
    "double-encoded, and error_code 0, '0', '00'": [
        *(
            {"portal": "national", "kind": "error_code", "every": 3, "after": after, "value": value}
            for after, value in enumerate((0, "0", "00"))
        ),
        {"portal": "national", "kind": "double_encoded", "every": 2},
    ],
    "a mixture": [
        *on_both("rate_limited", every=11, after=1),
        *on_both("server_error", every=13, after=2),
        *on_both("dropped", every=17, after=3),
        *on_both("truncated", every=19, after=4),
        *on_both("session_expired", every=41, after=5),
        *on_both("block_page", every=29, after=6),
        *on_both("duplicated", every=3),
        *on_both("reordered", every=2),
        {"portal": "national", "kind": "double_encoded", "every": 2, "service": "TraCuuHoSo"},
        {
            "portal": "provincial",
            "kind": "rows_leave",
            "service": "search",
            "after": 3,
            "times": 2,
            "rows": 5,
        },
    ],
}

SNAPSHOT = {
    "dossier": "SELECT to_jsonb(d) - 'learnt_at' FROM dossier d ORDER BY code, portal",
    "dossier_step": "SELECT to_jsonb(d) - 'learnt_at' FROM dossier_step d ORDER BY code, portal, occurred_at, status",
    "presence": "SELECT code, portal, found FROM presence ORDER BY code, portal",
    "unit": "SELECT to_jsonb(u) - 'updated_at' FROM unit u ORDER BY code, valid_from",
    "procedure": "SELECT to_jsonb(p) - 'listed_at' - 'record_at' FROM procedure p ORDER BY code",
    "finding": "SELECT subject, code, kind, key, state, unit_code, evidence->>'sentence' FROM finding"
    " ORDER BY subject, code, kind, key",
    "state": "SELECT portal, subject, watermark, complete_through FROM sync_state ORDER BY portal, subject",
    "quarantine": "SELECT code, field FROM quarantine ORDER BY code, field",
}


@pytest.fixture(scope="module")
def sandbox() -> Iterator[str]:
    with running(portals.world(150), grant_list=True) as url:
        yield url


@pytest.fixture(scope="module")
async def expected(cluster: Cluster, sandbox: str) -> dict[str, list[Any]]:
    """What a pull without faults ends in."""
    async with own_database(cluster) as (engine, settings):
        assert await pulled(engine, here(settings, sandbox)) == []
        found = await snapshot(engine)
    assert len(found["dossier"]) > 250
    assert found["finding"]
    assert found["quarantine"] == []
    return found


@pytest.fixture
async def faults(sandbox: str) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=f"{sandbox}/_sandbox", trust_env=False) as http:
        await http.delete("/faults")
        yield http
        await http.delete("/faults")


def here(settings: Settings, url: str) -> Settings:
    return portals.leading_to(portals.at(settings, ANCHOR), url, national_list=True)


async def pulled(engine: AsyncEngine, settings: Settings) -> list[str]:
    """Everything, each subject until it is done; the errors on the way. Then the workers."""
    errors = []
    for portal, subject in ORDER:
        for again in range(RUNS_AT_MOST):
            try:
                await pull.run_one(engine, settings, portal, subject, retry=RETRY)
                break
            except Unavailable as error:
                errors.append(f"{portal}/{subject}: {error}")
                if again == RUNS_AT_MOST - 1:
                    raise
                await asyncio.sleep(RETRY.cooling * 2**again)  # the pause doubles with each block
    await indicators.tick(engine, ANCHOR)
    await queue.drain(engine, consumer=Consumer.RECONCILE, work=reconcile.work, now=ANCHOR)
    return errors


async def snapshot(engine: AsyncEngine) -> dict[str, list[Any]]:
    async with session_scope(engine) as session:
        return {
            name: [tuple(row) for row in await session.execute(text(sql))] for name, sql in SNAPSHOT.items()
        }


@pytest.mark.parametrize("name", FAULTS)
async def test_the_pull_converges(
    name: str,
    engine: AsyncEngine,
    settings: Settings,
    sandbox: str,
    faults: httpx.AsyncClient,
    expected: dict[str, list[Any]],
) -> None:
    answer = await faults.post("/faults", json=[PAGES, *FAULTS[name]])
    assert answer.status_code == 200, answer.text
    await pulled(engine, here(settings, sandbox))
    struck = (await faults.get("/faults")).json()["items"]
    assert all(fault["struck"] for fault in struck if fault["kind"] != "session_expired"), struck
    found = await snapshot(engine)
    for table, rows in expected.items():
        assert found[table] == rows, table


async def test_a_lasting_block_is_left_alone_and_told(engine: AsyncEngine, settings: Settings) -> None:
    """On a portal of its own: what this process knows of the block outlives the test."""
    slow = Retry(attempts=9, first=0.001, longest=0.001, jitter=0, cooling=3600)
    with running(portals.world(10)) as url:
        there = here(settings, url)
        async with httpx.AsyncClient(base_url=f"{url}/_sandbox", trust_env=False) as faults:
            await faults.post("/faults", json=[{"portal": "national", "kind": "block_page", "every": 1}])
            for _ in range(3):
                with pytest.raises(PortalBlocked) as blocked:
                    await pull.run_one(engine, there, Portal.NATIONAL, Subject.UNITS, retry=slow)
                assert blocked.value.is_open
            struck = (await faults.get("/faults")).json()["items"][0]["struck"]
        await pull.run_one(engine, there, Portal.PROVINCIAL, Subject.UNITS, retry=slow)
    assert struck == BLOCKS, "after a few block pages the portal is not asked again"
    errors = await portals.column(engine, "SELECT error FROM sync_run WHERE portal = 'national' ORDER BY id")
    assert len(errors) == 3
    assert all(f"trang chặn (HTML) {BLOCKS} lần" in error for error in errors)
    assert all("thử lại sau khoảng 60 phút" in error for error in errors)


async def test_retry_after_is_waited_for_and_too_long_a_one_ends_the_run(
    engine: AsyncEngine, settings: Settings, sandbox: str, faults: httpx.AsyncClient
) -> None:
    settings = here(settings, sandbox)
    limited = {"portal": "provincial", "kind": "rate_limited", "service": "search"}
    await faults.post("/faults", json=[limited | {"retry_after": "86400"}])
    with pytest.raises(Unavailable):
        await pull.run_one(engine, settings, Portal.PROVINCIAL, Subject.DOSSIERS, retry=RETRY)
    assert (await faults.get("/faults")).json()["items"][0]["calls"] == 1, "it is not asked before its time"
    await faults.delete("/faults")
    await faults.post("/faults", json=[limited | {"retry_after": "1"}])
    began = asyncio.get_running_loop().time()
    await pull.run_one(engine, settings, Portal.PROVINCIAL, Subject.DOSSIERS, retry=RETRY)
    assert asyncio.get_running_loop().time() - began >= 1, (
        "no call comes before the time that the portal told"
    )


async def test_only_faults_are_taken(faults: httpx.AsyncClient) -> None:
    for wrong in (
        [{"portal": "nowhere", "kind": "dropped"}],
        [{"portal": "national", "kind": "?"}],
        [{"portal": "national", "kind": "dropped", "every": 0}],
        [{"portal": "national", "kind": "dropped", "x": 1}],
        {"portal": "national"},
    ):
        assert (await faults.post("/faults", json=wrong)).status_code == 400
    assert (await faults.get("/faults")).json() == {"items": []}
