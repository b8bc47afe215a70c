"""The life of findings: they open, resolve by themselves when the cause is gone, and reopen with their
history.

`plan` decides (pure), `settle` reads and writes. Whoever calls settle holds the lock that makes it the only
one for these codes: the comparison rows of dossiers, one advisory lock for procedures.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Literal
from uuid import UUID

import msgspec
from sqlalchemy.ext.asyncio import AsyncSession

from services.reconcile.ids import new_id
from shared.db import driver, rows_to_columns

Event = Literal["opened", "reopened", "changed", "resolved"]
Identity = tuple[str, str, str]  # code, kind, key
ACTOR = "system"
_TIMES = frozenset({"learnt_at", "version", "checked_at", "via", "listed_at", "record_at"})


@dataclass(frozen=True, slots=True)
class Wanted:
    """A finding as the comparison has it now."""

    code: str
    kind: str
    key: str
    unit_code: str
    procedure_code: str | None
    responsible: str
    source_system: str | None
    evidence: dict[str, Any]

    @property
    def identity(self) -> Identity:
        return (self.code, self.kind, self.key)


@dataclass(frozen=True, slots=True)
class Kept:
    """A finding as it is stored: what was wanted last, and its state."""

    id: UUID
    last: Wanted
    open: bool


@dataclass(frozen=True, slots=True)
class Step:
    """One difference to write. event None: columns move, but nothing that a reader would call a change."""

    id: UUID | None
    wanted: Wanted
    event: Event | None


def values_of(evidence: Any) -> Any:
    """Evidence without when and by which way it was learnt: only a change of the rest is news."""
    if isinstance(evidence, Mapping):
        return {key: values_of(value) for key, value in evidence.items() if key not in _TIMES}
    return [values_of(each) for each in evidence] if isinstance(evidence, list) else evidence


def plan(kept: Mapping[Identity, Kept], wanted: Mapping[Identity, Wanted]) -> list[Step]:
    """The differences between what is stored and what should be, in order of identity."""
    steps: list[Step] = []
    for identity in sorted(kept.keys() | wanted.keys()):
        now, before = wanted.get(identity), kept.get(identity)
        if before is None:
            assert now is not None
            steps.append(Step(None, now, "opened"))
        elif now is None:
            if before.open:
                steps.append(Step(before.id, before.last, "resolved"))
        elif not before.open:
            steps.append(Step(before.id, now, "reopened"))
        elif values_of(now.evidence) != values_of(before.last.evidence):
            steps.append(Step(before.id, now, "changed"))
        elif replace(now, evidence={}) != replace(before.last, evidence={}):
            steps.append(Step(before.id, now, None))
    return steps


_KEPT = (
    "SELECT id, code, kind, key, unit_code, procedure_code, responsible, source_system, evidence,"
    " state = 'open' AS open FROM finding WHERE subject = $1"
)
_OPEN = """
INSERT INTO finding (subject, code, id, kind, key, state, unit_code, procedure_code, responsible,
                     source_system, evidence, opened_at, changed_at, times_opened)
SELECT $1, code, id, kind, key, 'open', unit_code, procedure_code, responsible,
       source_system, evidence, $2, $2, 1
FROM unnest($3::text[], $4::uuid[], $5::text[], $6::text[], $7::text[], $8::text[], $9::text[], $10::text[],
            $11::jsonb[])
  AS t(code, id, kind, key, unit_code, procedure_code, responsible, source_system, evidence)
ORDER BY code, kind, key
"""
_CHANGE = """
UPDATE finding f SET
  state = CASE t.event WHEN 'resolved' THEN 'resolved' ELSE 'open' END,
  resolved_at = CASE t.event WHEN 'resolved' THEN $1::timestamptz END,
  opened_at = CASE t.event WHEN 'reopened' THEN $1::timestamptz ELSE f.opened_at END,
  times_opened = f.times_opened + CASE t.event WHEN 'reopened' THEN 1 ELSE 0 END,
  changed_at = $1, unit_code = t.unit_code, procedure_code = t.procedure_code, responsible = t.responsible,
  source_system = t.source_system, evidence = t.evidence
FROM unnest($2::text[], $3::uuid[], $4::text[], $5::text[], $6::text[], $7::text[], $8::text[], $9::jsonb[])
  AS t(code, id, event, unit_code, procedure_code, responsible, source_system, evidence)
WHERE f.code = t.code AND f.id = t.id
"""
_TELL = """
INSERT INTO finding_event (code, id, finding_id, at, event, actor, evidence)
SELECT code, id, finding_id, $1, event, $2, evidence
FROM unnest($3::text[], $4::uuid[], $5::uuid[], $6::text[], $7::jsonb[])
  AS t(code, id, finding_id, event, evidence)
ORDER BY code, id
"""


async def settle(
    session: AsyncSession,
    *,
    subject: str,
    codes: Sequence[str] | None,
    wanted: Iterable[Wanted],
    now: datetime,
) -> dict[str, int]:
    """Bring the findings of these codes (None: of all) to what is wanted. Returns how many opened, reopened,
    changed and resolved."""
    connection = await driver(session)
    rows = await (
        connection.fetch(_KEPT, subject)
        if codes is None
        else connection.fetch(f"{_KEPT} AND code = ANY($2::text[])", subject, codes)
    )
    kept = {}
    for row in rows:
        values = dict(row)
        identity, is_open = values.pop("id"), values.pop("open")
        last = Wanted(**values)
        kept[last.identity] = Kept(identity, last, is_open)
    steps = plan(kept, {each.identity: each for each in wanted})
    if not steps:
        return {}
    ids = [step.id or new_id(now) for step in steps]
    texts = [msgspec.json.encode(step.wanted.evidence).decode() for step in steps]
    written = list(zip(steps, ids, texts, strict=True))
    opened = [
        (w.code, at, w.kind, w.key, w.unit_code, w.procedure_code, w.responsible, w.source_system, text)
        for step, at, text in written
        if step.event == "opened" and (w := step.wanted)
    ]
    changed = [
        (w.code, at, step.event, w.unit_code, w.procedure_code, w.responsible, w.source_system, text)
        for step, at, text in written
        if step.event != "opened" and (w := step.wanted)
    ]
    told = [(step.wanted.code, new_id(now), at, step.event, text) for step, at, text in written if step.event]
    if opened:
        await connection.execute(_OPEN, subject, now, *rows_to_columns(opened, 9))
    if changed:
        await connection.execute(_CHANGE, now, *rows_to_columns(changed, 8))
    if told:
        await connection.execute(_TELL, now, ACTOR, *rows_to_columns(told, 5))
    counts: dict[str, int] = {}
    for step in steps:
        if step.event:
            counts[step.event] = counts.get(step.event, 0) + 1
    return counts


__all__ = ["Kept", "Step", "Wanted", "plan", "settle", "values_of"]
