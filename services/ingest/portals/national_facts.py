"""What a DongBoHoSoMC item says of papers, results, payment and identity (portals.md §1.4) → bits of Fact. Pure.

Links, prices and codes are looked at here and go no further: two links are compared, and only the bits leave. A false
bit is known only where the message proves it: a list that is not there, or an entry without the key, tells nothing.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, TypeAlias

import msgspec

from services.ingest.normalise import Refused
from shared.vocabulary import Fact

Flag: TypeAlias = str | int | bool | None
"""The protocol says "0" or "1"; clients also send numbers, true and false, and "" for none."""

RESULT_LINK, RESULT_CODED = Fact.RESULT_LINK.value, Fact.RESULT_CODED.value
COMPONENT_FILE, DIGITISED, REUSED = Fact.COMPONENT_FILE.value, Fact.DIGITISED.value, Fact.REUSED.value
FROM_STORE, VNEID, POPULATION_DB = Fact.FROM_STORE.value, Fact.VNEID.value, Fact.POPULATION_DB.value
PAID_ONLINE, PAID_OTHERWISE = Fact.PAID_ONLINE.value, Fact.PAID_OTHERWISE.value
FEE, FEE_FREE, RESULT_IS_SUBMITTED = Fact.FEE.value, Fact.FEE_FREE.value, Fact.RESULT_IS_SUBMITTED.value
"""As numbers: an IntFlag's `|` is a call of its own, and these run for every message."""

_OF_COMPONENTS = COMPONENT_FILE | DIGITISED | REUSED | FROM_STORE
_OF_PAYMENT = PAID_ONLINE | PAID_OTHERWISE
_OF_FEES = FEE | FEE_FREE

_FALSE = dict.fromkeys(("", "0", "false", "False", "FALSE", 0), False)
_TRUE = dict.fromkeys(("1", "true", "True", "TRUE", 1), True)
_FLAGS: dict[object, bool] = _FALSE | _TRUE
_REUSES: dict[object, bool] = _FLAGS | dict.fromkeys(("2", 2), True)
_PAYMENTS: dict[object, int] = (
    dict.fromkeys(_FALSE, 0) | dict.fromkeys(("1", "2", 1, 2), PAID_ONLINE) | dict.fromkeys(("3", 3), PAID_OTHERWISE)
)  # fmt: skip


class ComponentItem(msgspec.Struct, gc=False):
    """TaiLieuNop[]. The link only to see whether there is one, and whether a result has the same."""

    IsDeleted: Flag = None
    DuongDanTaiTepTin: str | None = None
    DuocSoHoa: Flag = None
    DuocTaiSuDung: Flag = None
    DuocLayTuKhoDMQG: Flag = None


class FeeItem(msgspec.Struct, gc=False):
    """DanhSachLePhi[]."""

    Gia: str | int | float | None = None


class ResultItem(msgspec.Struct, gc=False):
    """DanhSachGiayToKetQua[]."""

    DuongDanTepTinKetQua: str | None = None
    MaGiayToKetQua: str | int | None = None


class DatabaseItem(msgspec.Struct, gc=False):
    """DSKetNoiCSDL[]."""

    MaCSDL: str | int | None = None


class FactItem(msgspec.Struct, gc=False):
    """The fields of a DongBoHoSoMC item that facts come from. A list may come as "", as every empty value does."""

    HoSoCoThanhPhanSoHoa: Flag = None
    TaiKhoanDuocXacThucVoiVNeID: Flag = None
    DuocThanhToanTrucTuyen: Flag = None
    DSKetNoiCSDL: list[DatabaseItem] | str | None = None
    TaiLieuNop: list[ComponentItem] | str | None = None
    DanhSachLePhi: list[FeeItem] | str | None = None
    DanhSachGiayToKetQua: list[ResultItem] | str | None = None


def read(item: FactItem, databases: Collection[str]) -> tuple[int, int]:
    """(facts, facts_known). `databases`: the codes (MaCSDL) of the population database; none: whether it was used can
    be told only of a dossier that used no database at all. Raises Refused with the field at fault."""
    facts = known = 0
    told = item.HoSoCoThanhPhanSoHoa
    if told is not None:
        known = DIGITISED
        if _flag(told, "HoSoCoThanhPhanSoHoa", -1, ""):
            facts = DIGITISED
    told = item.TaiKhoanDuocXacThucVoiVNeID
    if told is not None:
        known |= VNEID
        if _flag(told, "TaiKhoanDuocXacThucVoiVNeID", -1, ""):
            facts |= VNEID
    told = item.DuocThanhToanTrucTuyen
    if told is not None:
        known |= _OF_PAYMENT
        facts |= _payment(told)
    if (used := item.DSKetNoiCSDL) is not None:
        rows = _list(used, "DSKetNoiCSDL")
        if not rows or databases:
            known |= POPULATION_DB
        for row in rows:
            if str(row.MaCSDL).strip() in databases:
                facts |= POPULATION_DB
                break
    if (fees := item.DanhSachLePhi) is not None:
        if fees:
            bits, told_bits = _fees(_list(fees, "DanhSachLePhi"))
            facts |= bits
            known |= told_bits
        else:
            known |= _OF_FEES
    submitted: set[str] = set()
    all_submitted = False
    if (components := item.TaiLieuNop) is not None:
        bits, untold = _components(_list(components, "TaiLieuNop"), submitted)
        facts |= bits
        known |= bits | _OF_COMPONENTS & ~untold
        all_submitted = not untold & COMPONENT_FILE
    if (results := item.DanhSachGiayToKetQua) is not None:
        if results:
            bits, told_bits = _results(_list(results, "DanhSachGiayToKetQua"), submitted, all_submitted)
            facts |= bits
            known |= told_bits
        else:
            known |= RESULT_LINK | RESULT_CODED | RESULT_IS_SUBMITTED
    return facts, known


