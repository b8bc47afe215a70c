"""From a message's values to one row of ours: what every door shares. Pure.

A door's allow-list is its msgspec.Struct: what the struct does not name is never decoded, so a citizen's name has no
way in. Values that name nobody are brought to one form here, and what breaks a rule is refused with its field.
"""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections.abc import Iterable
from datetime import datetime, timedelta
from functools import lru_cache
from typing import Any, NamedTuple

import msgspec

from shared.calendar import TZ, parse_wire
from shared.errors import Invalid
from shared.identifiers import DossierCode, normalise_unit_code, parse_dossier_code, parse_procedure_code
from shared.vocabulary import DossierStatus, Portal

NO_TIME = "1970-01-01T07:00:00+07:00"
"""The version of a message that tells of no moment at all: older than any that does."""

AHEAD = timedelta(days=1)
"""How far in the future an event may lie (architecture.md §4): clocks differ, but not by more than a day."""

STATUSES: dict[Any, int] = {
    **{str(int(s)): int(s) for s in DossierStatus},
    **{f"0{int(s)}": int(s) for s in DossierStatus if s < 10},
    **{int(s): int(s) for s in DossierStatus},
}


_MINUTE = re.compile(
    r"[0-9]{8}(?:[01][0-9]|2[0-3])[0-5][0-9]|[0-9]{4}-[0-9]{2}-[0-9]{2}T(?:[01][0-9]|2[0-3]):[0-5][0-9]:"
).fullmatch
_SECONDS = {key: f"{n:02}+07:00" for n in range(60) for key in (f"{n:02}", f"{n:02}+07:00")}
"""The end of a time in the two forms that nearly all messages use, as a stamp has it."""


class Head(NamedTuple):
    """The head of one copy as a row, in the order of the columns that accept() writes.

    Times are stamps: ISO 8601 in Việt Nam's offset, always in the same form (`stamp`, `stamped`), so that they compare
    as texts and go to PostgreSQL as they are; making moments of them and texts again was half of what a push cost.
    """

    code: str
    code_known: bool
    source_system: str
    known: int
    version: str
    procedure_code: str | None
    procedure_suffix: str | None
    agency_code: str | None
    unit_name: str | None
    status: int | None
    cancelled: bool
    channel: int | None
    submitted_at: str | None
    received_at: str | None
    due_at: str | None
    finished_at: str | None
    returned_at: str | None
    rejected_at: str | None
    supplements: str | None
    facts: int = 0
    facts_known: int = 0
    """Bits of vocabulary.Fact: what is true, and what the message can tell."""


class Step(NamedTuple):
    """One step of the handling. `known`: Known.OFFICER | Known.OFFICER_TITLE, which of the two the message can tell.
    `keep`: whether the step itself is stored, or only the newest one's officer (iGate tells no others)."""

    code: str
    occurred_at: datetime
    status: int
    officer: str | None
    officer_title: str | None
    started_at: datetime | None
    known: int
    keep: bool = True


class Refusal(NamedTuple):
    """An item that a rule refused. `content`: its allow-listed fields, or None where it could not be read."""

    position: int
    code: str | None
    field: str
    vi: str
    en: str
    digest: bytes
    content: dict[str, Any] | None
    dropped: tuple[str, ...] = ()
    """Paths of the fields whose values are not in `content`, because they could name somebody."""


class Refused(Invalid):
    """Raised while an item is read; the door makes a Refusal of it and goes on with the next."""

    field: str

    def __init__(self, field: str, vi: str, en: str) -> None:
        super().__init__(vi, en, field=field)
        self.field = field


def refusal(error: Invalid, *, position: int, raw: bytes, item: msgspec.Struct | None) -> Refusal:
    """What is kept of a refused item: the reason, a digest of its bytes, and the fields that the allow-list names.
    The field at fault is kept only as far as it is a plain code or time: a name typed into it must not stay."""
    content = None
    code = None
    dropped: list[str] = []
    if item is not None:
        fields = msgspec.to_builtins(item)
        content = _kept(fields, "", dropped)
        named = fields.get("MaHoSo") or fields.get("code") or fields.get("nationCode")
        if isinstance(named, str) and _harmless(named):
            code = named[:100]
    return Refusal(
        position=position,
        code=code,
        field=error.field or "",
        vi=error.vi,
        en=error.en,
        digest=hashlib.blake2b(raw, digest_size=16).digest(),
        content=content,
        dropped=tuple(dropped[:DROPPED_LIMIT]),
    )


