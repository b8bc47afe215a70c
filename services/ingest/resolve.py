"""Which unit handles a dossier (architecture.md §4): the agency's code in the message → a dated alias of that code, or
of the unit's name → the unit part of the dossier's code, or an alias of it → none. Pure but for `load`, which reads the
two small tables.
"""

from __future__ import annotations

from collections import defaultdict
from datetime import date

import asyncpg
from sqlalchemy.ext.asyncio import AsyncSession

from shared.errors import Invalid
from shared.identifiers import normalise_unit_code, parse_dossier_code, unit_name_key
from shared.vocabulary import UnitVia

Resolved = tuple[str | None, str]
Span = tuple[date, date | None, str]

NOWHERE: Resolved = (None, UnitVia.NONE.value)


class Directory:
    """The units and names known at one moment; answers are remembered for its life."""

    def __init__(self, codes: set[str], aliases: dict[str, list[Span]]) -> None:
        self.codes = codes
        self.aliases = aliases
        self._answers: dict[tuple[str | None, str | None, str], Resolved] = {}

    def resolve(
        self, agency_code: str | None, unit_name: str | None, code: str, received_at: str | None
    ) -> Resolved:
        """(unit code | None, by which way). `received_at`: a stamp (normalise.stamp), whose day a dated alias asks."""
        key = (agency_code, unit_name, code.partition("-")[0])
        answer = self._answers.get(key)
        if answer is None:
            answer, lasting = self._resolve(agency_code, unit_name, code, received_at)
            if lasting:
                if len(self._answers) > 50_000:  # names that are made up must not fill the memory
                    self._answers.clear()
                self._answers[key] = answer
        return answer

    def _resolve(
        self, agency_code: str | None, unit_name: str | None, code: str, received_at: str | None
    ) -> tuple[Resolved, bool]:
        """The answer, and whether it is the same for every day."""
        if agency_code:
            try:
                unit = normalise_unit_code(agency_code)
            except Invalid:
                unit = ""
            if unit in self.codes:
                return (unit, UnitVia.AGENCY_CODE.value), True
        lasting = True
        for called in (agency_code, unit_name):
            if called:
                answer, fixed = self._by_alias(called, received_at)
                if answer is not None:
                    return answer, lasting and fixed
                lasting = lasting and fixed
        part = parse_dossier_code(code).unit
        while part and "." in part:  # the province alone is no unit that handles a dossier
            if part in self.codes:
                return (part, UnitVia.DOSSIER_CODE.value), lasting
            part = part.rpartition(".")[0]
        if not agency_code and not unit_name:
            answer, fixed = self._by_alias(code.partition("-")[0], received_at)
            if answer is not None:
                return answer, fixed
            lasting = fixed
        return NOWHERE, lasting

    def _by_alias(self, called: str, received_at: str | None) -> tuple[Resolved | None, bool]:
        """The unit that a name or code means on the day of receipt, and whether that is so on every day."""
        spans = self.aliases.get(unit_name_key(called), [])
        if not spans:
            return None, True
        # One name, one unit for all time: the day does not matter, also for dossiers older than the alias.
        if len({unit for _, _, unit in spans}) == 1:
            return (spans[0][2], UnitVia.ALIAS.value), True
        day = date.fromisoformat(received_at[:10]) if received_at else date.max
        for since, until, unit in spans:
            if since <= day and (until is None or day <= until):
                return (unit, UnitVia.ALIAS.value), False
        return None, False


_LOCK = 0x756E6974
"""Transaction-scoped advisory lock: shared by whoever resolves, exclusive for whoever changes units or names."""


async def hold(connection: asyncpg.Connection) -> None:
    """Before units or names change: wait for the transactions that resolve by the old ones, and keep new ones waiting
    until the caller's commits. Else a dossier that comes at the same moment would keep the old answer for good. (A lock
    on the tables would make every door wait for a backup that reads them.)"""
    await connection.execute(f"SELECT pg_advisory_xact_lock({_LOCK})")


_loaded: dict[str, tuple[tuple[object, ...], Directory]] = {}


async def load(session: AsyncSession, connection: asyncpg.Connection) -> Directory:
    """The directory as of now, which stays so until the caller's transaction ends; read again only when a unit or an
    alias has changed (one small query tells). `connection`: the session's own (shared.db.driver)."""
    bind = str(session.bind.engine.url.render_as_string(hide_password=True) if session.bind else "")
    # A statement of its own: the next one must not see what was true before the lock was there.
    await connection.execute(f"SELECT pg_advisory_xact_lock_shared({_LOCK})")
    row = await connection.fetchrow(
        "SELECT (SELECT count(*) FROM unit), (SELECT max(updated_at) FROM unit),"
        " (SELECT count(*) FROM unit_alias), (SELECT max(updated_at) FROM unit_alias)"
    )
    stamp = tuple(row)
    known = _loaded.get(bind)
    if known is not None and known[0] == stamp:
        return known[1]
    codes = {row["code"] for row in await connection.fetch("SELECT DISTINCT code FROM unit")}
    aliases: defaultdict[str, list[Span]] = defaultdict(list)
    for key, since, until, unit in await connection.fetch(
        "SELECT name_key, valid_from, valid_to, unit_code FROM unit_alias ORDER BY valid_from DESC"
    ):
        aliases[key].append((since, until, unit))
    directory = Directory(codes, dict(aliases))
    _loaded[bind] = (stamp, directory)
    return directory
