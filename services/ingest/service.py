"""accept(): the one door (architecture.md §4). Pull, push and import all end here.

Set-based: one statement writes all heads of a batch in key order, lets the newer version win, and queues a change
for what it really wrote, in the caller's transaction. What arrives late, twice or in another order ends in the same
rows.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import msgspec
from sqlalchemy.ext.asyncio import AsyncSession

from services.ingest import queries
from services.ingest.normalise import Head, Refusal, Step
from services.ingest.resolve import load
from shared import queue
from shared.db import copy_text, driver, rows_to_columns
from shared.vocabulary import Consumer, Known, Portal

ACCEPTED, UNCHANGED, STALE, REJECTED = "accepted", "unchanged", "stale", "rejected"


@dataclass(frozen=True, slots=True)
class Outcome:
    """`results`: one per head given, in order. `known_before`: codes whose head the copy already had."""

    results: list[str]
    known_before: set[str]
    accepted: int
    unchanged: int
    stale: int
    rejected: int


_OFFICER = Known.OFFICER.value | Known.OFFICER_TITLE.value

# The columns of Head, then what accept() adds. `code` and `portal` are the key and never updated.
_HEAD = {
    "code": "text",
    "code_known": "bool",
    "source_system": "text",
    "known": "int4",
    "version": "timestamptz",
    "procedure_code": "text",
    "procedure_suffix": "text",
    "agency_code": "text",
    "unit_name": "text",
    "status": "int2",
    "cancelled": "bool",
    "channel": "int2",
    "submitted_at": "timestamptz",
    "received_at": "timestamptz",
    "due_at": "timestamptz",
    "finished_at": "timestamptz",
    "returned_at": "timestamptz",
    "rejected_at": "timestamptz",
    "supplements": "jsonb",
    "facts": "int4",
    "facts_known": "int4",
    "unit_code": "text",
    "unit_via": "text",
}
_UPDATED = [name for name in _HEAD if name not in ("code", "known")]
_COMPARED = [name for name in _UPDATED if name != "version"]

# Stamps come as texts; PostgreSQL reads them.
_ARRAYS = {"timestamptz": "text"}
_FROM_ARRAYS = f"""SELECT {", ".join(f"{name}::{kind}" for name, kind in _HEAD.items())}
    FROM unnest({", ".join(f"${n}::{_ARRAYS.get(kind, kind)}[]" for n, kind in enumerate(_HEAD.values(), 4))})
    AS t({", ".join(_HEAD)})"""  # noqa: S608

# From so many rows on, COPY into a temporary table costs less than arrays (benchmarks/bench_push.py).
_COPY_FROM = 500
_FROM_COPY = "SELECT * FROM incoming_head"
_MAKE_INCOMING = f"""CREATE TEMPORARY TABLE IF NOT EXISTS incoming_head
  ({", ".join(f"{name} {kind}" for name, kind in _HEAD.items())}) ON COMMIT DELETE ROWS"""

_QUEUE = queue.appending(
    "SELECT code FROM written", consumers=(Consumer.RECONCILE, Consumer.INDICATORS), at="$3"
)

_QUEUE_LOOKUPS = queue.appending(
    "SELECT code FROM written WHERE inserted AND $1 <> 'national'", consumers=(Consumer.LOOKUPS,), at="$3"
)

_WRITE_HEADS = f"""
WITH incoming AS (
  {{incoming}}
), written AS (
  INSERT INTO dossier AS d ({", ".join(_HEAD)}, portal, via, learnt_at)
  SELECT {", ".join(_HEAD)}, $1, $2, $3 FROM incoming ORDER BY code
  ON CONFLICT (code, portal) DO UPDATE SET
    {", ".join(f"{name} = excluded.{name}" for name in _UPDATED)},
    known = (d.known & {_OFFICER}) | (excluded.known & ~{_OFFICER}),
    via = excluded.via, learnt_at = excluded.learnt_at, vanished_at = NULL
  WHERE d.version IS NULL OR excluded.version > d.version
    OR (excluded.version = d.version AND (
      (d.known & ~{_OFFICER}) <> (excluded.known & ~{_OFFICER}) OR d.vanished_at IS NOT NULL
      OR ({", ".join(f"d.{name}" for name in _COMPARED)})
        IS DISTINCT FROM ({", ".join(f"excluded.{name}" for name in _COMPARED)})))
  RETURNING d.code, (d.xmax = 0) AS inserted
), queued AS (
  {_QUEUE}
), to_look_up AS (
  {_QUEUE_LOOKUPS}
)
SELECT coalesce(array_agg(code) FILTER (WHERE inserted), '{{{{}}}}') AS inserted,
       coalesce(array_agg(code) FILTER (WHERE NOT inserted), '{{{{}}}}') AS updated,
       coalesce(array_agg(code) FILTER (WHERE NOT inserted AND (
         SELECT o.version IS NULL FROM dossier o WHERE o.code = written.code AND o.portal = $1  -- before this statement
       )), '{{{{}}}}') AS headless
  FROM written