DROPPED_LIMIT = 50
"""Paths of dropped fields that are kept, at the most."""
_LISTED = 20
"""Entries of a list within a refused item that are kept, at the most."""

_WORDS = frozenset(
    {*(portal.value for portal in Portal), "in_person", "online", "post", "true", "false", "True", "False"}
)
_UNIT_FIELDS = frozenset({"unit_name", "DonViXuLy"})
_UNIT_NAME = re.compile(
    r"(?:UBND|Ủy ban nhân dân|Uỷ ban nhân dân|Sở|Ban|Cục|Chi cục|Chi nhánh|Phòng|Trung tâm|Văn phòng|Thanh tra|Bộ)"
    r" [^0-9@]{1,120}",
    re.IGNORECASE,
)


def _kept(fields: dict[str, Any], path: str, dropped: list[str]) -> dict[str, Any]:
    """The harmless values, down to those within structures; paths of all others go to `dropped`."""
    kept: dict[str, Any] = {}
    for name, value in fields.items():
        where = f"{path}{name}"
        if isinstance(value, dict):
            kept[name] = _kept(value, f"{where}.", dropped)
        elif isinstance(value, list):
            if len(value) > _LISTED or any(not isinstance(each, dict) for each in value):
                dropped.append(where)
            else:
                kept[name] = [_kept(each, f"{where}.", dropped) for each in value]
        elif _harmless(value) or (
            name in _UNIT_FIELDS and isinstance(value, str) and _UNIT_NAME.fullmatch(value)
        ):
            kept[name] = value
        else:
            dropped.append(where)
    return kept


def _harmless(value: object) -> bool:
    """Codes, numbers and times; anything with a letter outside a code, a space or eight and more digits that are
    not a time could be somebody's name or number."""
    if value is None or isinstance(value, bool):
        return True
    if isinstance(value, int | float):
        return abs(value) < 1000
    if not isinstance(value, str) or len(value) > 60:
        return False
    if not value or value in STATUSES or value in _WORDS:
        return True
    if value.isascii() and value.isdecimal() and len(value) <= 3:  # as a number below 1000
        return True
    try:
        if parse_dossier_code(value).known:
            return True
    except Invalid:
        return False
    for read in (parse_wire, parse_procedure_code, normalise_unit_code):
        try:
            read(value)
        except Invalid:
            continue
        return True
    return False


def dossier_code(value: object, field: str) -> DossierCode:
    """Raises Refused where there is no code; one of unknown form is taken and marked."""
    if not isinstance(value, str):
        raise Refused(field, f"Thiếu mã hồ sơ ({field}).", f"{field}: a dossier code is needed")
    try:
        return parse_dossier_code(value)
    except Invalid as error:
        raise Refused(field, f"{field}: {error.vi}", f"{field}: {error.en}") from None


def procedure_code(value: object, field: str) -> tuple[str | None, str | None]:
    """(national part, suffix), or nothing for an empty value. Raises Refused for a broken code."""
    if value is None or value == "":
        return None, None
    if not isinstance(value, str):
        raise Refused(field, f"{field}: cần mã dạng 1.001612.", f"{field}: expected a code like 1.001612")
    try:
        return parse_procedure_code(value)
    except Invalid as error:
        raise Refused(field, f"{field}: {error.vi}", f"{field}: {error.en}") from None


def moment(value: object, field: str) -> datetime | None:
    """A time, or None for an empty value. Raises Refused."""
    if value is None or value == "":
        return None
    if not isinstance(value, str):
        value = str(value) if isinstance(value, int) else ""
    try:
        return parse_wire(value)
    except Invalid as error:
        raise Refused(field, f"{field}: {error.vi}", f"{field}: {error.en}") from None


def iso_moment(value: object, field: str) -> datetime | None:
    """As moment(), for the doors whose documented form is ISO 8601: what is refused is told that form."""
    try:
        return moment(value, field)
    except Refused:
        raise _not_iso(field) from None


