"""Units as the provincial one-stop system, iGate, tells them (portals.md §4). Pure; wire names live here
only."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from shared.errors import Invalid
from shared.identifiers import normalise_unit_code


class Named(msgspec.Struct):
    name: str | None = None


class Coded(msgspec.Struct):
    id: str | None = None
    code: str | None = None


class Agency(msgspec.Struct):
    id: str | None = None
    code: str | None = None
    name: list[Named] | None = None
    parent: Coded | None = None
    ancestors: list[Coded] | None = None


class AgencyLevel(msgspec.Struct):
    id: int | str | None = None


class AgencyItem(Agency):
    level: AgencyLevel | None = None


class AgencyPage(msgspec.Struct):
    content: list[msgspec.Raw]
    last: bool = True


def decode_agencies(body: bytes) -> AgencyPage | None:
    """The rows of `ba/agency/--by-parent-id`, a page or a plain list; None where the body is neither."""
    try:
        if body.lstrip().startswith(b"["):
            return AgencyPage(msgspec.json.decode(body, type=list[msgspec.Raw]))
        return msgspec.json.decode(body, type=AgencyPage)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None


def decode_agency(raw: bytes | msgspec.Raw) -> AgencyItem | None:
    try:
        return msgspec.json.decode(raw, type=AgencyItem)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None


def first_name(names: Sequence[Named] | None) -> str | None:
    """Names come with a language each; only Vietnamese ones were seen."""
    return names[0].name if names else None


def agency_name(agency: Agency) -> str | None:
    return first_name(agency.name)


class _OfDossier(msgspec.Struct):
    agency: Agency | None = None


def root_of(rows: Sequence[msgspec.Raw], province_code: str) -> str | None:
    """The province's own id, as its dossiers' agencies name it among what stands above them: nothing else
    tells it, and `--by-parent-id` begins there."""
    for raw in rows:
        try:
            agency = msgspec.json.decode(raw, type=_OfDossier).agency
        except (msgspec.MsgspecError, RecursionError):
            continue
        if agency is None:
            continue
        known: list[Coded | None] = [*(agency.ancestors or ()), agency.parent, Coded(agency.id, agency.code)]
        for unit in known:
            if unit and unit.id and unit.code and _is(unit.code, province_code):
                return unit.id
    return None


def _is(code: str, unit_code: str) -> bool:
    try:
        return normalise_unit_code(code) == unit_code
    except Invalid:
        return False
