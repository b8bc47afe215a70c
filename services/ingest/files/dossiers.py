"""A row of the portal's dossier export → our row. Pure.

The columns that are read are the allow-list: what the mapping does not name has not even left the process that reads
the file. A column that the file has is known, though the cell be empty; but an empty state, unit, procedure or channel
tells nothing (a dossier always has one)."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

import msgspec

from services.ingest.files.cells import moment, text
from services.ingest.files.columns import FACTS, Header, Words
from services.ingest.files.table import Row
from services.ingest.normalise import (
    NO_TIME,
    STATUSES,
    Head,
    Refusal,
    Refused,
    check_not_ahead,
    clean,
    dossier_code,
    latest_stamp,
    procedure_code,
    refusal,
)
from services.ingest.own_messages import NO_FACTS, PushedDossier, PushedFacts, bits_of
from shared.errors import Invalid
from shared.identifiers import DossierCode, name_key
from shared.vocabulary import Known, Portal

TIMES = ("submitted_at", "received_at", "due_at", "finished_at", "returned_at", "rejected_at", "updated_at")
_TIMES_KNOWN = {
    "submitted_at": Known.SUBMITTED_AT.value,
    "received_at": Known.RECEIVED_AT.value,
    "due_at": Known.DUE_AT.value,
    "finished_at": Known.FINISHED_AT.value,
    "returned_at": Known.RETURNED_AT.value,
    "rejected_at": Known.REJECTED_AT.value,
}
PROCEDURE, UNIT = Known.PROCEDURE.value, Known.UNIT.value
STATUS, CHANNEL = Known.STATUS.value, Known.CHANNEL.value
"""As numbers: an IntFlag's `|` is a call of its own, and these run for every row."""
_CODE = re.compile(r"(?=.*[A-Za-z])(?=.*[0-9])[A-Za-z0-9._/-]+")
"""A code has letters and digits. Digits alone could be an identity number, a text with spaces a name: in a file one
column too far to the left all of them would be taken."""

_encode = msgspec.json.Encoder().encode


def fields_of(header: Header) -> list[str]:
    """The order in which `reader` expects the cells."""
    return sorted(header.indexes)


def reader(
    header: Header, words: Words, *, portal: Portal, exported_at: str | None, now: datetime
) -> Callable[[Row], Head | Refusal]:
    """What reads one row of this file. `exported_at`: a stamp; the age of what a row says where it does not tell when
    it was updated. The version of a row is the newest moment that it tells of, so it does not matter in which order
    the files of a year come."""
    fields = fields_of(header)
    known_times = 0
    for name in fields:
        known_times |= _TIMES_KNOWN.get(name, 0)
    order = {name: n for n, name in enumerate(fields)}
    times = [(name, order[name]) for name in TIMES if name in order]
    code_at = order["code"]
    procedure_at, unit_code_at, unit_name_at = (
        order.get(name) for name in ("procedure_code", "unit_code", "unit_name")
    )
    status_at, channel_at = order.get("status"), order.get("channel")
    flags = [(name, order[name]) for name in FACTS if name in order]
    latest = latest_stamp(now)

    def read(row: Row) -> Head | Refusal:
        cells = row.cells
        try:
            code = _code(cells[code_at])
            known = known_times
            procedure = suffix = unit_code = unit_name = status = channel = None
            if procedure_at is not None and (told := text(cells[procedure_at])):
                procedure, suffix = procedure_code(told, "procedure_code")
                known |= PROCEDURE
            if unit_code_at is not None and (told := text(cells[unit_code_at])):
                unit_code = clean(told, "unit_code", limit=100)
                known |= UNIT
            if unit_name_at is not None and (told := text(cells[unit_name_at])):
                unit_name = clean(told, "unit_name", limit=300)
                known |= UNIT
            if status_at is not None and (told := text(cells[status_at])):
                status = _one_of(told, words.statuses, "status")
                known |= STATUS
            if channel_at is not None and (told := text(cells[channel_at])):
                channel = _one_of(told, words.channels, "channel")
                known |= CHANNEL
            facts = NO_FACTS
            if flags:
                facts = bits_of(
                    PushedFacts(**{name: _flag(cells[index], words.flags, name) for name, index in flags})
                )
            at = {name: moment(cells[index], name) for name, index in times}
            updated_at = at.get("updated_at") or exported_at
            events = [
                (name, stamp)
                for name, stamp in (*at.items(), ("updated_at", updated_at))
                if stamp is not None and name != "due_at"
            ]
            version = max((stamp for _, stamp in events), default=NO_TIME)
            if version > latest:
                check_not_ahead(events, now)
        except Invalid as error:
            item = _item(portal, dict(zip(fields, cells, strict=True)), words)
            # Of the cells that are read alone: a citizen's column has no part in the digest.
            return refusal(error, position=row.number, raw=_encode([error.field, cells]), item=item)
        return Head(
            code.code,
            code.known,
            code.source_system,
            known,
            version,
            procedure,
            suffix,
            unit_code,
            unit_name,
            status,
            False,
            channel,
            at.get("submitted_at"),
            at.get("received_at"),
            at.get("due_at"),
            at.get("finished_at"),
            at.get("returned_at"),
            at.get("rejected_at"),
            None,
            *facts,
        )

    return read


