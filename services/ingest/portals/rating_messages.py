"""Monthly ratings of the national protocol (DongBoDanhGia, portals.md §1.3) → our rows. Pure; the wire names live here.

Whether the fields stand in the call itself or in `data` is not documented: both are read.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import datetime
from decimal import Decimal
from typing import NamedTuple

import msgspec

from services.ingest.normalise import Refusal, Refused, clean, procedure_code, refusal
from shared.calendar import FIRST_YEAR, local_day
from shared.errors import Invalid

Text = str | int | float | None


class Shares(msgspec.Struct, gc=False):
    RatHaiLong: Text = None
    HaiLong: Text = None
    ChuaHaiLong: Text = None


class RatingItem(msgspec.Struct, gc=False):
    NgayTongHop: Text = None
    TongSoNguoiDanhGia: Text = None
    PhanTramDanhGia: Shares | None = None
    MaThuTuc: Text = None
    Madonvi: Text = None
    TenDonVi: Text = None


class RatingRow(NamedTuple):
    """A rating as a row. `agency_code`: the unit's code as it came, or its name where none came; `unit_name`: as it
    came. `procedure_code` "": of no single procedure."""

    month: str
    agency_code: str
    procedure_code: str
    unit_name: str | None
    raters: int
    very_satisfied: Decimal | None
    satisfied: Decimal | None
    not_satisfied: Decimal | None

    @property
    def code(self) -> str:
        """What a receipt and a refusal call it: month and procedure name nobody."""
        return f"{self.month} {self.procedure_code}".strip()


_item = msgspec.json.Decoder(RatingItem).decode
_raws = msgspec.json.Decoder(list[msgspec.Raw]).decode
_MONTH = re.compile(r"(0?[1-9]|1[0-2])[-/.](20[0-9]{2})")
_SHARE = re.compile(r"([0-9]{1,3})(?:[.,]([0-9]{1,10}))?\s*%?")
_MOST_RATERS = 1_000_000
"""Of one month that are believed: a phone number is more."""


def ratings(body: bytes, data: bytes | msgspec.Raw, *, now: datetime) -> Iterator[RatingRow | Refusal]:
    """The call's `data` (an array, or one object), or where it holds nothing the call itself. Raises
    msgspec.DecodeError where `data` is neither."""
    given = bytes(data).strip()
    items: list[bytes] = []
    if given[:1] == b"{":
        items = [given]
    elif given != b"null":
        items = [bytes(raw) for raw in _raws(given)]
    for position, raw in enumerate(items or [body]):
        yield read(raw, position=position, now=now)


def read(raw: bytes, *, position: int, now: datetime) -> RatingRow | Refusal:
    """Never raises: what is wrong with it is the Refusal."""
    item = None
    try:
        item = _item(raw)
        return _row(item, now)
    except Invalid as error:
        # Of the fields that are read alone: the call's session has no part in the digest.
        return refusal(error, position=position, raw=msgspec.json.encode(item), item=item)
    except msgspec.ValidationError as error:
        path = str(error).rpartition("$.")[2].rstrip("`") if "$." in str(error) else "item"
        wrong = Refused(
            path, f"{path}: sai kiểu dữ liệu.", f"{path}: {str(error).partition(' - at')[0].lower()}"
        )
        return refusal(wrong, position=position, raw=raw, item=None)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
        broken = Refused("item", "Không đọc được: không phải JSON hợp lệ.", "not readable as JSON")
        return refusal(broken, position=position, raw=raw, item=None)


def _row(item: RatingItem, now: datetime) -> RatingRow:
    unit_name = clean(_text(item.TenDonVi), "TenDonVi", limit=300)
    agency = clean(_text(item.Madonvi), "Madonvi", limit=100) or unit_name
    if agency is None:
        raise Refused("Madonvi", "Madonvi: thiếu mã đơn vị.", "Madonvi: the unit's code is missing")
    told = item.PhanTramDanhGia or Shares()
    shares = (
        _share(told.RatHaiLong, "RatHaiLong"),
        _share(told.HaiLong, "HaiLong"),
        _share(told.ChuaHaiLong, "ChuaHaiLong"),
    )
    if sum(share or 0 for share in shares) > 101:  # each may have been rounded upwards
        raise Refused(
            "PhanTramDanhGia",
            "PhanTramDanhGia: ba tỷ lệ cộng lại vượt 100 %.",
            "PhanTramDanhGia: the shares exceed 100 % together",
        )
    return RatingRow(
        _month(item.NgayTongHop, now),
        agency,
        procedure_code(_text(item.MaThuTuc), "MaThuTuc")[0] or "",
        unit_name,
        _raters(item.TongSoNguoiDanhGia),
        *shares,
    )


def _text(value: Text) -> str | None:
    return None if value is None else str(value)


def _month(value: Text, now: datetime) -> str:
    match = _MONTH.fullmatch(str(value).strip())
    if match is None:
        raise Refused(
            "NgayTongHop", "NgayTongHop: cần tháng dạng 8-2026.", "NgayTongHop: expected a month like 8-2026"
        )
    month = f"{match[2]}-{int(match[1]):02}"
    if not f"{FIRST_YEAR}" <= month <= f"{local_day(now):%Y-%m}":
        raise Refused("NgayTongHop", "NgayTongHop: tháng chưa đến.", "NgayTongHop: a month still to come")
    return month


def _raters(value: Text) -> int:
    told = str(value).strip()
    if not (told.isascii() and told.isdecimal() and len(told) <= 7 and int(told) <= _MOST_RATERS):
        raise Refused(
            "TongSoNguoiDanhGia",
            "TongSoNguoiDanhGia: cần số nguyên từ 0 đến 1.000.000.",
            "TongSoNguoiDanhGia: expected a whole number from 0 to 1,000,000",
        )
    return int(told)


def _share(value: Text, name: str) -> Decimal | None:
    told = "" if value is None else str(value).strip()
    if not told:
        return None
    match = _SHARE.fullmatch(told)
    share = Decimal(f"{match[1]}.{match[2] or 0}") if match else None
    if share is None or share > 100:
        raise Refused(
            f"PhanTramDanhGia.{name}",
            f"PhanTramDanhGia.{name}: cần tỷ lệ từ 0 đến 100.",
            f"PhanTramDanhGia.{name}: expected a percentage from 0 to 100",
        )
    return share.quantize(Decimal("0.01"))
