"""What ingest reads."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

from sqlalchemy.ext.asyncio import AsyncSession

from shared.db import driver
from shared.identifiers import parse_dossier_code
from shared.vocabulary import Portal


async def versions(
    session: AsyncSession, codes: Iterable[str], *, portal: Portal
) -> list[tuple[str, datetime | None]]:
    """The head versions of these codes' copies."""
    rows = await (await driver(session)).fetch(
        "SELECT code, version FROM dossier WHERE portal = $1 AND code = ANY($2::text[])",
        portal.value,
        list(codes),
    )
    return [(row["code"], row["version"]) for row in rows]


def code_forms(codes: Iterable[str]) -> dict[str, tuple[bool, str]]:
    """(form known, source system) of each code, as the dossier row keeps them."""
    forms = {}
    for code in codes:
        parsed = parse_dossier_code(code)
        forms[code] = (parsed.known, parsed.source_system)
    return forms


async def has_head(session: AsyncSession, code: str, *, portal: Portal) -> bool:
    return bool(
        await (await driver(session)).fetchval(
            "SELECT 1 FROM dossier WHERE code = $1 AND portal = $2 AND version IS NOT NULL AND vanished_at IS NULL",
            code,
            portal.value,
        )
    )
