"""The circuit of the reporting API: it opens where the API blocked us, and stays so, over restarts and in every
process, until a person has looked and closes it (reporting-api.md §10). Evasion is no answer to a block."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from shared.errors import Conflict

REPORTING = "reporting"
"""Its name."""
AWAY_RUNS = 3
"""After so many runs in a row that ended because nobody answered, the circuit opens as well."""


class CircuitOpen(Conflict):
    """Nobody asks this portal until a person closes the circuit."""


async def check(session: AsyncSession, name: str = REPORTING) -> None:
    """Raises CircuitOpen."""
    if await is_open(session, name):
        raise CircuitOpen(
            "Đã ngừng gọi API thống kê của Cổng DVC quốc gia vì bị chặn hoặc không trả lời; cần người xem xét rồi mở"
            " lại (chiso capture --close-circuit, hoặc DELETE /v1/circuits/reporting).",
            "The reporting API is not asked since it blocked us or did not answer; a person has to look and close the"
            " circuit (chiso capture --close-circuit, or DELETE /v1/circuits/reporting).",
            circuit=name,
        )


async def is_open(session: AsyncSession, name: str = REPORTING) -> bool:
    found = await session.scalar(
        text("SELECT 1 FROM circuit WHERE name = :name AND closed_at IS NULL"), {"name": name}
    )
    return found is not None


async def open_up(
    session: AsyncSession, *, status: int | None, reason: str, now: datetime, name: str = REPORTING
) -> None:
    """Open the circuit; one that is open stays as it is."""
    await session.execute(
        text(
            "INSERT INTO circuit (name, opened_at, status, reason) VALUES (:name, :now, :status, :reason)"
            " ON CONFLICT (name) WHERE closed_at IS NULL DO NOTHING"
        ),
        {"name": name, "now": now, "status": status, "reason": reason},
    )


async def away_too_often(session: AsyncSession) -> bool:
    """Whether the runs just before this one ended because nobody answered, and with it there are AWAY_RUNS."""
    rows = await session.execute(
        text(
            "SELECT coalesce(error, '') FROM sync_run WHERE portal = 'national' AND subject = 'captures'"
            " AND state IN ('done', 'failed')"
            " AND finished_at > coalesce((SELECT max(closed_at) FROM circuit), '-infinity')"
            " ORDER BY id DESC LIMIT :limit"
        ),
        {"limit": AWAY_RUNS - 1},
    )
    errors = list(rows.scalars())
    return len(errors) == AWAY_RUNS - 1 and all(each.startswith("PortalAway:") for each in errors)


async def close(session: AsyncSession, *, by: str, now: datetime, name: str = REPORTING) -> dict[str, Any]:
    """A person closes it. Returns the row. Raises Conflict where none is open."""
    row = (
        await session.execute(
            text(
                "UPDATE circuit SET closed_at = :now, closed_by = :by WHERE name = :name AND closed_at IS NULL"
                " RETURNING name, opened_at, status, reason, closed_at, closed_by"
            ),
            {"name": name, "now": now, "by": by},
        )
    ).one_or_none()
    if row is None:
        raise Conflict("Không có kết nối nào đang bị ngắt.", "There is no open circuit of this name.")
    return dict(row._mapping)


_COLUMNS = "name, opened_at, status, reason, closed_at, closed_by"


async def listing(session: AsyncSession, *, limit: int = 100) -> list[dict[str, Any]]:
    """Newest first; open ones have no closed_at."""
    rows = await session.execute(
        text(
            "SELECT name, opened_at, status, reason, closed_at, closed_by FROM circuit"
            " ORDER BY id DESC LIMIT :limit"
        ),
        {"limit": limit},
    )
    return [dict(row._mapping) for row in rows]
