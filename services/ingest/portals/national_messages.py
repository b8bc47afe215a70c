"""Items of the national protocol (portals.md §1.4, §1.5) → our rows. Pure; the wire names live here and in
national_facts only.

The structs are the allow-list: ChuHoSo, SoGiayToChuHoSo, TrichYeuHoSo, file names and every free text are not named,
so they are never decoded; of links only bits are left (national_facts). A missing key means that the field is unknown;
"" that it is known to be empty.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from datetime import datetime
from functools import partial
from typing import Any, TypeAlias

import msgspec

from services.ingest import json_parts
from services.ingest.normalise import (
    NO_TIME,
    Head,
    Refusal,
    Refused,
    Step,
    check_not_ahead,
    clean,
    dossier_code,
    latest_stamp,
    moment,
    of_digits,
    procedure_code,
    refusal,
    stamp,
    stamped,
    status_of,
)
from services.ingest.portals import national_facts
from shared.errors import Invalid
from shared.vocabulary import Known

Text: TypeAlias = str | int | None


class SupplementItem(msgspec.Struct, gc=False):
    """DanhSachHoSoBoSung[]: the times only; who asked and what for is not taken."""

    NgayBoSung: Text = None
    NgayTiepNhanBoSung: Text = None
    NgayHenTraTruoc: Text = None
    NgayHenTraMoi: Text = None


class DossierItem(national_facts.FactItem, gc=False):
    """DongBoHoSoMC data[], as far as an indicator or a comparison needs it."""

    MaHoSo: Text = None
    MaTTHC: Text = None
    TrangThaiHoSo: Text = None
    KenhThucHien: Text = None
    DonViXuLy: Text = None
    NgayNopHoSo: Text = None
    NgayTiepNhan: Text = None
    NgayHenTra: Text = None
    NgayKetThucXuLy: Text = None
    NgayTra: Text = None
    NgayTuChoi: Text = None
    DanhSachHoSoBoSung: list[SupplementItem] | None = None


class StepItem(msgspec.Struct, gc=False):
    """CapNhatTienDoHoSoMC data[]. NguoiXuLy and ChucDanh are an official's: the letters ask whether they were made
    public."""

    MaHoSo: Text = None
    NguoiXuLy: Text = None
    ChucDanh: Text = None
    ThoiDiemXuLy: Text = None
    TrangThai: Text = None
    NgayBatDau: Text = None


class _CodeOnly(msgspec.Struct, gc=False):
    MaHoSo: Any = None


_CHANNELS: dict[object, int] = {"": 1, "1": 1, "2": 2, "3": 3, 1: 1, 2: 2, 3: 3}
_json = msgspec.json.Encoder()
_items = msgspec.json.Decoder(list[DossierItem])
_raws = msgspec.json.Decoder(list[msgspec.Raw])
_item = msgspec.json.Decoder(DossierItem)
_steps = msgspec.json.Decoder(list[StepItem])
_step = msgspec.json.Decoder(StepItem)
_only_code = msgspec.json.Decoder(_CodeOnly).decode


def heads(data: bytes | msgspec.Raw, *, databases: Collection[str], now: datetime) -> list[Head | Refusal]:
    """The JSON array `data` of a DongBoHoSoMC call. `databases`: codes of the population database (setting
    POPULATION_DB_CODES). Raises msgspec.DecodeError where it is no JSON array at all."""
    return list(iter_heads(data, databases=databases, now=now))


def steps(data: bytes | msgspec.Raw, *, now: datetime) -> list[Step | Refusal]:
    """The JSON array `data` of a CapNhatTienDoHoSoMC call."""
    return list(iter_steps(data, now=now))


def iter_heads(
    data: bytes | msgspec.Raw, *, databases: Collection[str], now: datetime
) -> Iterator[Head | Refusal]:
    """As heads(), item by item."""
    return _read(data, _items, _item, partial(head, databases=databases), now)


def iter_steps(data: bytes | msgspec.Raw, *, now: datetime) -> Iterator[Step | Refusal]:
    """As steps(), item by item."""
    return _read(data, _steps, _step, step, now)


def _read(
    data: bytes | msgspec.Raw,
    whole: msgspec.json.Decoder[Any],
    single: msgspec.json.Decoder[Any],
    convert: Any,
    now: datetime,
) -> Iterator[Any]:
    raws: Sequence[msgspec.Raw | bytes] | None = None
    one_by_one = False
    try:
        items: Iterator[Any] = iter(whole.decode(data))
    except (msgspec.ValidationError, RecursionError):
        # Some item has a wrong type, or is nested too deep: read them one by one, so that only that one is refused.
        one_by_one, raws = True, _apart(data)
        items = iter(raws)
    for position, item in enumerate(items):
        try:
            yield convert(single.decode(item) if one_by_one else item, now)
        except Invalid as error:
            readable = single.decode(item) if one_by_one else item
            # The bytes as they came: the same item is the same refusal, whatever else its call holds.
            raws = _apart(data) if raws is None else raws
            if isinstance(readable, DossierItem):
                national_facts.bare(readable)
            yield refusal(error, position=position, raw=bytes(raws[position]), item=readable)
        except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
            field = str(error).rpartition("$.")[2].rstrip("`") if "$." in str(error) else "data"
            wrong = Refused(
                field, f"{field}: sai kiểu dữ liệu, cần một chuỗi.", f"{field}: wrong type, expected a text"
            )
            refused = refusal(wrong, position=position, raw=bytes(item), item=None)
            yield refused._replace(code=_code(item))


def _apart(data: bytes | msgspec.Raw) -> Sequence[msgspec.Raw | bytes]:
    try:
        return _raws.decode(data)
    except RecursionError:
        return json_parts.items(bytes(data))


def _code(raw: msgspec.Raw | bytes) -> str | None:
    """The code of an item whose other fields are of a wrong type: the refusal must name it."""
    try:
        return dossier_code(_only_code(raw).MaHoSo, "MaHoSo").code
    except (Invalid, msgspec.MsgspecError, RecursionError):
        return None


def head(item: DossierItem, now: datetime, *, databases: Collection[str]) -> Head:
    """Raises Refused with the field at fault."""
    code = dossier_code(item.MaHoSo, "MaHoSo")
    procedure, suffix = procedure_code(item.MaTTHC, "MaTTHC")
    status = status_of(item.TrangThaiHoSo, "TrangThaiHoSo")
    submitted_at, received_at, due_at, finished_at, returned_at, rejected_at = _times(item)
    known = 512  # the channel: a missing one is "in person", so it is always told
    # What the message does not name at all, this copy cannot tell.
    if item.MaTTHC is not None:
        known |= 1
    if item.DonViXuLy is not None:
        known |= 2
    if item.TrangThaiHoSo is not None:
        known |= 4
    if item.NgayNopHoSo is not None:
        known |= 8
    if item.NgayTiepNhan is not None:
        known |= 16
    if item.NgayHenTra is not None:
        known |= 32
    if item.NgayKetThucXuLy is not None:
        known |= 64
    if item.NgayTra is not None:
        known |= 128
    if item.NgayTuChoi is not None:
        known |= 256
    version = NO_TIME
    for at in (submitted_at, received_at, finished_at, returned_at, rejected_at):
        if at is not None and at > version:
            version = at
    supplements = None
    if item.DanhSachHoSoBoSung is not None:
        known |= 1024
        if item.DanhSachHoSoBoSung:
            supplements, latest = _supplements(item.DanhSachHoSoBoSung, now)
            version = max(version, latest)
    if version > latest_stamp(now):
        check_not_ahead(
            (
                ("NgayNopHoSo", submitted_at),
                ("NgayTiepNhan", received_at),
                ("NgayKetThucXuLy", finished_at),
                ("NgayTra", returned_at),
                ("NgayTuChoi", rejected_at),
            ),
            now,
        )
    channel = item.KenhThucHien
    return Head(
        code.code,
        code.known,
        code.source_system,
        known,
        version,
        procedure,
        suffix,
        None,
        clean(item.DonViXuLy, "DonViXuLy", limit=300) if item.DonViXuLy else None,
        status,
        False,
        1 if channel is None else _channel(channel),
        submitted_at,
        received_at,
        due_at,
        finished_at,
        returned_at,
        rejected_at,
        supplements,
        *national_facts.read(item, databases),
    )


def _times(item: DossierItem) -> tuple[str | None, ...]:
    """Submitted, received, due, finished, returned, rejected as stamps. Straight on: this runs for every message."""
    given: Any = item
    try:
        return (
            of_digits(at) if (at := given.NgayNopHoSo) else None,
            of_digits(at) if (at := given.NgayTiepNhan) else None,
            of_digits(at) if (at := given.NgayHenTra) else None,
            of_digits(at) if (at := given.NgayKetThucXuLy) else None,
            of_digits(at) if (at := given.NgayTra) else None,
            of_digits(at) if (at := given.NgayTuChoi) else None,
        )  # fmt: skip
    except (
        KeyError,
        ValueError,
        TypeError,
    ):  # another form, a number, or no time at all: the slow way says which
        return (
            stamped(item.NgayNopHoSo, "NgayNopHoSo"),
            stamped(item.NgayTiepNhan, "NgayTiepNhan"),
            stamped(item.NgayHenTra, "NgayHenTra"),
            stamped(item.NgayKetThucXuLy, "NgayKetThucXuLy"),
            stamped(item.NgayTra, "NgayTra"),
            stamped(item.NgayTuChoi, "NgayTuChoi"),
        )


def _channel(value: str | int) -> int:
    try:
        return _CHANNELS[value]
    except KeyError:
        raise Refused(
            "KenhThucHien",
            "KenhThucHien: cần 1 (trực tiếp), 2 (trực tuyến) hoặc 3 (bưu chính).",
            "KenhThucHien: expected 1, 2 or 3",
        ) from None


def _supplements(items: list[SupplementItem], now: datetime) -> tuple[str | None, str]:
    latest = NO_TIME
    rows: list[tuple[str, dict[str, str | None]]] = []
    for index, item in enumerate(items):
        path = f"DanhSachHoSoBoSung[{index}]"
        requested_at = stamped(item.NgayBoSung, f"{path}.NgayBoSung")
        completed_at = stamped(item.NgayTiepNhanBoSung, f"{path}.NgayTiepNhanBoSung")
        before = stamped(item.NgayHenTraTruoc, f"{path}.NgayHenTraTruoc")
        after = stamped(item.NgayHenTraMoi, f"{path}.NgayHenTraMoi")
        if requested_at is None:
            if completed_at is None and before is None and after is None:
                continue  # an empty form: some clients send one with every dossier
            raise Refused(
                f"{path}.NgayBoSung",
                f"{path}.NgayBoSung: thiếu ngày yêu cầu bổ sung.",
                f"{path}.NgayBoSung: the day of the request is missing",
            )
        events = (f"{path}.NgayBoSung", requested_at), (f"{path}.NgayTiepNhanBoSung", completed_at)
        check_not_ahead(events, now)
        latest = max(latest, requested_at, completed_at or NO_TIME)
        rows.append(
            (
                requested_at,
                {
                    "requested_at": requested_at,
                    "completed_at": completed_at,
                    "due_before": before,
                    "due_after": after,
                },
            )
        )
    rows.sort(key=lambda row: row[0])
    return (_json.encode([row for _, row in rows]).decode() if rows else None), latest


def step(item: StepItem, now: datetime) -> Step:
    """Raises Refused with the field at fault. A step without ThoiDiemXuLy has no place in time and is refused."""
    code = dossier_code(item.MaHoSo, "MaHoSo")
    at = moment(item.ThoiDiemXuLy, "ThoiDiemXuLy")
    if at is None:
        raise Refused(
            "ThoiDiemXuLy", "ThoiDiemXuLy: thiếu thời điểm xử lý.", "ThoiDiemXuLy: the moment is missing"
        )
    check_not_ahead((("ThoiDiemXuLy", stamp(at)),), now)
    known = (Known.OFFICER.value if item.NguoiXuLy is not None else 0) | (
        Known.OFFICER_TITLE.value if item.ChucDanh is not None else 0
    )
    return Step(
        code.code,
        at,
        status_of(item.TrangThai, "TrangThai") or 0,
        clean(item.NguoiXuLy, "NguoiXuLy", limit=200),
        clean(item.ChucDanh, "ChucDanh", limit=200),
        moment(item.NgayBatDau, "NgayBatDau"),
        known,
    )