"""  # noqa: S608 - column names are ours

# A step may come before its dossier's head: then the row waits with version NULL for it. Officer and state are two
# parts: the newest step may tell no state, and the one before it is still the newest that does.
_NEWER = "(d.officer_at IS NULL OR excluded.officer_at >= d.officer_at)"
_TOLD = """(excluded.step_status_at IS NOT NULL
        AND (d.step_status_at IS NULL OR excluded.step_status_at >= d.step_status_at))"""
_WRITE_OFFICERS = f"""
WITH incoming AS (
  SELECT * FROM unnest($4::text[], $5::bool[], $6::text[], $7::text[], $8::text[], $9::timestamptz[], $10::int4[],
                       $11::int2[], $12::timestamptz[])
    AS t(code, code_known, source_system, officer, officer_title, officer_at, known, step_status, step_status_at)
), written AS (
  INSERT INTO dossier AS d (code, portal, code_known, source_system, known, unit_via, cancelled, officer,
                            officer_title, officer_at, step_status, step_status_at, via, learnt_at)
  SELECT code, $1, code_known, source_system, known, 'none', false, officer, officer_title, officer_at, step_status,
         step_status_at, $2, $3
  FROM incoming ORDER BY code
  ON CONFLICT (code, portal) DO UPDATE SET
    officer = CASE WHEN {_NEWER} THEN excluded.officer ELSE d.officer END,
    officer_title = CASE WHEN {_NEWER} THEN excluded.officer_title ELSE d.officer_title END,
    officer_at = greatest(d.officer_at, excluded.officer_at),
    known = CASE WHEN {_NEWER} THEN (d.known & ~{_OFFICER}) | excluded.known ELSE d.known END,
    step_status = CASE WHEN {_TOLD} THEN excluded.step_status ELSE d.step_status END,
    step_status_at = greatest(d.step_status_at, excluded.step_status_at),
    learnt_at = excluded.learnt_at
  WHERE {_NEWER} AND (d.officer_at, d.officer, d.officer_title, d.known & {_OFFICER})
          IS DISTINCT FROM (excluded.officer_at, excluded.officer, excluded.officer_title, excluded.known)
    OR {_TOLD} AND (d.step_status_at, d.step_status)
          IS DISTINCT FROM (excluded.step_status_at, excluded.step_status)
  RETURNING d.code, (d.xmax = 0) AS inserted
), to_look_up AS (
  {_QUEUE_LOOKUPS}
)
SELECT code FROM written
"""  # noqa: S608

_WRITE_STEPS = """
WITH incoming AS (
  SELECT * FROM unnest($3::text[], $4::timestamptz[], $5::int2[], $6::text[], $7::text[], $8::timestamptz[])
    AS t(code, occurred_at, status, officer, officer_title, started_at)
)
INSERT INTO dossier_step AS s (code, portal, occurred_at, status, officer, officer_title, started_at, learnt_at)
SELECT code, $1, occurred_at, status, officer, officer_title, started_at, $2 FROM incoming
ORDER BY code, occurred_at, status
ON CONFLICT (code, portal, occurred_at, status) DO UPDATE SET
  officer = excluded.officer, officer_title = excluded.officer_title, started_at = excluded.started_at,
  learnt_at = excluded.learnt_at
