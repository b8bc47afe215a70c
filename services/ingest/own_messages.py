"""Our own form of a pushed dossier (POST /v1/dossiers) → our rows. Pure.

English names, ISO 8601 times, one object a dossier. A field that is left out is unknown; null is known to be empty.
The struct is the allow-list: any other field of an item is not decoded.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any, NamedTuple

import msgspec
from msgspec import UNSET, UnsetType

from services.ingest.normalise import (
    NO_TIME,
    Head,
    Refusal,
    Refused,
    Step,
    check_not_ahead,
    clean,
    dossier_code,
    moment,
    procedure_code,
    refusal,
    status_of,
)
from shared.errors import Invalid
from shared.vocabulary import Known, Portal

Value = str | int | None | UnsetType


class PushedSupplement(msgspec.Struct, gc=False):
    requested_at: str | None = None
    completed_at: str | None = None
    due_before: str | None = None
    due_after: str | None = None


class PushedStep(msgspec.Struct, gc=False):
    occurred_at: str | None = None
    status: Value = None
    officer: str | UnsetType | None = UNSET
    officer_title: str | UnsetType | None = UNSET
    started_at: str | None = None


class PushedDossier(msgspec.Struct, gc=False):
    code: Value = None
    portal: str = Portal.PROVINCIAL.value
    procedure_code: Value = UNSET
    unit_code: Value = UNSET
    unit_name: Value = UNSET
    status: Value = UNSET
    cancelled: bool = False
    channel: Value = UNSET
    submitted_at: Value = UNSET
    received_at: Value = UNSET
    due_at: Value = UNSET
    finished_at: Value = UNSET
    returned_at: Value = UNSET
    rejected_at: Value = UNSET
    updated_at: Value = None
    supplements: list[PushedSupplement] | UnsetType | None = UNSET
    steps: list[PushedStep] = []


class _CodeOnly(msgspec.Struct, gc=False):
    code: Any = None


class Pushed(NamedTuple):
    """What one item says: which copy it is, its head, its steps."""

    portal: Portal
    head: Head
    steps: list[Step]


_decode = msgspec.json.Decoder(PushedDossier).decode
_decode_code = msgspec.json.Decoder(_CodeOnly).decode
_encode = msgspec.json.Encoder().encode
_KNOWN = (
    ("procedure_code", Known.PROCEDURE),
    ("status", Known.STATUS),
    ("submitted_at", Known.SUBMITTED_AT),
    ("received_at", Known.RECEIVED_AT),
    ("due_at", Known.DUE_AT),
    ("finished_at", Known.FINISHED_AT),
    ("returned_at", Known.RETURNED_AT),
    ("rejected_at", Known.REJECTED_AT),
    ("channel", Known.CHANNEL),
    ("supplements", Known.SUPPLEMENTS),
)
_CHANNELS: dict[object, int] = {
    1: 1,
    2: 2,
    3: 3,
    "1": 1,
    "2": 2,
    "3": 3,
    "in_person": 1,
    "online": 2,
    "post": 3,
}


def read(raw: bytes | msgspec.Raw, *, position: int, now: datetime) -> Pushed | Refusal:
    """One JSON object. Never raises: what is wrong with it is the Refusal."""
    item = None
    try:
        item = _decode(raw)
        return _pushed(item, now)
    except Invalid as error:
        return refusal(error, position=position, raw=bytes(raw), item=item)
    except msgspec.ValidationError as error:
        path = str(error).rpartition("$.")[2].rstrip("`") if "$." in str(error) else "item"
        what = str(error).partition(" - at")[0].lower()
        wrong = Refused(path, f"{path}: sai kiểu dữ liệu.", f"{path}: {what}")
        return refusal(wrong, position=position, raw=bytes(raw), item=None)._replace(code=_code(raw))
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
        broken = Refused("item", "Không đọc được: không phải JSON hợp lệ.", "not readable as JSON")
        return refusal(broken, position=position, raw=bytes(raw), item=None)


def _code(raw: bytes | msgspec.Raw) -> str | None:
    try:
        return dossier_code(_decode_code(raw).code, "code").code
    except (Invalid, msgspec.DecodeError):
        return None


def _value(value: Value) -> str | int | None:
    return None if value is UNSET else value


def _pushed(item: PushedDossier, now: datetime) -> Pushed:
    code = dossier_code(item.code, "code")
    try:
        portal = Portal(item.portal)
    except ValueError:
        raise Refused(
            "portal",
            "portal: cần provincial, sent hoặc national.",
            "portal: expected provincial, sent or national",
        ) from None
    procedure, suffix = procedure_code(_value(item.procedure_code), "procedure_code")
    times = {
        name: moment(_value(getattr(item, name)), name)
        for name in ("submitted_at", "received_at", "finished_at", "returned_at", "rejected_at")
    }
    updated_at = moment(_value(item.updated_at), "updated_at")
    events = [*times.items(), ("updated_at", updated_at)]
    supplements, requests = _supplements(item)
    events += requests
    check_not_ahead(events, now)
    channel = _value(item.channel)
    if channel is not None and channel not in _CHANNELS:
        raise Refused(
            "channel",
            "channel: cần in_person, online hoặc post.",
            "channel: expected in_person, online or post",
        )
    known = sum(bit.value for name, bit in _KNOWN if getattr(item, name) is not UNSET)
    if item.unit_code is not UNSET or item.unit_name is not UNSET:
        known |= Known.UNIT.value
    head = Head(
        code.code,
        code.known,
        code.source_system,
        known,
        max((at for _, at in events if at is not None), default=NO_TIME),
        procedure,
        suffix,
        clean(_value(item.unit_code), "unit_code", limit=100),
        clean(_value(item.unit_name), "unit_name", limit=300),
        status_of(_value(item.status), "status"),
        item.cancelled,
        None if channel is None else _CHANNELS[channel],
        times["submitted_at"],
        times["received_at"],
        moment(_value(item.due_at), "due_at"),
        times["finished_at"],
        times["returned_at"],
        times["rejected_at"],
        supplements,
    )
    return Pushed(portal, head, [_step(code.code, n, step, now) for n, step in enumerate(item.steps)])


def _supplements(item: PushedDossier) -> tuple[str | None, list[tuple[str, datetime | None]]]:
    if not isinstance(item.supplements, list):
        return None, []
    rows: list[dict[str, str | None]] = []
    events: list[tuple[str, datetime | None]] = []
    for index, given in enumerate(item.supplements):
        path = f"supplements[{index}]"
        read = {
            name: moment(getattr(given, name), f"{path}.{name}")
            for name in ("requested_at", "completed_at", "due_before", "due_after")
        }
        if read["requested_at"] is None:
            raise Refused(
                f"{path}.requested_at",
                f"{path}.requested_at: thiếu ngày yêu cầu bổ sung.",
                f"{path}.requested_at: the moment of the request is missing",
            )
        events += [(f"{path}.{name}", read[name]) for name in ("requested_at", "completed_at")]
        rows.append({name: at.isoformat() if at else None for name, at in read.items()})
    rows.sort(key=lambda row: row["requested_at"] or "")
    return (_encode(rows).decode() if rows else None), events


def _step(code: str, index: int, step: PushedStep, now: datetime) -> Step:
    path = f"steps[{index}]"
    at = moment(step.occurred_at, f"{path}.occurred_at")
    if at is None:
        raise Refused(
            f"{path}.occurred_at",
            f"{path}.occurred_at: thiếu thời điểm xử lý.",
            f"{path}.occurred_at: the moment is missing",
        )
    check_not_ahead(((f"{path}.occurred_at", at),), now)
    return Step(
        code,
        at,
        status_of(_value(step.status), f"{path}.status") or 0,
        clean(_value(step.officer), f"{path}.officer", limit=200),
        clean(_value(step.officer_title), f"{path}.officer_title", limit=200),
        moment(step.started_at, f"{path}.started_at"),
        (0 if step.officer is UNSET else Known.OFFICER.value)
        | (0 if step.officer_title is UNSET else Known.OFFICER_TITLE.value),
    )