def _components(rows: list[ComponentItem], links: set[str]) -> tuple[int, int]:
    """(what some component has, what some component does not tell). Their links are put into `links`."""
    facts = untold = 0
    for n, row in enumerate(rows):
        if (told := row.IsDeleted) is not None and _flag(told, "TaiLieuNop", n, "IsDeleted"):
            continue
        link = row.DuongDanTaiTepTin
        if link and not link.isspace():
            facts |= COMPONENT_FILE
            links.add(link)
        elif link is None:
            untold |= COMPONENT_FILE
        if (told := row.DuocSoHoa) is None:
            untold |= DIGITISED
        elif _flag(told, "TaiLieuNop", n, "DuocSoHoa"):
            facts |= DIGITISED
        if (told := row.DuocTaiSuDung) is None:
            untold |= REUSED
        elif _flag(told, "TaiLieuNop", n, "DuocTaiSuDung", _REUSES):
            facts |= REUSED
        if (told := row.DuocLayTuKhoDMQG) is None:
            untold |= FROM_STORE
        elif _flag(told, "TaiLieuNop", n, "DuocLayTuKhoDMQG"):
            facts |= FROM_STORE
    return facts, untold


def _results(rows: list[ResultItem], submitted: set[str], all_submitted: bool) -> tuple[int, int]:
    facts = untold = 0
    for row in rows:
        link = row.DuongDanTepTinKetQua
        if not link or link.isspace():
            if link is None:
                untold = RESULT_LINK | RESULT_CODED | RESULT_IS_SUBMITTED
            continue
        facts |= RESULT_LINK
        if row.MaGiayToKetQua:
            facts |= RESULT_CODED
        elif row.MaGiayToKetQua is None:
            untold |= RESULT_CODED
        if link in submitted:
            facts |= RESULT_IS_SUBMITTED
    if facts and not all_submitted:
        untold |= RESULT_IS_SUBMITTED
    return facts, facts | (RESULT_LINK | RESULT_CODED | RESULT_IS_SUBMITTED) & ~untold


def _fees(rows: list[FeeItem]) -> tuple[int, int]:
    untold = False
    for n, row in enumerate(rows):
        price = row.Gia
        if price is None or price == "":
            untold = True
        elif price != "0" and not is_free(price, n):
            return FEE, _OF_FEES
    return (0, 0) if untold else (FEE_FREE if rows else 0, _OF_FEES)


def is_free(price: str | int | float, n: int) -> bool:
    """Whether a price is 0: 0, "0", "0.00", "0 đồng". Raises Refused for what is no price."""
    if isinstance(price, str):
        sign = (
            price.strip()
            .casefold()
            .removesuffix("vnđ")
            .removesuffix("vnd")
            .removesuffix("đồng")
            .removesuffix("đ")
        )
        digits = sign.rstrip().replace(".", "").replace(",", "").replace(" ", "")
        if digits.isascii() and digits.isdecimal():
            return not digits.strip("0")
    elif price >= 0:  # not a NaN either
        return price == 0
    field = f"DanhSachLePhi[{n}].Gia"
    raise Refused(field, f"{field}: cần một số tiền.", f"{field}: expected an amount of money")


def _payment(value: str | int) -> int:
    try:
        return _PAYMENTS[value]
    except KeyError:
        raise Refused(
            "DuocThanhToanTrucTuyen",
            "DuocThanhToanTrucTuyen: cần 0, 1, 2 hoặc 3.",
            "DuocThanhToanTrucTuyen: expected 0, 1, 2 or 3",
        ) from None


def _flag(value: str | int, name: str, n: int, inner: str, flags: dict[object, bool] = _FLAGS) -> bool:
    """The field's name is put together only where it is needed: name, or name[n].inner."""
    try:
        return flags[value]
    except KeyError:
        field = f"{name}[{n}].{inner}" if inner else name
        choice = ("0, 1 hoặc 2", "0, 1 or 2") if flags is _REUSES else ("0 hoặc 1", "0 or 1")
        raise Refused(field, f"{field}: cần {choice[0]}.", f"{field}: expected {choice[1]}") from None


def _list(value: Any, field: str) -> list[Any]:
    if type(value) is list:
        return value
    if value == "":
        return []
    raise Refused(field, f"{field}: cần một danh sách.", f"{field}: expected a list")


def bare(item: FactItem) -> None:
    """Leave of a refused item only what its facts can be read from again: links become the numbers 1, 2, … (equal ones
    the same), a code of a result 1, a price 0 or 1."""
    numbers: dict[str, str] = {}
    if isinstance(item.TaiLieuNop, list):
        for component in item.TaiLieuNop:
            if link := component.DuongDanTaiTepTin:
                component.DuongDanTaiTepTin = numbers.setdefault(link, str(len(numbers) + 1))
    if isinstance(item.DanhSachGiayToKetQua, list):
        for result in item.DanhSachGiayToKetQua:
            if link := result.DuongDanTepTinKetQua:
                result.DuongDanTepTinKetQua = numbers.setdefault(link, str(len(numbers) + 1))
            result.MaGiayToKetQua = result.MaGiayToKetQua and "1"
    if isinstance(item.DanhSachLePhi, list):
        for n, fee in enumerate(item.DanhSachLePhi):
            if fee.Gia:
                try:
                    fee.Gia = 0 if is_free(fee.Gia, n) else 1
                except Refused:
                    continue  # the field at fault, which the allow-list of values drops