WHERE (s.officer, s.officer_title, s.started_at)
  IS DISTINCT FROM (excluded.officer, excluded.officer_title, excluded.started_at)
RETURNING code
"""


async def accept(
    session: AsyncSession,
    *,
    portal: Portal,
    via: str,
    door: str,
    sender: str,
    now: datetime,
    heads: Sequence[Head | Refusal] = (),
    steps: Sequence[Step | Refusal] = (),
) -> Outcome:
    """Store a batch in the caller's transaction. Good items are stored whatever happens to the others; a refused one
    goes to quarantine. Nothing is committed here."""
    refused = [item for item in (*heads, *steps) if type(item) is Refusal]
    if refused:
        await _quarantine(session, refused, portal=portal, door=door, sender=sender, now=now)
    good = [item for item in heads if type(item) is Head] if refused else heads
    results, known_before = await _write_heads(session, good, portal=portal, via=via, now=now)  # type: ignore[arg-type]
    if refused:
        in_order = iter(results)
        results = [REJECTED if type(item) is Refusal else next(in_order) for item in heads]
    if steps:
        good_steps = [item for item in steps if type(item) is Step]
        await _write_steps(session, good_steps, portal=portal, via=via, now=now)
    return Outcome(
        results=results,
        known_before=known_before,
        accepted=results.count(ACCEPTED),
        unchanged=results.count(UNCHANGED),
        stale=results.count(STALE),
        rejected=len(refused),
    )


async def _write_heads(
    session: AsyncSession, heads: Sequence[Head], *, portal: Portal, via: str, now: datetime
) -> tuple[list[str], set[str]]:
    if not heads:
        return [], set()
    newest: dict[str, Head] = {head.code: head for head in heads}
    repeated = len(newest) < len(heads)
    if repeated:  # a code twice in one batch: as if they had come one after the other
        newest = {}
        for head in heads:
            before = newest.get(head.code)
            if before is None or head.version >= before.version:
                newest[head.code] = head
    connection = await driver(session)
    resolve = (await load(session, connection)).resolve
    units = [resolve(h.agency_code, h.unit_name, h.code, h.received_at) for h in newest.values()]
    columns = [*zip(*newest.values(), strict=True), *zip(*units, strict=True)]
    if len(newest) < _COPY_FROM:
        statement = _WRITE_HEADS.format(incoming=_FROM_ARRAYS)
        written = await connection.fetchrow(statement, portal.value, via, now, *columns)
    else:
        await connection.execute(_MAKE_INCOMING)
        await connection.execute("DELETE FROM incoming_head")  # of an earlier batch in the same transaction
        await connection.copy_to_table(
            "incoming_head", source=copy_text(columns), columns=list(_HEAD), format="text", null=""
        )
        statement = _WRITE_HEADS.format(incoming=_FROM_COPY)
        written = await connection.fetchrow(statement, portal.value, via, now)
    await connection.execute("SELECT pg_notify($1, '')", queue.CHANNEL)
    inserted, updated, headless = written
    if len(inserted) == len(heads):
        return [ACCEPTED] * len(heads), set()
    results = dict.fromkeys(newest, ACCEPTED)
    if len(inserted) + len(updated) < len(newest):
        untouched = newest.keys() - {*inserted, *updated}
        for code, version in await queries.versions(session, untouched, portal=portal):
            same = version == datetime.fromisoformat(newest[code].version)
            results[code] = UNCHANGED if same else STALE
    known_before = results.keys() - {*inserted, *headless}
    if not repeated:
        return list(results.values()), known_before
    return [_of_repeated(head, newest[head.code], results[head.code]) for head in heads], known_before


def _of_repeated(head: Head, winner: Head, result: str) -> str:
    if head is winner:
        return result
    if head.version < winner.version:
        # Whether it came before or after the winner: had it been stored, the winner would have replaced it.
        return STALE
    return UNCHANGED if head == winner else result


async def _write_steps(
    session: AsyncSession, steps: Sequence[Step], *, portal: Portal, via: str, now: datetime
) -> None:
    if not steps:
        return
    connection = await driver(session)
    newest = _newest(steps)
    telling = _newest(step for step in steps if step.status)
    forms = queries.code_forms(newest)
    rows_of_officers: list[tuple[Any, ...]] = []
    for s in newest.values():
        told = telling.get(s.code)
        state = (told.status, told.occurred_at) if told else (None, None)
        rows_of_officers.append(
            (s.code, *forms[s.code], s.officer, s.officer_title, s.occurred_at, s.known, *state)
        )
    written = await connection.fetch(
        _WRITE_OFFICERS, portal.value, via, now, *rows_to_columns(rows_of_officers, 9)
    )
    changed = {row["code"] for row in written}
    # After the dossiers' rows, which the statement above has locked: every door takes them in this order.
    kept = {(step.code, step.occurred_at, step.status): step for step in steps if step.keep}
    if kept:
        rows = [
            (s.code, s.occurred_at, s.status, s.officer, s.officer_title, s.started_at) for s in kept.values()
        ]
        written = await connection.fetch(_WRITE_STEPS, portal.value, now, *rows_to_columns(rows, 6))
        changed |= {row["code"] for row in written}
    await queue.enqueue(session, changed, consumers=(Consumer.RECONCILE, Consumer.INDICATORS), now=now)


def _newest(steps: Iterable[Step]) -> dict[str, Step]:
    """By code; of two at one moment the later arrival."""
    newest: dict[str, Step] = {}
    for step in steps:
        before = newest.get(step.code)
        if before is None or step.occurred_at >= before.occurred_at:
            newest[step.code] = step
    return newest


_json = msgspec.json.Encoder()


async def _quarantine(
    session: AsyncSession,
    refused: Sequence[Refusal],
    *,
    portal: Portal,
    door: str,
    sender: str,
    now: datetime,
) -> None:
    rows: list[tuple[Any, ...]] = [
        (
            r.code,
            r.field,
            f"{r.vi} | {r.en}",
            r.digest,
            r.position,
            None if r.content is None else _json.encode(r.content).decode(),
            # An array of arrays would have to be rectangular: the paths travel as one text each.
            "\n".join(r.dropped),
        )
        for r in {(r.digest, r.field): r for r in refused}.values()
    ]
    rows.sort(key=lambda row: (row[3], row[1]))
    await (await driver(session)).execute(
        """
        INSERT INTO quarantine
          (door, portal, sender, refused_at, code, field, reason, digest, position, content, dropped)
        SELECT $1, $2, $3, $4, t.code, t.field, t.reason, t.digest, t.position, t.content,
               CASE WHEN t.dropped = '' THEN '{}' ELSE string_to_array(t.dropped, E'\n') END
          FROM unnest($5::text[], $6::text[], $7::text[], $8::bytea[], $9::int8[], $10::jsonb[], $11::text[])
            AS t(code, field, reason, digest, position, content, dropped)
        ON CONFLICT (digest, door, field) DO UPDATE SET refused_at = excluded.refused_at
        """,
        door,
        portal.value,
        sender,
        now,
        *rows_to_columns(rows, 7),
    )


__all__ = ["ACCEPTED", "REJECTED", "STALE", "UNCHANGED", "Outcome", "accept"]