def _code(cell: object) -> DossierCode:
    told = text(cell)
    code = dossier_code(told, "code")
    if not _CODE.fullmatch(code.code):
        raise Refused(
            "code",
            "code: không phải mã hồ sơ (mã hồ sơ gồm chữ cái không dấu và chữ số, không có dấu cách).",
            "code: not a dossier code (letters and digits, no spaces)",
        )
    return code


def _one_of(told: str, words: Mapping[str, int], field: str) -> int:
    """By the configured words, or by the protocol's number."""
    found = words.get(name_key(told))
    if found is None and field == "status":
        found = STATUSES.get(told)
    if found is None and field == "channel" and told in ("1", "2", "3"):
        found = int(told)
    if found is None:
        raise Refused(
            field,
            f"{field}: giá trị không có trong danh mục của cấu hình (columns.toml).",
            f"{field}: not among the configured words (columns.toml)",
        )
    return int(found)


_CODES = {"paid_online": {"2": True, "3": False}, "reused": {"2": True}}
"""Beside 0 and 1, of the protocol (portals.md §1.4)."""
_LINKS = ("result_link", "component_file")


def _flag(cell: object, words: Mapping[str, bool], field: str) -> bool:
    """By the configured words, or by the protocol's number; an empty cell is no. Of a link only that it is there."""
    told = text(cell)
    if told is None:
        return cell is True
    found = words.get(name_key(told), _CODES.get(field, {}).get(told))
    if found is None and field in _LINKS and told.startswith(("http://", "https://")):
        return True
    if found is None:
        raise Refused(
            field,
            f"{field}: giá trị không có trong danh mục của cấu hình (columns.toml).",
            f"{field}: not among the configured words (columns.toml)",
        )
    return found


def _item(portal: Portal, cells: Mapping[str, object], words: Words) -> PushedDossier:
    """A refused row as a message of our own form, as far as its cells can be read."""
    told: dict[str, Any] = {}
    facts: dict[str, Any] = {}
    for name, cell in cells.items():
        if name in FACTS:
            try:
                facts[name] = _flag(cell, words.flags, name)
            except Refused:
                facts[name] = text(cell)
        elif shown := _shown(name, cell, words):
            told[name] = shown
    return PushedDossier(portal=portal.value, facts=PushedFacts(**facts) if facts else None, **told)


def _shown(name: str, cell: object, words: Words) -> str | None:
    """As a message of our own form has it, so that a refused row can be read again as one."""
    told = text(cell)
    if told is None:
        return None
    if name in TIMES:
        try:
            return moment(cell, name)
        except Invalid:
            return told
    if name == "status":
        return str(words.statuses.get(name_key(told), told))
    if name == "channel":
        return str(words.channels.get(name_key(told), told))
    return told
