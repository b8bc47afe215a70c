"""What `make run` prints at its end, on the shipped application."""

from __future__ import annotations

import asyncio
from io import StringIO

import httpx
import pytest
from fastapi import FastAPI
from rich.console import Console
from sqlalchemy import text

from services.sandbox.server import serving
from services.summary import WHO, addresses, summary
from shared import queue
from shared.db import session_scope
from shared.vocabulary import Consumer, Fact, Role
from tests import joined
from tests.conftest import Cluster
from tests.joined import bearer
from tests.make import NOW
from tests.reconcile import test_patterns


async def printed(app: FastAPI, key: str, unit: str) -> str:
    out = StringIO()
    console = Console(file=out, width=80)

    def run() -> None:
        with (
            serving(app) as url,
            httpx.Client(base_url=url, headers=bearer(key), trust_env=False) as api,
        ):
            summary(api, console, 12.3, unit)
            addresses(console, url, "http://127.0.0.1:8090", {"centre": key}, unit)

    await asyncio.to_thread(run)
    return out.getvalue()


@pytest.mark.parametrize("judged", [False, True])
async def test_one_screen_tells_what_was_found(cluster: Cluster, judged: bool) -> None:
    """Also before the national database was read to its end, when differences of procedures are not judged."""
    async with joined.own_database(cluster) as (engine, settings):
        await joined.province(engine)
        if judged:
            async with session_scope(engine) as session:
                await session.execute(
                    text(
                        "INSERT INTO sync_state (portal, subject, complete_through, updated_at)"
                        " VALUES ('national', 'procedures', :now, :now)"
                    ),
                    {"now": NOW},
                )
        _, key = await joined.key(engine, Role.ADMIN)
        screen = await printed(joined.joined(settings), key, "H31.135")
    for words in (
        "Kết quả sau 12 giây",
        "UBND phường Phố Hiến",
        "missing_on_national",
        "/v1/indicators/progress?unit=H31.135",
        f"export KEY={key}",
    ):
        assert words in screen
    assert ("chưa kết luận được" in screen) is not judged
    assert ("extra_on_national" in screen) is judged
    prose = [line for line in screen.splitlines() if "GET /" not in line and "curl" not in line]
    assert [line for line in prose if len(line) > 80] == []


async def test_findings_stand_beside_who_acts_on_them(cluster: Cluster) -> None:
    """As /v1/findings tells it of each, also where a kind's rule names somebody else; and those of units are there."""
    async with joined.own_database(cluster) as (engine, settings):
        await joined.province(engine)
        await test_patterns.put(
            engine, range(100, 100 + test_patterns.ENOUGH), facts=Fact.VNEID | Fact.REUSED
        )
        async with session_scope(engine) as session:
            await queue.enqueue(session, [queue.UNITS], consumers=(Consumer.RECONCILE,), now=NOW)
        await joined.work(engine)
        async with session_scope(engine) as session:
            await session.execute(
                text(
                    "UPDATE finding SET responsible = 'ministry' WHERE subject = 'dossier' AND code LIKE 'H31.136%'"
                )
            )
            rows = await session.execute(
                text(
                    "SELECT kind, responsible, count(*) FROM finding WHERE state = 'open'"
                    " AND subject IN ('dossier', 'unit') GROUP BY 1, 2"
                )
            )
            expected = {(kind, WHO[responsible], str(count)) for kind, responsible, count in rows}
        _, key = await joined.key(engine, Role.ADMIN)
        screen = await printed(joined.joined(settings), key, "H31.135")
    for kind, who, count in expected:
        row = [line for line in screen.splitlines() if line.split()[-1:] == [kind] and who in line]
        assert [line.split()[0] for line in row] == [count], (kind, who)
    assert {who for kind, who, _ in expected if kind == "missing_on_national"} == {"VNPT", "Bộ, ngành"}
    assert ("reuse_forced", "VNPT", "1") in expected


async def test_a_unit_without_overdue_dossiers_is_told_too(cluster: Cluster) -> None:
    async with joined.own_database(cluster) as (engine, settings):
        await joined.province(engine)
        _, key = await joined.key(engine, Role.ADMIN)
        screen = await printed(joined.joined(settings), key, "H31.16")
    assert "H31.16: không có hồ sơ nào bị trừ điểm" in screen
