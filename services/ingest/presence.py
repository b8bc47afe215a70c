"""What look-ups and complete lists prove about a code: it exists on a portal, or it does not (architecture.md
§4).

Each proof carries the moment at which the portal was *asked*, which is earlier than its answer, so that a
dossier that arrives in between is never called missing by it.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy.ext.asyncio import AsyncSession

from services.ingest.normalise import Head, Refusal
from shared import queue
from shared.db import driver
from shared.errors import Invalid
from shared.identifiers import parse_dossier_code
from shared.vocabulary import Consumer, Portal

BOTH = (Consumer.RECONCILE, Consumer.INDICATORS)

_DUE = """
  FROM presence p
 WHERE p.portal = 'national'
   AND (p.checked_at IS NULL OR (p.checked_at < $1 AND (NOT p.found OR p.checked_at < $2)))
   AND NOT EXISTS (SELECT FROM dossier d WHERE d.code = p.code AND d.portal = 'national'
                      AND d.version IS NOT NULL AND d.vanished_at IS NULL)
"""


async def admit(session: AsyncSession, *, now: datetime, limit: int = 5000) -> int:
    """Take codes that arrived since the last run from the queue into the list of codes to look up. Returns how many
    were taken; the caller commits and goes on until none are left."""
    taken = await queue.take(session, consumer=Consumer.LOOKUPS, now=now, limit=limit)
    await (await driver(session)).execute(
        "INSERT INTO presence (code, portal) SELECT code, 'national' FROM unnest($1::text[]) AS t(code) ORDER BY code"
        " ON CONFLICT DO NOTHING",
        taken.codes,
    )
    await queue.finish(session, taken)
    return len(taken.rows)


async def due(
    session: AsyncSession, *, before: datetime, found_before: datetime, skip: Sequence[str], limit: int
) -> list[str]:
    """Codes to look up on the national portal, oldest check first: never asked, or asked before `before`;
    those that were found, before `found_before`. Codes of which we have a national copy need no look-up."""
    rows = await (await driver(session)).fetch(
        f"SELECT p.code {_DUE} AND p.code <> ALL($3::text[]) ORDER BY p.checked_at NULLS FIRST LIMIT $4",
        before,
        found_before,
        list(skip),
        limit,
    )
    return [row["code"] for row in rows]


async def count_due(session: AsyncSession, *, before: datetime, found_before: datetime) -> int:
    connection = await driver(session)
    return int(await connection.fetchval(f"SELECT count(*) {_DUE}", before, found_before))


async def record_lookups(
    session: AsyncSession, results: Sequence[tuple[str, bool]], *, asked_at: datetime, now: datetime
) -> None:
    """Store (code, found) of one batch. A change is queued where the answer is new or other than before, and
    for each absence: its proof has become younger, which is what a grace time waits for."""
    ordered = sorted(results)
    rows = await (await driver(session)).fetch(
        """
        WITH incoming AS (
          SELECT * FROM unnest($1::text[], $2::bool[]) AS t(code, found)
        ), before AS (
          SELECT p.code, p.found AS was, i.found FROM presence p JOIN incoming i ON i.code = p.code
           WHERE p.portal = 'national' AND (p.checked_at IS NULL OR p.checked_at <= $3)
           ORDER BY p.code FOR UPDATE OF p
        )
        UPDATE presence p SET found = b.found, checked_at = $3, via = 'lookup'
          FROM before b WHERE p.code = b.code AND p.portal = 'national'
        RETURNING p.code, b.was IS DISTINCT FROM b.found OR NOT b.found AS matters
        """,
        [code for code, _ in ordered],
        [found for _, found in ordered],
        asked_at,
    )
    await queue.enqueue(session, [row["code"] for row in rows if row["matters"]], consumers=BOTH, now=now)


async def seen_but_refused(
    session: AsyncSession,
    heads: Sequence[Head | Refusal],
    *,
    portal: Portal,
    via: str,
    asked_at: datetime,
    now: datetime,
) -> None:
    """A row that we refused is there all the same: nobody may take our refusal for its absence."""
    codes = set()
    for head in heads:
        if type(head) is Refusal and head.code:
            try:
                codes.add(parse_dossier_code(head.code).code)
            except Invalid:
                continue
    await _is_there(session, sorted(codes), portal=portal, via=via, asked_at=asked_at, now=now)


async def listed_as_before(
    session: AsyncSession, codes: Sequence[str], *, asked_at: datetime, now: datetime
) -> None:
    """The national list holds these, in a form older than the copy that we keep: they are there all the same,
    and a copy of them that had vanished is back."""
    rows = await (await driver(session)).fetch(
        """
        UPDATE dossier SET vanished_at = NULL
         WHERE portal = 'national' AND code = ANY($1::text[]) AND vanished_at IS NOT NULL RETURNING code
        """,
        list(codes),
    )
    await queue.enqueue(session, [row["code"] for row in rows], consumers=BOTH, now=now)
    await _is_there(session, codes, portal=Portal.NATIONAL, via="list", asked_at=asked_at, now=now)


async def _is_there(
    session: AsyncSession,
    codes: Sequence[str],
    *,
    portal: Portal,
    via: str,
    asked_at: datetime,
    now: datetime,
) -> None:
    if not codes:
        return
    rows = await (await driver(session)).fetch(
        """
        INSERT INTO presence AS p (code, portal, found, checked_at, via)
        SELECT code, $2, true, $3, $4 FROM unnest($1::text[]) AS t(code) ORDER BY code
        ON CONFLICT (code, portal) DO UPDATE
           SET found = true, checked_at = excluded.checked_at, via = excluded.via
         WHERE p.checked_at IS NULL OR p.checked_at <= excluded.checked_at
        RETURNING code
        """,
        sorted(codes),
        portal.value,
        asked_at,
        via,
    )
    await queue.enqueue(session, [row["code"] for row in rows], consumers=BOTH, now=now)


async def absent_from_list(
    session: AsyncSession, *, start: datetime, end: datetime, asked_at: datetime, now: datetime
) -> int:
    """After all windows of a national list: what the province received or sent in [start, end) and no window
    held is absent since `asked_at`, when the first window was asked for. Returns how many."""
    rows = await (await driver(session)).fetch(
        """
        INSERT INTO presence AS p (code, portal, found, checked_at, via)
        SELECT DISTINCT d.code, 'national', false, $3::timestamptz, 'list' FROM dossier d
         WHERE d.portal IN ('sent', 'provincial') AND d.received_at >= $1 AND d.received_at < $2
           AND NOT EXISTS (SELECT FROM dossier n WHERE n.code = d.code AND n.portal = 'national'
                              AND n.version IS NOT NULL AND n.vanished_at IS NULL)
         ORDER BY 1
        ON CONFLICT (code, portal) DO UPDATE
           SET found = false, checked_at = excluded.checked_at, via = excluded.via
         WHERE p.checked_at IS NULL OR p.checked_at < excluded.checked_at
        RETURNING code
        """,
        start,
        end,
        asked_at,
    )
    return await queue.enqueue(session, [row["code"] for row in rows], consumers=BOTH, now=now)


async def vanish(
    session: AsyncSession,
    *,
    start: datetime,
    end: datetime,
    listed: Sequence[str],
    asked_since: datetime,
    now: datetime,
) -> int:
    """National copies learnt from a list whose window no longer holds them, nor has another window since
    `asked_since`, the pass's first question. accept() brings them back when they are listed again. Returns how
    many."""
    rows = await (await driver(session)).fetch(
        """
        WITH gone AS (
          SELECT code FROM dossier WHERE portal = 'national' AND via = 'list' AND vanished_at IS NULL
             AND received_at >= $1 AND received_at < $2 AND code <> ALL($3::text[])
             AND NOT EXISTS (SELECT FROM presence p WHERE p.code = dossier.code AND p.portal = 'national'
                                AND p.found AND p.via = 'list' AND p.checked_at >= $5)
           ORDER BY code FOR UPDATE
        )
        UPDATE dossier d SET vanished_at = $4 FROM gone g WHERE d.code = g.code AND d.portal = 'national'
        RETURNING d.code
        """,
        start,
        end,
        list(listed),
        now,
        asked_since,
    )
    return await queue.enqueue(session, [row["code"] for row in rows], consumers=BOTH, now=now)


async def unmatched_on_province(
    session: AsyncSession, *, since: datetime | None, through: datetime
) -> list[str]:
    """Codes that were sent or that the nation shows, received in (since, through], of which the provincial
    system has told nothing: a walk that has ended is news about them."""
    rows = await (await driver(session)).fetch(
        """
        SELECT DISTINCT d.code FROM dossier d
         WHERE d.portal IN ('sent', 'national') AND d.received_at <= $2
           AND ($1::timestamptz IS NULL OR d.received_at > $1)
           AND NOT EXISTS (SELECT FROM dossier p WHERE p.code = d.code AND p.portal = 'provincial')
         ORDER BY 1
        """,
        since,
        through,
    )
    return [row["code"] for row in rows]
