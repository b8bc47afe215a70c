"""What is read of imports."""

from __future__ import annotations

from typing import Any

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from shared.errors import NotFound

LOCK = "'chiso import ' || r.id"
"""The text whose hash is the advisory lock of whoever works on a run, `r`."""

# A run whose process died still says that it is running; its lock says otherwise.
WORKED_ON = f"""EXISTS (
    SELECT FROM pg_locks l WHERE l.locktype = 'advisory' AND l.objsubid = 1
      AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
      AND (l.classid::int8 << 32) | l.objid::int8 = hashtextextended({LOCK}, 0)
  )"""  # noqa: S608
"""Whether some process works on the run `r`."""

_COLUMNS = f"""id, kind, portal, period, encode(digest, 'hex') AS digest, size,
  CASE WHEN state = 'running' AND NOT {WORKED_ON} THEN 'interrupted' ELSE state END AS state,
  requested_by, started_at, finished_at, attempts, cursor AS last_row, total, items, accepted, unchanged, stale,
  rejected, report, error"""


async def read(session: AsyncSession, run_id: int) -> dict[str, Any]:
    """Raises NotFound."""
    row = (
        await session.execute(text(f"SELECT {_COLUMNS} FROM import_run r WHERE id = :id"), {"id": run_id})  # noqa: S608
    ).one_or_none()
    if row is None:
        raise NotFound("Không có lần nạp tệp này.", "There is no such import.")
    return shown(dict(row._mapping))


async def listing(
    session: AsyncSession, *, kind: str | None, before: int | None, limit: int
) -> list[dict[str, Any]]:
    """Imports, newest first, with ids below `before`."""
    rows = await session.execute(
        text(
            f"SELECT {_COLUMNS} FROM import_run r WHERE (CAST(:kind AS text) IS NULL OR kind = :kind)"  # noqa: S608
            " AND (CAST(:before AS bigint) IS NULL OR id < :before) ORDER BY id DESC LIMIT :limit"
        ),
        {"kind": kind, "before": before, "limit": limit},
    )
    return [shown(dict(row._mapping)) for row in rows]


def shown(row: dict[str, Any]) -> dict[str, Any]:
    """The report's parts beside the counts."""
    report: dict[str, Any] = row.pop("report")
    return row | report
