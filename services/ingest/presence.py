"""What look-ups and complete lists prove about a code: it exists on a portal, or it does not (architecture.md
§4).

Each proof carries the moment at which the portal was *asked*, which is earlier than its answer, so that a
dossier that arrives in between is never called missing by it.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

from sqlalchemy.ext.asyncio import AsyncSession

from services.ingest.normalise import Head, Refusal
from shared import queue
from shared.db import driver
from shared.errors import Invalid
from shared.identifiers import parse_dossier_code
from shared.vocabulary import TERMINAL, Consumer, Portal

BOTH = (Consumer.RECONCILE, Consumer.INDICATORS)

FOUND_AGAIN = timedelta(days=1)
"""What was found is asked for again after this; what was not, in each run."""

ENDED_AGAIN = timedelta(days=30)
"""As FOUND_AGAIN, for a dossier that has ended in the province or in what was sent: nothing happens to it any more,
and asking for all that ever were would leave no time for the others."""

_COPY_THERE = """EXISTS (SELECT FROM dossier d WHERE d.code = {code} AND d.portal = 'national'
                      AND d.version IS NOT NULL AND d.vanished_at IS NULL)"""
_HELD = _COPY_THERE.format(code="p.code")


async def admit(session: AsyncSession, *, now: datetime, limit: int = 5000) -> int:
    """Take codes that arrived since the last run from the queue into the list of codes to look up, except those of
    which we have a national copy: they need none. One whose national copy has vanished is asked for at once. Returns
    how many were taken; the caller commits and goes on until none are left."""
    taken = await queue.take(session, consumer=Consumer.LOOKUPS, now=now, limit=limit)
    await (await driver(session)).execute(
        f"""
        INSERT INTO presence AS p (code, portal) SELECT code, 'national' FROM unnest($1::text[]) AS t(code)
         WHERE NOT {_COPY_THERE.format(code="t.code")} ORDER BY code
        ON CONFLICT (code, portal) DO UPDATE SET ask_at = NULL
         WHERE p.ask_at IS NOT NULL AND EXISTS (SELECT FROM dossier d WHERE d.code = p.code
                AND d.portal = 'national' AND d.vanished_at IS NOT NULL)
        """,  # noqa: S608 - our own text
        taken.codes,
    )
    await queue.finish(session, taken)
    return len(taken.codes)


async def put_aside(session: AsyncSession, *, before: datetime) -> None:
    """Of what is due, the codes whose national copy has arrived meanwhile are not looked at again for ENDED_AGAIN:
    once in a run, so that no batch has to walk over them."""
    await (await driver(session)).execute(
        f"""
        WITH held AS (
          SELECT p.code FROM presence p WHERE p.portal = 'national' AND (p.ask_at IS NULL OR p.ask_at < $1) AND {_HELD}
           ORDER BY p.code FOR UPDATE OF p
        )
        UPDATE presence p SET ask_at = $1::timestamptz + $2::interval
          FROM held h WHERE p.code = h.code AND p.portal = 'national'
        """,  # noqa: S608
        before,
        ENDED_AGAIN,
    )


async def due(session: AsyncSession, *, before: datetime, limit: int) -> list[str]:
    """Codes to look up on the national portal: never asked, then due before `before`, the longest due first. Each half
    is a range of the index that ends after `limit` rows, however many codes there are."""
    rows = await (await driver(session)).fetch(
        f"""
        SELECT code FROM (
          (SELECT p.code, p.ask_at FROM presence p
            WHERE p.portal = 'national' AND p.ask_at IS NULL AND NOT {_HELD} LIMIT $2)
          UNION ALL
          (SELECT p.code, p.ask_at FROM presence p
            WHERE p.portal = 'national' AND p.ask_at < $1 AND NOT {_HELD} ORDER BY p.ask_at LIMIT $2)
        ) t ORDER BY ask_at NULLS FIRST LIMIT $2
        """,  # noqa: S608
        before,
        limit,
    )
    return [row["code"] for row in rows]


async def count_due(session: AsyncSession, *, before: datetime) -> int:
    """After put_aside()."""
    return int(
        await (await driver(session)).fetchval(
            "SELECT (SELECT count(*) FROM presence WHERE portal = 'national' AND ask_at IS NULL)"
            " + (SELECT count(*) FROM presence WHERE portal = 'national' AND ask_at < $1)",
            before,
        )
    )


async def record_lookups(
    session: AsyncSession, results: Sequence[tuple[str, bool | None]], *, asked_at: datetime, now: datetime
) -> None:
    """Store (code, found) of one batch; None: no answer, which proves nothing and waits for its next turn behind
    all others. A change is queued where the answer is new or other than before, and for each absence: its proof
    has become younger, which is what a grace time waits for."""
    ordered = sorted(results)
    rows = await (await driver(session)).fetch(
        """
        WITH incoming AS (
          SELECT * FROM unnest($1::text[], $2::bool[]) AS t(code, found)
        ), before AS (  -- a proof that is younger than our question stays
          SELECT p.code, p.found AS was, i.found,
                 i.found IS NOT NULL AND (p.checked_at IS NULL OR p.checked_at <= $3) AS holds,
                 EXISTS (SELECT FROM dossier d WHERE d.code = p.code AND d.portal IN ('sent', 'provincial')
                            AND d.status = ANY($6::int2[])) AS ended
            FROM presence p JOIN incoming i ON i.code = p.code
           WHERE p.portal = 'national' ORDER BY p.code FOR UPDATE OF p
        )
        UPDATE presence p SET
          found = CASE WHEN b.holds THEN b.found ELSE p.found END,
          checked_at = CASE WHEN b.holds THEN $3 ELSE p.checked_at END,
          via = CASE WHEN b.holds THEN 'lookup' ELSE p.via END,
          ask_at = $3::timestamptz + CASE WHEN b.found AND b.ended THEN $5::interval
                                          WHEN b.found THEN $4::interval ELSE interval '0' END
          FROM before b WHERE p.code = b.code AND p.portal = 'national'
        RETURNING p.code, b.holds AND (b.was IS DISTINCT FROM b.found OR NOT b.found) AS matters
        """,
        [code for code, _ in ordered],
        [found for _, found in ordered],
        asked_at,
        FOUND_AGAIN,
        ENDED_AGAIN,
        sorted(TERMINAL),
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
        INSERT INTO presence AS p (code, portal, found, checked_at, via, ask_at)
        SELECT code, $2, true, $3, $4, $3::timestamptz + $5::interval FROM unnest($1::text[]) AS t(code) ORDER BY code
        ON CONFLICT (code, portal) DO UPDATE
           SET found = true, checked_at = excluded.checked_at, via = excluded.via, ask_at = excluded.ask_at
         WHERE p.checked_at IS NULL OR p.checked_at <= excluded.checked_at
        RETURNING code
        """,
        sorted(codes),
        portal.value,
        asked_at,
        via,
        FOUND_AGAIN,
    )
    await queue.enqueue(session, [row["code"] for row in rows], consumers=BOTH, now=now)


