"""The door of petitions and of the citizens' monthly ratings: set-based like service.accept(), in the caller's
transaction, the newer version of a petition wins, and what arrives late, twice or in another order ends in the same
rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy.ext.asyncio import AsyncSession

from services.ingest.normalise import Refusal, stamp
from services.ingest.petition_messages import PetitionRow
from services.ingest.portals.rating_messages import RatingRow
from services.ingest.resolve import Directory, Resolved, load
from services.ingest.service import ACCEPTED, REJECTED, STALE, UNCHANGED, accept
from shared import queue
from shared.db import driver, rows_to_columns
from shared.vocabulary import Consumer, Portal, UnitVia


@dataclass(frozen=True, slots=True)
class Stored:
    """`results`: one per item given, in order."""

    results: list[str]

    def count(self, result: str) -> int:
        return self.results.count(result)


_PETITION = {
    "code": "text",
    "kind": "text",
    "dossier_code": "text",
    "repeats_code": "text",
    "agency_code": "text",
    "unit_name": "text",
    "sent_at": "timestamptz",
    "transferred_at": "timestamptz",
    "received_at": "timestamptz",
    "more_asked_at": "timestamptz",
    "handled_at": "timestamptz",
    "published_at": "timestamptz",
    "refused_at": "timestamptz",
    "likes": "int4",
    "dislikes": "int4",
    "version": "timestamptz",
    "unit_code": "text",
    "unit_via": "text",
}
"""The columns of PetitionRow, then what is added here."""
_UPDATED = [name for name in _PETITION if name != "code"]
_COMPARED = [name for name in _UPDATED if name != "version"]
_WRITE_PETITIONS = f"""
WITH before AS (
  SELECT code, dossier_code FROM petition WHERE code = ANY($3::text[])
), written AS (
  INSERT INTO petition AS p ({", ".join(_PETITION)}, via, learnt_at)
  SELECT {", ".join(_PETITION)}, $1, $2
    FROM unnest({", ".join(f"${n}::{kind}[]" for n, kind in enumerate(_PETITION.values(), 3))})
      AS t({", ".join(_PETITION)}) ORDER BY code
  ON CONFLICT (code) DO UPDATE SET
    {", ".join(f"{name} = excluded.{name}" for name in _UPDATED)}, via = excluded.via, learnt_at = excluded.learnt_at
  WHERE excluded.version > p.version
    OR (excluded.version = p.version AND ({", ".join(f"p.{name}" for name in _COMPARED)})
      IS DISTINCT FROM ({", ".join(f"excluded.{name}" for name in _COMPARED)}))
  RETURNING p.code, p.dossier_code
)
SELECT w.code, w.dossier_code, b.dossier_code FROM written w LEFT JOIN before b USING (code)
"""  # noqa: S608 - column names are ours


async def accept_petitions(
    session: AsyncSession,
    items: Sequence[PetitionRow | Refusal],
    *,
    via: str,
    door: str,
    sender: str,
    now: datetime,
) -> Stored:
    """Store a batch; a refused item goes to quarantine. The dossiers that a petition names, or named until now, are
    queued for indicators: whether they are complained of is part of their own figure (5.4). The petitions' own figures
    are counted when they are read (ADR 0013)."""
    await _quarantine(session, items, door=door, sender=sender, now=now)
    rows = [item for item in items if isinstance(item, PetitionRow)]
    if not rows:
        return Stored([REJECTED] * len(items))
    newest: dict[str, PetitionRow] = {}
    for row in rows:
        before = newest.get(row.code)
        if before is None or row.version >= before.version:
            newest[row.code] = row
    connection = await driver(session)
    directory = await load(session, connection)
    written = await connection.fetch(
        _WRITE_PETITIONS,
        via,
        now,
        *rows_to_columns([(*row, *_unit(directory, row)) for row in newest.values()], len(_PETITION)),
    )
    dossiers = {code for row in written for code in tuple(row)[1:] if code is not None}
    await queue.enqueue(session, dossiers, consumers=(Consumer.INDICATORS,), now=now)
    results = dict.fromkeys((row["code"] for row in written), ACCEPTED)
    untouched = [code for code in newest if code not in results]
    for code, version in await connection.fetch(
        "SELECT code, version FROM petition WHERE code = ANY($1::text[])", untouched
    ):
        results[code] = UNCHANGED if version == newest[code].version else STALE
    return Stored([_result(item, newest, results) for item in items])


def _result(item: PetitionRow | Refusal, newest: dict[str, PetitionRow], results: dict[str, str]) -> str:
    if isinstance(item, Refusal):
        return REJECTED
    winner = newest[item.code]
    if item is winner:
        return results[item.code]
    if item.version < winner.version:
        return STALE  # whether it came before or after the winner
    return UNCHANGED if item == winner else results[item.code]


def _unit(directory: Directory, row: PetitionRow) -> Resolved:
    return _resolved(directory, row.agency_code, row.unit_name, row.dossier_code, stamp(row.sent_at))


# --- ratings ------------------------------------------------------------------------------------------------

_WRITE_RATINGS = """
INSERT INTO citizen_rating AS r (month, agency_code, procedure_code, unit_name, raters, very_satisfied, satisfied,
                                 not_satisfied, unit_code, unit_via, via, learnt_at)
SELECT t.*, $1, $2
  FROM unnest($3::text[], $4::text[], $5::text[], $6::text[], $7::int4[], $8::numeric[], $9::numeric[], $10::numeric[],
              $11::text[], $12::text[])
    AS t(month, agency_code, procedure_code, unit_name, raters, very_satisfied, satisfied, not_satisfied, unit_code,
         unit_via)
 ORDER BY 1, 2, 3
