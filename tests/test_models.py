"""What keeps the way to several machines open (docs/adr/0005): dossier-sized tables can be distributed by `code`."""

from __future__ import annotations

from sqlalchemy import BigInteger, Integer, SmallInteger, Table, Uuid, text
from sqlalchemy.ext.asyncio import AsyncSession

from shared.models import DOSSIER_SIZED, Record
from shared.models.record import CODE

TABLES: dict[str, Table] = dict(Record.metadata.tables)
"""By name; importing shared.models has registered all of them."""

SMALL = {
    "change",
    "api_key",
    "capture",
    "capture_body",
    "capture_check",
    "capture_content",
    "capture_score_check",
    "capture_scoring",
    "captured_figure",
    "captured_unit",
    "circuit",
    "citizen_rating",
    "decision",
    "decision_row",
    "figure_day",
    "figure_day_taken",
    "heartbeat",
    "idempotency_key",
    "import_run",
    "period_opened",
    "petition",
    "procedure",
    "push_receipt",
    "quarantine",
    "reporting_count",
    "sync_run",
    "sync_state",
    "tally",
    "tally_check",
    "unit",
    "unit_alias",
}
"""Tables that do not grow with the dossiers: on a cluster each stays whole on every node, or on one. (push_receipt
grows with the pushes, and is kept for some months only.)"""


def test_every_table_is_said_to_be_dossier_sized_or_small() -> None:
    assert set(TABLES) == DOSSIER_SIZED | SMALL
    assert not DOSSIER_SIZED & SMALL


def test_code_stands_in_every_primary_key_and_compares_byte_by_byte() -> None:
    for name in sorted(DOSSIER_SIZED):
        column = TABLES[name].c.code
        assert column.primary_key, name
        assert getattr(column.type, "collation", None) == CODE.collation, name


def test_ids_need_no_common_counter() -> None:
    """A bigint identity is made per node, a UUID anywhere; a 32-bit serial is neither."""
    for name in sorted(DOSSIER_SIZED):
        for column in TABLES[name].columns:
            if column.name == "id" or column.name.endswith("_id"):
                assert isinstance(column.type, BigInteger | Uuid), f"{name}.{column.name}"
            if column.primary_key and isinstance(column.type, Integer):
                assert isinstance(column.type, BigInteger | SmallInteger), f"{name}.{column.name}"


async def test_every_unique_index_of_a_dossier_sized_table_holds_code(session: AsyncSession) -> None:
    """In the migrated database, so that an index that only a migration makes is seen too."""
    rows = await session.execute(
        text(
            "SELECT c.relname AS table, i.indexrelid::regclass::text AS index,"
            " array_agg(a.attname::text) AS columns FROM pg_index i JOIN pg_class c ON c.oid = i.indrelid"
            " JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum = ANY(i.indkey)"
            " WHERE i.indisunique AND c.relname = ANY(:tables) GROUP BY 1, 2"
        ),
        {"tables": sorted(DOSSIER_SIZED)},
    )
    unique = rows.all()
    assert {row.table for row in unique} == DOSSIER_SIZED
    assert [row.index for row in unique if "code" not in row.columns] == []


async def test_dossier_sized_tables_have_neither_triggers_nor_foreign_keys(session: AsyncSession) -> None:
    tables = {"tables": sorted(DOSSIER_SIZED)}
    triggers = await session.execute(
        text(
            "SELECT tgname FROM pg_trigger t JOIN pg_class c ON c.oid = t.tgrelid"
            " WHERE c.relname = ANY(:tables)"
        ),
        tables,
    )
    keys = await session.execute(
        text(
            "SELECT conname FROM pg_constraint WHERE contype = 'f'"
            " AND (conrelid = ANY(SELECT oid FROM pg_class WHERE relname = ANY(:tables))"
            " OR confrelid = ANY(SELECT oid FROM pg_class WHERE relname = ANY(:tables)))"
        ),
        tables,
    )
    assert triggers.scalars().all() == []
    assert keys.scalars().all() == []
