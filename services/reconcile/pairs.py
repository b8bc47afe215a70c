"""Dossiers that may be one under two codes (portals.md §1.9 row 4): the province has one half, the nation the other.

Halves of the same procedure and unit, received in the same minute (systems cut seconds), are a pair where there is
exactly one on each side; anything else stays ambiguous and proposes nothing. `half` and `pair` are pure.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import NamedTuple

from sqlalchemy.ext.asyncio import AsyncSession

from services.reconcile.copies import Copy, Proofs, Twin
from shared.db import driver, rows_to_columns
from shared.vocabulary import Known, Portal

PROVINCE_ONLY, NATION_ONLY = 1, 2
"""`comparison.pairing`."""

ROWS_AT_MOST = 32
"""Halves of one class that are looked at: with more than that there is no pair. Receipts that tell only the day
would else make classes of hundreds, read again with each of them."""


class Key(NamedTuple):
    procedure_code: str
    unit_code: str
    minute: datetime


class Half(NamedTuple):
    side: int
    key: Key


def key_of(procedure_code: str | None, unit_code: str | None, received_at: datetime | None) -> Key | None:
    if procedure_code is None or unit_code is None or received_at is None:
        return None
    return Key(procedure_code, unit_code, received_at.replace(second=0, microsecond=0))


def half(copies: Iterable[Copy], proofs: Proofs) -> Half | None:
    """What a code is a half of. None: it is on both sides (or proved to be), or not enough is known."""
    there = {copy.portal: copy for copy in copies if copy.vanished_at is None}
    if not there or any(copy.cancelled for copy in there.values()):
        return None
    at_home = Portal.PROVINCIAL in there
    other = proofs.national if at_home else proofs.provincial
    if (at_home and len(there) > 1) or (other is not None and other.found):
        return None
    copy = there.get(Portal.PROVINCIAL) or there.get(Portal.SENT) or there[Portal.NATIONAL]
    if not (copy.knows(Known.PROCEDURE) and copy.knows(Known.RECEIVED_AT)):
        return None
    key = key_of(copy.procedure_code, copy.unit_code, copy.received_at)
    return None if key is None else Half(PROVINCE_ONLY if at_home else NATION_ONLY, key)


def pair(halves: Mapping[str, Half | None]) -> dict[str, Twin]:
    """The pairs among halves (all of each class), by either code."""
    classes: defaultdict[Key, tuple[list[str], list[str]]] = defaultdict(lambda: ([], []))
    for code, found in halves.items():
        if found is not None:
            classes[found.key][found.side - PROVINCE_ONLY].append(code)
    return {
        code: Twin(home[0], away[0])
        for home, away in classes.values()
        if len(home) == len(away) == 1
        for code in (home[0], away[0])
    }


_NEAR = f"""
SELECT DISTINCT near.code FROM unnest($1::text[], $2::text[], $3::timestamptz[]) AS k(procedure_code, unit_code, minute)
CROSS JOIN LATERAL (
  SELECT d.code FROM dossier d
   WHERE d.portal IN ('provincial', 'sent', 'national')
     AND d.received_at >= k.minute AND d.received_at < k.minute + interval '1 minute'
     AND d.procedure_code = k.procedure_code AND d.unit_code = k.unit_code AND d.vanished_at IS NULL
     AND NOT EXISTS (SELECT FROM dossier o WHERE o.code = d.code AND o.vanished_at IS NULL
                        AND (o.portal = 'provincial') <> (d.portal = 'provincial'))
     AND NOT EXISTS (SELECT FROM presence p WHERE p.code = d.code AND p.found
                        AND d.portal = 'provincial' AND p.portal = 'national')
   LIMIT {ROWS_AT_MOST}
) AS near
"""  # noqa: S608 - a number of ours


async def near(session: AsyncSession, keys: Iterable[Key]) -> set[str]:
    """The codes that may be halves of these classes: one range of the index of receipts for each."""
    rows = await (await driver(session)).fetch(_NEAR, *rows_to_columns(sorted(set(keys)), 3))
    return {row["code"] for row in rows}
