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
from services.summary import addresses, summary
from shared.db import session_scope
from shared.vocabulary import Role
from tests import joined
from tests.conftest import Cluster
from tests.joined import bearer
from tests.make import NOW


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


async def test_a_unit_without_overdue_dossiers_is_told_too(cluster: Cluster) -> None:
    async with joined.own_database(cluster) as (engine, settings):
        await joined.province(engine)
        _, key = await joined.key(engine, Role.ADMIN)
        screen = await printed(joined.joined(settings), key, "H31.16")
    assert "H31.16: không có hồ sơ nào bị trừ điểm" in screen
