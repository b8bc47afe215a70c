"""Which unit handles a dossier (architecture.md §4): the agency's code in the message → a dated alias of the unit's
name → the unit part of the dossier's code → none. Pure but for `load`, which reads the two small tables.
"""

from __future__ import annotations

from collections import defaultdict
from datetime import date

from sqlalchemy import text
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
        spans = self.aliases.get(unit_name_key(unit_name), []) if unit_name else []
        if spans:
            # One name, one unit for all time: the day does not matter, also for dossiers older than the alias.
            if len({unit for _, _, unit in spans}) == 1:
                return (spans[0][2], UnitVia.ALIAS.value), True
            lasting = False
            day = date.fromisoformat(received_at[:10]) if received_at else date.max
            for since, until, unit in spans:
                if since <= day and (until is None or day <= until):
                    return (unit, UnitVia.ALIAS.value), False
        part = parse_dossier_code(code).unit
        while part and "." in part:  # the province alone is no unit that handles a dossier
            if part in self.codes:
                return (part, UnitVia.DOSSIER_CODE.value), lasting
            part = part.rpartition(".")[0]
        return NOWHERE, lasting


_loaded: dict[str, tuple[tuple[object, ...], Directory]] = {}


async def load(session: AsyncSession) -> Directory:
    """The directory as of now; read again only when a unit or an alias has changed (one small query tells)."""
    bind = str(session.bind.engine.url.render_as_string(hide_password=True) if session.bind else "")
    stamp = tuple(
        (
            await session.execute(
                text(
                    "SELECT (SELECT count(*) FROM unit), (SELECT max(updated_at) FROM unit),"
                    " (SELECT count(*) FROM unit_alias), (SELECT max(updated_at) FROM unit_alias)"
                )
            )
        ).one()
    )
    known = _loaded.get(bind)
    if known is not None and known[0] == stamp:
        return known[1]
    codes = set((await session.execute(text("SELECT DISTINCT code FROM unit"))).scalars())
    aliases: defaultdict[str, list[Span]] = defaultdict(list)
    for key, since, until, unit in await session.execute(
        text("SELECT name_key, valid_from, valid_to, unit_code FROM unit_alias ORDER BY valid_from DESC")
    ):
        aliases[key].append((since, until, unit))
    directory = Directory(codes, dict(aliases))
    _loaded[bind] = (stamp, directory)
    return directory
