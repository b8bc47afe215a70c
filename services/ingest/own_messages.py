"""Our own form of a pushed dossier (POST /v1/dossiers) → our rows. Pure.

English names, ISO 8601 times, one object a dossier. A field that is left out is unknown; null is known to be empty.
The struct is the allow-list: any other field of an item is not decoded.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
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
    iso_moment,
    iso_stamped,
    latest_stamp,
    of_iso,
    procedure_code,
    refusal,
    stamp,
    status_of,
)
from shared.errors import Invalid
from shared.vocabulary import Fact, Known, Portal

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


class PushedFacts(msgspec.Struct, gc=False):
    """One field a bit of Fact, in their order; left out or null: unknown."""

    result_link: bool | None = None
    result_coded: bool | None = None
    component_file: bool | None = None
    digitised: bool | None = None
    reused: bool | None = None
    from_store: bool | None = None
    vneid: bool | None = None
    population_db: bool | None = None
    paid_online: bool | None = None
    paid_otherwise: bool | None = None
    fee: bool | None = None
    fee_free: bool | None = None
    result_is_submitted: bool | None = None


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
    facts: PushedFacts | None = None
    steps: list[PushedStep] = []


class _CodeOnly(msgspec.Struct, gc=False):
    code: Any = None


class Pushed(NamedTuple):
    """What one item says: which copy it is, its head, its steps."""

    portal: Portal
    head: Head
    steps: list[Step]


_decoder = msgspec.json.Decoder(PushedDossier)
_decode = _decoder.decode
_decode_code = msgspec.json.Decoder(_CodeOnly).decode
_encode = msgspec.json.Encoder().encode
_CHANNELS: dict[Any, int] = {
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


_PORTALS = {portal.value: portal for portal in Portal}
_NO_STEPS: list[Step] = []
NO_FACTS = (0, 0)
_FACTS = tuple((fact.name.lower(), fact.value) for fact in Fact if fact.name)
_OF_RESULT = Fact.RESULT_CODED.value | Fact.RESULT_IS_SUBMITTED.value
_OF_FEES = Fact.FEE.value | Fact.FEE_FREE.value


def read_lines(lines: Sequence[bytes], *, position: int, now: datetime) -> Iterator[Pushed | Refusal]:
    """One JSON object a line, the first at `position`. Decoded at once where all can be read, else one by one."""
    try:
        items = _decoder.decode_lines(b"\n".join(lines))
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError):
        items = []
    if len(items) != len(lines):
        yield from (read(line, position=position + n, now=now) for n, line in enumerate(lines))
        return
    for n, item in enumerate(items):
        try:
            yield _pushed(item, now)
        except Invalid as error:
            yield refusal(error, position=position + n, raw=lines[n], item=item)


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
    # Straight on, a line a field: this runs for every pushed dossier. UNSET is false.
    code = dossier_code(item.code, "code")
    portal = _PORTALS.get(item.portal)
    if portal is None:
        raise Refused(
            "portal",
            "portal: cần provincial, sent hoặc national.",
            "portal: expected provincial, sent or national",
        )
    procedure, suffix = (
        procedure_code(item.procedure_code, "procedure_code") if item.procedure_code else (None, None)
    )
    try:
        submitted_at = of_iso(item.submitted_at) if item.submitted_at else None
        received_at = of_iso(item.received_at) if item.received_at else None
        due_at = of_iso(item.due_at) if item.due_at else None
        finished_at = of_iso(item.finished_at) if item.finished_at else None
        returned_at = of_iso(item.returned_at) if item.returned_at else None
        rejected_at = of_iso(item.rejected_at) if item.rejected_at else None
        updated_at = of_iso(item.updated_at) if item.updated_at else None
    except (
        KeyError,
        ValueError,
        TypeError,
    ):  # another form of a time, or none at all: the slow way says which
        submitted_at = iso_stamped(_value(item.submitted_at), "submitted_at")
        received_at = iso_stamped(_value(item.received_at), "received_at")
        due_at = iso_stamped(_value(item.due_at), "due_at")
        finished_at = iso_stamped(_value(item.finished_at), "finished_at")
        returned_at = iso_stamped(_value(item.returned_at), "returned_at")
        rejected_at = iso_stamped(_value(item.rejected_at), "rejected_at")
        updated_at = iso_stamped(_value(item.updated_at), "updated_at")
    supplements, requested = _supplements(item.supplements, now) if item.supplements else (None, NO_TIME)
    version = requested
    for at in (submitted_at, received_at, finished_at, returned_at, rejected_at, updated_at):
        if at is not None and at > version:
            version = at
    if version > latest_stamp(now):
        check_not_ahead(
            (
                ("submitted_at", submitted_at),
                ("received_at", received_at),
                ("finished_at", finished_at),
                ("returned_at", returned_at),
                ("rejected_at", rejected_at),
                ("updated_at", updated_at),
            ),
            now,
        )
    head = Head(
        code.code,
        code.known,
        code.source_system,
        _known(item),
        version,
        procedure,
        suffix,
        clean(item.unit_code, "unit_code", limit=100) if item.unit_code else None,
        clean(item.unit_name, "unit_name", limit=300) if item.unit_name else None,
        status_of(_value(item.status), "status"),
        item.cancelled,
        _channel(item.channel) if item.channel else None,
        submitted_at,
        received_at,
        due_at,
        finished_at,
        returned_at,
        rejected_at,
        supplements,
        *(bits_of(item.facts) if item.facts else NO_FACTS),
    )
    if not item.steps:
        return Pushed(portal, head, _NO_STEPS)
    return Pushed(portal, head, [_step(code.code, n, step, now) for n, step in enumerate(item.steps)])


def _known(item: PushedDossier) -> int:
    """Which fields the message names at all, as bits of Known."""
    return (
        (item.procedure_code is not UNSET)
        | (item.unit_code is not UNSET or item.unit_name is not UNSET) << 1
        | (item.status is not UNSET) << 2
        | (item.submitted_at is not UNSET) << 3
        | (item.received_at is not UNSET) << 4
        | (item.due_at is not UNSET) << 5
        | (item.finished_at is not UNSET) << 6
        | (item.returned_at is not UNSET) << 7
        | (item.rejected_at is not UNSET) << 8
        | (item.channel is not UNSET) << 9
        | (item.supplements is not UNSET) << 10
    )


def bits_of(given: PushedFacts) -> tuple[int, int]:
    """(facts, facts_known). Raises Refused for two that cannot both be true."""
    facts = known = 0
    for name, bit in _FACTS:
        told = getattr(given, name)
        if told is not None:
            known |= bit
            if told:
                facts |= bit
    if facts & _OF_FEES == _OF_FEES:
        raise Refused(
            "facts.fee_free",
            "facts.fee_free: không thể vừa có khoản phải nộp (fee) vừa miễn mọi khoản.",
            "facts.fee_free: cannot be true together with fee",
        )
    if facts & _OF_RESULT and known & ~facts & Fact.RESULT_LINK.value:
        raise Refused(
            "facts.result_link",
            "facts.result_link: kết quả có mã hoặc trùng tệp đã nộp thì phải có tệp kết quả.",
            "facts.result_link: cannot be false for a result that is coded or was submitted",
        )
    return facts, known


def _channel(value: Value) -> int:
    try:
        return _CHANNELS[value]
    except KeyError:
        raise Refused(
            "channel",
            "channel: cần in_person, online hoặc post.",
            "channel: expected in_person, online or post",
        ) from None


def _supplements(items: list[PushedSupplement], now: datetime) -> tuple[str | None, str]:
    """(as dossier.supplements keeps them, the newest moment they tell of)."""
    rows: list[dict[str, str | None]] = []
    newest = NO_TIME
    for index, given in enumerate(items):
        path = f"supplements[{index}]"
        read = {
            name: iso_stamped(getattr(given, name), f"{path}.{name}")
            for name in ("requested_at", "completed_at", "due_before", "due_after")
        }
        requested, completed = read["requested_at"], read["completed_at"]
        if requested is None:
            raise Refused(
                f"{path}.requested_at",
                f"{path}.requested_at: thiếu ngày yêu cầu bổ sung.",
                f"{path}.requested_at: the moment of the request is missing",
            )
        check_not_ahead(((f"{path}.requested_at", requested), (f"{path}.completed_at", completed)), now)
        newest = max(newest, requested, completed or NO_TIME)
        rows.append(read)
    rows.sort(key=lambda row: row["requested_at"] or "")
    return _encode(rows).decode(), newest


def _step(code: str, index: int, step: PushedStep, now: datetime) -> Step:
    path = f"steps[{index}]"
    at = iso_moment(step.occurred_at, f"{path}.occurred_at")
    if at is None:
        raise Refused(
            f"{path}.occurred_at",
            f"{path}.occurred_at: thiếu thời điểm xử lý.",
            f"{path}.occurred_at: the moment is missing",
        )
    check_not_ahead(((f"{path}.occurred_at", stamp(at)),), now)
    return Step(
        code,
        at,
        status_of(_value(step.status), f"{path}.status") or 0,
        clean(_value(step.officer), f"{path}.officer", limit=200),
        clean(_value(step.officer_title), f"{path}.officer_title", limit=200),
        iso_moment(step.started_at, f"{path}.started_at"),
        (0 if step.officer is UNSET else Known.OFFICER.value)
        | (0 if step.officer_title is UNSET else Known.OFFICER_TITLE.value),
    )
