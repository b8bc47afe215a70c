"""A change of the unit tree reaches the dossiers that it concerns, and no others."""

from __future__ import annotations

from datetime import date

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from services.ingest import directory
from services.ingest.naming import follow_tree, tree_stamp
from services.ingest.service import accept
from shared.vocabulary import Portal
from tests import make
from tests.make import NOW

OLD, GUESSED, OTHER = "H31.900-260803-0001", "H31.135-260803-0002", "H31.136-260803-0003"


async def put(session: AsyncSession) -> None:
    await make.units(session)
    await make.unit(session, "H31.900", "UBND xã cũ", valid_from=date(2023, 1, 1))
    heads = [
        make.head(OLD, agency_code="H31.900", unit_name="UBND xã cũ"),
        make.head(GUESSED, agency_code=None, unit_name="Một cửa Phố Hiến"),
        make.head(OTHER, agency_code="H31.136", unit_name="UBND phường Sơn Nam"),
    ]
    await accept(session, portal=Portal.SENT, via="push", door="test", sender="test", now=NOW, heads=heads)
    await session.execute(text("DELETE FROM change"))


async def queued(session: AsyncSession) -> list[tuple[str, str]]:
    rows = await session.execute(
        text("SELECT code, consumer FROM change, unnest(codes) AS code ORDER BY 1, 2")
    )
    return [(code, consumer) for code, consumer in rows]


async def test_the_dossiers_of_a_unit_that_got_a_successor_are_counted_again(session: AsyncSession) -> None:
    await put(session)
    before = await tree_stamp(session)
    await session.execute(
        text(
            "UPDATE unit SET valid_to = '2025-06-30', successor_code = 'H31.135', updated_at = now() + interval '1 day'"
            " WHERE code = 'H31.900'"
        )
    )
    assert await follow_tree(session, before, now=NOW) == 0
    assert await queued(session) == [(OLD, "indicators")]
    await session.execute(text("DELETE FROM change"))
    before = await tree_stamp(session)
    await session.execute(
        text(
            "UPDATE unit SET valid_to = '2026-06-30', updated_at = now() + interval '2 days' WHERE code = 'H31.135'"
        )
    )
    await follow_tree(session, before, now=NOW)
    assert await queued(session) == [(GUESSED, "indicators"), (OLD, "indicators")], (
        "the predecessor's dossiers too"
    )


async def test_a_name_that_a_pull_moves_to_another_unit_takes_its_dossiers_along(
    session: AsyncSession,
) -> None:
    await put(session)
    for unit, moved in (("H31.136", 1), ("H31.16", 1), ("H31.16", 0)):
        before = await tree_stamp(session)
        await directory.write_aliases(session, [("Một cửa Phố Hiến", unit)], source="national", now=NOW)
        assert await follow_tree(session, before, now=NOW) == moved
        found = await session.execute(
            text("SELECT unit_code, unit_via FROM dossier WHERE code = :c"), {"c": GUESSED}
        )
        assert tuple(found.one()) == (unit, "alias")
