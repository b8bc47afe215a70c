"""A pushed petition (POST /v1/petitions) → our row. Pure.

English names, ISO 8601 times, one object a petition. The struct is the allow-list: who petitions, and what is written,
is not decoded. An item tells the whole petition: what it leaves out is empty.
"""

from __future__ import annotations

import re
from datetime import datetime
from typing import Any, NamedTuple

import msgspec

from services.ingest.normalise import AHEAD, Refusal, Refused, clean, dossier_code, iso_moment, refusal
from shared.errors import Invalid
from shared.vocabulary import PetitionKind

Value = str | int | None

_CODE = re.compile(r"(?![0-9]{9,}$)[A-Za-z0-9][A-Za-z0-9._/-]{0,59}")
"""No form of these codes has been published. Nine digits and more alone could be an identity or a phone number."""
_DOSSIER_CODE = re.compile(r"(?=.*[A-Za-z])(?=.*[0-9])[A-Za-z0-9._/-]+")
_MOST = 1_000_000
"""Likes that are believed: a phone number is more."""
_KINDS = frozenset(kind.value for kind in PetitionKind)
TIMES = (
    "sent_at",
    "transferred_at",
    "received_at",
    "more_asked_at",
    "handled_at",
    "published_at",
    "refused_at",
)


class PushedPetition(msgspec.Struct, gc=False):
    """`received_at`: the first receipt; `transferred_at`: when it came to the unit that has it now. `updated_at`: when
    this was so, where no event tells (likes and dislikes)."""

    code: Value = None
    kind: Value = None
    dossier_code: Value = None
    repeats_code: Value = None
    unit_code: Value = None
    unit_name: Value = None
    sent_at: Value = None
    transferred_at: Value = None
    received_at: Value = None
    more_asked_at: Value = None
    handled_at: Value = None
    published_at: Value = None
    refused_at: Value = None
    updated_at: Value = None
    likes: Value = None
    dislikes: Value = None


class PetitionRow(NamedTuple):
    """A petition as a row, in the order of the columns that accept_petitions() writes."""

    code: str
    kind: str
    dossier_code: str | None
    repeats_code: str | None
    agency_code: str | None
    unit_name: str | None
    sent_at: datetime
    transferred_at: datetime | None
    received_at: datetime | None
    more_asked_at: datetime | None
    handled_at: datetime | None
    published_at: datetime | None
    refused_at: datetime | None
    likes: int
    dislikes: int
    version: datetime


_decode = msgspec.json.Decoder(PushedPetition).decode
_decode_any = msgspec.json.Decoder(dict[str, Any]).decode


def read(raw: bytes | msgspec.Raw, *, position: int, now: datetime) -> PetitionRow | Refusal:
    """One JSON object. Never raises: what is wrong with it is the Refusal."""
    try:
        return row_of(_decode(raw), position=position, raw=bytes(raw), now=now)
    except msgspec.ValidationError as error:
        path = str(error).rpartition("$.")[2].rstrip("`") if "$." in str(error) else "item"
        what = str(error).partition(" - at")[0].lower()
        wrong = Refused(path, f"{path}: sai kiểu dữ liệu.", f"{path}: {what}")
        return refusal(wrong, position=position, raw=bytes(raw), item=None)._replace(code=_named(raw))
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
        broken = Refused("item", "Không đọc được: không phải JSON hợp lệ.", "not readable as JSON")
        return refusal(broken, position=position, raw=bytes(raw), item=None)


def row_of(item: PushedPetition, *, position: int, raw: bytes, now: datetime) -> PetitionRow | Refusal:
    """Never raises."""
    try:
        return row(item, now)
    except Invalid as error:
        return _refused(error, item, position=position, raw=raw)


def row(item: PushedPetition, now: datetime) -> PetitionRow:
    """Raises Refused with the field at fault."""
    code = _code(item.code, "code")
    if code is None:
        raise Refused("code", "code: thiếu mã phản ánh, kiến nghị.", "code: the petition's code is missing")
    if item.kind not in _KINDS:
        raise Refused("kind", "kind: cần tthc, staff hoặc other.", "kind: expected tthc, staff or other")
    repeats = _code(item.repeats_code, "repeats_code")
    if repeats == code:
        raise Refused(
            "repeats_code",
            "repeats_code: phản ánh, kiến nghị không thể gửi lại chính nó.",
            "repeats_code: a petition cannot repeat itself",
        )
    times = {name: iso_moment(getattr(item, name), name) for name in TIMES}
    updated_at = iso_moment(item.updated_at, "updated_at")
    for name, at in (*times.items(), ("updated_at", updated_at)):
        if at is not None and at > now + AHEAD:
            raise Refused(
                name,
                f"{name}: thời điểm ở tương lai (muộn hơn hiện tại quá 1 ngày).",
                f"{name}: lies more than a day in the future",
            )
    sent_at = times.pop("sent_at")
    if sent_at is None:
        raise Refused("sent_at", "sent_at: thiếu thời điểm gửi.", "sent_at: the moment of sending is missing")
    return PetitionRow(
        code,
        str(item.kind),
        _dossier(item.dossier_code),
        repeats,
        clean(item.unit_code, "unit_code", limit=100),
        clean(item.unit_name, "unit_name", limit=300),
        sent_at,
        **times,
        likes=_number(item.likes, "likes"),
        dislikes=_number(item.dislikes, "dislikes"),
        version=max(at for at in (sent_at, *times.values(), updated_at) if at is not None),
    )


def _code(value: Value, field: str) -> str | None:
    told = str(value).strip() if value is not None else ""
    if told and not _CODE.fullmatch(told):
        raise Refused(
            field,
            f"{field}: cần mã gồm chữ cái không dấu, chữ số và . _ / -, dài không quá 60 ký tự.",
            f"{field}: expected letters, digits and . _ / -, up to 60 of them, not digits alone beyond 8",
        )
    return told or None


def _dossier(value: Value) -> str | None:
    if value is None or value == "":
        return None
    code = dossier_code(value, "dossier_code")
    if not _DOSSIER_CODE.fullmatch(code.code):
        raise Refused(
            "dossier_code",
            "dossier_code: không phải mã hồ sơ (chữ cái không dấu và chữ số, không có dấu cách).",
            "dossier_code: not a dossier code (letters and digits, no spaces)",
        )
    return code.code


def _number(value: Value, field: str) -> int:
    told = str(value).strip() if value is not None else ""
    if not told:
        return 0
    if not (told.isascii() and told.isdecimal() and len(told) <= 7 and int(told) <= _MOST):
        raise Refused(
            field,
            f"{field}: cần số nguyên từ 0 đến 1.000.000.",
            f"{field}: expected a whole number from 0 to 1,000,000",
        )
    return int(told)


def _refused(error: Invalid, item: PushedPetition, *, position: int, raw: bytes) -> Refusal:
    """As every door's; a petition's own codes and kind name nobody and are kept too, so that it can be read again."""
    found = refusal(error, position=position, raw=raw, item=item)
    own = {
        name: value
        for name in ("code", "repeats_code", "kind")
        if isinstance(value := getattr(item, name), str)
        and (value in _KINDS if name == "kind" else _CODE.fullmatch(value))
    }
    return found._replace(
        code=own.get("code"),
        content=(found.content or {}) | own,
        dropped=tuple(path for path in found.dropped if path not in own),
    )


def _named(raw: bytes | msgspec.Raw) -> str | None:
    """The code of an item that cannot be read."""
    try:
        code = _decode_any(raw).get("code")
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError):
        return None
    return code if isinstance(code, str) and _CODE.fullmatch(code) else None