async def absent_from_list(
    session: AsyncSession, *, start: datetime, end: datetime, asked_at: datetime, now: datetime
) -> int:
    """After all windows of a national list: what the province received or sent in [start, end) and no window
    held is absent since `asked_at`, when the first window was asked for. Returns how many."""
    rows = await (await driver(session)).fetch(
        """
        INSERT INTO presence AS p (code, portal, found, checked_at, via, ask_at)
        SELECT DISTINCT d.code, 'national', false, $3::timestamptz, 'list', $3::timestamptz FROM dossier d
         WHERE d.portal IN ('sent', 'provincial') AND d.received_at >= $1 AND d.received_at < $2
           AND NOT EXISTS (SELECT FROM dossier n WHERE n.code = d.code AND n.portal = 'national'
                              AND n.version IS NOT NULL AND n.vanished_at IS NULL)
         ORDER BY 1
        ON CONFLICT (code, portal) DO UPDATE
           SET found = false, checked_at = excluded.checked_at, via = excluded.via, ask_at = excluded.ask_at
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
    `asked_since`, the pass's first question. accept() brings them back when they are listed again; look-ups, which
    spared them, ask for them. Returns how many."""
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
    return await queue.enqueue(
        session, [row["code"] for row in rows], consumers=(*BOTH, Consumer.LOOKUPS), now=now
    )


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
