"""From a message's values to one row of ours: what every door shares. Pure.

A door's allow-list is its msgspec.Struct: what the struct does not name is never decoded, so a citizen's name has no
way in. Values that name nobody are brought to one form here, and what breaks a rule is refused with its field.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

import msgspec

from shared.calendar import parse_wire
from shared.errors import Invalid
from shared.identifiers import DossierCode, parse_dossier_code, parse_procedure_code
from shared.vocabulary import DossierStatus

NO_TIME = datetime(1970, 1, 1, tzinfo=UTC)
"""The version of a message that tells of no moment at all: older than any that does."""

AHEAD = timedelta(days=1)
"""How far in the future an event may lie (architecture.md §4): clocks differ, but not by more than a day."""

STATUSES: dict[Any, int] = {
    **{str(int(s)): int(s) for s in DossierStatus},
    **{f"0{int(s)}": int(s) for s in DossierStatus if s < 10},
    **{int(s): int(s) for s in DossierStatus},
}


class Head(NamedTuple):
    """The head of one copy as a row, in the order of the columns that accept() writes."""

    code: str
    code_known: bool
    source_system: str
    known: int
    version: datetime
    procedure_code: str | None
    procedure_suffix: str | None
    agency_code: str | None
    unit_name: str | None
    status: int | None
    cancelled: bool
    channel: int | None
    submitted_at: datetime | None
    received_at: datetime | None
    due_at: datetime | None
    finished_at: datetime | None
    returned_at: datetime | None
    rejected_at: datetime | None
    supplements: str | None


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
    if item is not None:
        fields = msgspec.to_builtins(item)
        content = {name: value for name, value in fields.items() if _harmless(value)}
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
    )


def _harmless(value: object) -> bool:
    """Codes, numbers and times; anything with a letter outside a code, a space or eight and more digits that are
    not a time could be somebody's name or number."""
    if value is None or isinstance(value, bool):
        return True
    if isinstance(value, int | float):
        return abs(value) < 1000
    if not isinstance(value, str) or len(value) > 60:
        return False
    if not value or value in STATUSES:
        return True
    try:
        if parse_dossier_code(value).known:
            return True
    except Invalid:
        return False
    for read in (parse_wire, parse_procedure_code):
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
        value = " ".join(value.split())
        if not value.isprintable() or "\x00" in value:
            raise Refused(
                field, f"{field}: có ký tự điều khiển không hợp lệ.", f"{field}: holds control characters"
            )
    return value.strip()[:limit].rstrip() or None


def check_not_ahead(times: Iterable[tuple[str, datetime | None]], now: datetime) -> None:
    """Raises Refused for an event later than now + 1 day, with its field."""
    latest = now + AHEAD
    for field, at in times:
        if at is not None and at > latest:
            raise Refused(
                field,
                f"{field}: thời điểm ở tương lai (muộn hơn hiện tại quá 1 ngày).",
                f"{field}: lies more than a day in the future",
            )