def iso_stamped(value: object, field: str) -> str | None:
    """As stamped(), for the doors whose documented form is ISO 8601."""
    try:
        return stamped(value, field)
    except Refused:
        raise _not_iso(field) from None


def _not_iso(field: str) -> Refused:
    return Refused(
        field,
        f"{field}: thời gian không đúng: cần dạng 2026-08-03T09:30:00+07:00 (ISO 8601), ngày có thật, năm từ 1990"
        " đến 2100.",
        f"{field}: not a time: expected ISO 8601 (2026-08-03T09:30:00+07:00), an existing day, a year from 1990 to"
        " 2100",
    )


def stamp(at: datetime) -> str:
    """A moment as Head keeps it."""
    return at.astimezone(TZ).isoformat()


def stamped(value: object, field: str) -> str | None:
    """A time as Head keeps it, or None for an empty value. Raises Refused."""
    if not value and (value is None or value == ""):
        return None
    if type(value) is str:
        try:  # the two forms that nearly all messages use
            return of_digits(value) if len(value) == 14 else of_iso(value)
        except (KeyError, ValueError):
            pass  # the slow way says what is wrong, and where
    at = moment(value, field)
    return None if at is None else stamp(at)


def of_iso(value: Any) -> str:
    """2026-08-03T09:30:00+07:00 is a stamp as it stands. Raises KeyError, TypeError, ValueError for anything else."""
    _SECONDS[value[17:]]
    _minutes[value[:17]]
    return value  # type: ignore[no-any-return]


def of_digits(value: Any) -> str:
    """20260803093000 as a stamp. Raises KeyError, TypeError, ValueError for anything else."""
    return _minutes[value[:12]] + _SECONDS[value[12:]]


class _Minutes(dict[str, str]):
    """yyyyMMddHHmm or yyyy-MM-ddTHH:mm: → yyyy-MM-ddTHH:mm: Raises ValueError.

    A dict that fills itself: `lru_cache`, which moves each entry that it finds, takes twice as long."""

    def __missing__(self, text: str) -> str:
        if not _MINUTE(text):
            raise ValueError
        try:
            found = parse_wire(text + "00").isoformat()[:17]
        except Invalid:
            raise ValueError from None
        if len(self) >= 100_000:  # the office hours of half a year, in one form
            self.clear()
        self[text] = found
        return found


_minutes = _Minutes()


def status_of(value: object, field: str) -> int | None:
    """A state of portals.md §1.6, or None for an empty value. Raises Refused for any other."""
    if value is None or value == "":
        return None
    try:
        return STATUSES[value]
    except (KeyError, TypeError):
        raise Refused(
            field,
            f"{field}: trạng thái không có trong danh mục; cần một số từ 1 đến 10.",
            f"{field}: unknown status; expected a number from 1 to 10",
        ) from None


def clean(value: object, field: str, *, limit: int) -> str | None:
    """A short text without control characters, or None. Longer ones are cut, as the portals' clients do it."""
    if value is None or value == "":
        return None
    if not isinstance(value, str):
        raise Refused(field, f"{field}: cần một chuỗi ký tự.", f"{field}: expected a text")
    if not value.isprintable():
        # Zero-width signs, byte order marks and soft hyphens come with texts out of Word; nobody sees them.
        value = " ".join("".join(sign for sign in value if unicodedata.category(sign) != "Cf").split())
        if not value.isprintable() or "\x00" in value:
            raise Refused(
                field, f"{field}: có ký tự điều khiển không hợp lệ.", f"{field}: holds control characters"
            )
    return value.strip()[:limit].rstrip() or None


@lru_cache(maxsize=16)
def latest_stamp(now: datetime) -> str:
    """The latest moment at which an event may lie."""
    return stamp(now + AHEAD)


def check_not_ahead(times: Iterable[tuple[str, str | None]], now: datetime) -> None:
    """Raises Refused for an event later than now + 1 day, with its field."""
    latest = latest_stamp(now)
    for field, at in times:
        if at is not None and at > latest:
            raise Refused(
                field,
                f"{field}: thời điểm ở tương lai (muộn hơn hiện tại quá 1 ngày).",
                f"{field}: lies more than a day in the future",
            )
