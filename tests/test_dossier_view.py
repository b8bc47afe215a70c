"""GET /v1/dossiers/{code}: what each basis says of a dossier, whichever way its rows are kept."""

from __future__ import annotations

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from shared import queue
from shared.db import session_scope
from shared.settings import Settings
from shared.vocabulary import BOTH, Consumer, Role
from tests import joined
from tests.make import NOW


async def test_each_basis_is_told_by_its_own_name(engine: AsyncEngine, settings: Settings) -> None:
    await joined.province(engine)
    async with session_scope(engine) as session:
        found = (await session.execute(text("UPDATE presence SET found = true RETURNING code"))).scalars()
        await queue.enqueue(session, sorted(found), consumers=(Consumer.INDICATORS,), now=NOW)
    await joined.work(engine)
    async with session_scope(engine) as session:
        rows = await session.execute(
            text("SELECT code, basis FROM assessment_period WHERE period = '2026-08' ORDER BY code, basis")
        )
        kept: dict[str, set[str]] = {}
        for code, basis in rows:
            kept.setdefault(code, set()).add(basis)
    assert any(bases == {BOTH} for bases in kept.values()), "one row stands for both where they agree"
    _, key = await joined.key(engine, Role.ADMIN)
    async with joined.serve(joined.joined(settings)) as http:
        for code, bases in kept.items():
            told = (await http.get(f"/v1/dossiers/{code}", headers=joined.bearer(key))).json()
            august = [each["basis"] for each in told["indicators"] if each["period"] == "2026-08"]
            judged = (await http.get(f"/v1/dossiers/{code}/assessment", headers=joined.bearer(key))).json()
            assert {
                (basis["basis"], each["period"]): each["components"]
                for basis in judged["bases"]
                for each in basis["periods"]
            } == {(each["basis"], each["period"]): each["components"] for each in told["indicators"]}
            assert august == (["counted", "provincial"] if BOTH in bases else sorted(bases)), code
            apart = {each["basis"] for each in told["not_counted"]}
            assert apart.isdisjoint(august), "nothing is counted and not counted"