ON CONFLICT (month, agency_code, procedure_code) DO UPDATE SET
  unit_name = excluded.unit_name, raters = excluded.raters, very_satisfied = excluded.very_satisfied,
  satisfied = excluded.satisfied, not_satisfied = excluded.not_satisfied, unit_code = excluded.unit_code,
  unit_via = excluded.unit_via, via = excluded.via, learnt_at = excluded.learnt_at
WHERE (r.unit_name, r.raters, r.very_satisfied, r.satisfied, r.not_satisfied, r.unit_code, r.unit_via) IS DISTINCT FROM
  (excluded.unit_name, excluded.raters, excluded.very_satisfied, excluded.satisfied, excluded.not_satisfied,
   excluded.unit_code, excluded.unit_via)
RETURNING month, agency_code, procedure_code
"""


async def accept_ratings(
    session: AsyncSession,
    items: Sequence[RatingRow | Refusal],
    *,
    via: str,
    door: str,
    sender: str,
    now: datetime,
) -> Stored:
    """Store a batch; the later arrival stands, for the protocol gives ratings no version. A unit's name is kept only
    where its code says nothing."""
    await _quarantine(session, items, door=door, sender=sender, now=now)
    rows = {item[:3]: item for item in items if isinstance(item, RatingRow)}
    connection = await driver(session)
    directory = await load(session, connection)
    placed = [
        _placed(row, _resolved(directory, row.agency_code, row.unit_name, None, _first_of(row.month)))
        for row in rows.values()
    ]
    written = await connection.fetch(_WRITE_RATINGS, via, now, *rows_to_columns(placed, 10))
    changed = {tuple(row) for row in written}

    def result(item: RatingRow | Refusal) -> str:
        if isinstance(item, Refusal):
            return REJECTED
        if item is rows[item[:3]]:
            return ACCEPTED if item[:3] in changed else UNCHANGED
        return STALE  # the same call says something else further on

    return Stored([result(item) for item in items])


def _placed(row: RatingRow, unit: Resolved) -> tuple[Any, ...]:
    unit_name = None if unit[1] == UnitVia.AGENCY_CODE.value else row.unit_name
    return (*row._replace(unit_name=unit_name), *unit)


# --- both ---------------------------------------------------------------------------------------------------


async def _quarantine(
    session: AsyncSession, items: Sequence[object], *, door: str, sender: str, now: datetime
) -> None:
    refused = [item for item in items if isinstance(item, Refusal)]
    if refused:
        await accept(
            session, portal=Portal.PROVINCIAL, via="push", door=door, sender=sender, now=now, heads=refused
        )


_MOVE_PETITIONS = """
UPDATE petition AS p SET unit_code = t.unit_code, unit_via = t.unit_via, learnt_at = $1
  FROM unnest($2::text[], $3::text[], $4::text[]) AS t(code, unit_code, unit_via) WHERE p.code = t.code
"""
_MOVE_RATINGS = """
UPDATE citizen_rating AS r SET unit_code = t.unit_code, unit_via = t.unit_via, learnt_at = $1
  FROM unnest($2::text[], $3::text[], $4::text[], $5::text[], $6::text[])
    AS t(month, agency_code, procedure_code, unit_code, unit_via)
 WHERE (r.month, r.agency_code, r.procedure_code) = (t.month, t.agency_code, t.procedure_code)
"""


async def place_again(session: AsyncSession, *, now: datetime) -> int:
    """After units or aliases changed: resolve the unit of every petition and rating again. Returns how many moved.
    There are some thousands of them, so all are looked at; locked in key order, as the doors do it."""
    connection = await driver(session)
    directory = await load(session, connection)
    petitions: list[tuple[Any, ...]] = []
    for row in await connection.fetch(
        "SELECT code, dossier_code, agency_code, unit_name, sent_at, unit_code, unit_via FROM petition"
        " ORDER BY code FOR UPDATE"
    ):
        unit = _resolved(
            directory, row["agency_code"], row["unit_name"], row["dossier_code"], stamp(row["sent_at"])
        )
        if unit != (row["unit_code"], row["unit_via"]):
            petitions.append((row["code"], *unit))
    if petitions:
        await connection.execute(_MOVE_PETITIONS, now, *rows_to_columns(petitions, 3))
    ratings: list[tuple[Any, ...]] = []
    for row in await connection.fetch(
        "SELECT month, agency_code, procedure_code, unit_name, unit_code, unit_via FROM citizen_rating"
        " ORDER BY month, agency_code, procedure_code FOR UPDATE"
    ):
        unit = _resolved(directory, row["agency_code"], row["unit_name"], None, _first_of(row["month"]))
        if unit != (row["unit_code"], row["unit_via"]):
            ratings.append((row["month"], row["agency_code"], row["procedure_code"], *unit))
    if ratings:
        await connection.execute(_MOVE_RATINGS, now, *rows_to_columns(ratings, 5))
    return len(petitions) + len(ratings)


def _resolved(
    directory: Directory, agency_code: str | None, unit_name: str | None, dossier_code: str | None, at: str
) -> Resolved:
    """As for a dossier; what names no unit is taken to be about the unit of the dossier that it names."""
    return directory.resolve(agency_code, unit_name, dossier_code or "-", at)


def _first_of(month: str) -> str:
    return f"{month}-01T00:00:00+07:00"
