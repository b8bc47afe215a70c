"""Units and procedures read from the national portal's rows."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from services.ingest.normalise import Refused
from services.ingest.portals import national_reference as reference
from shared.vocabulary import DurationUnit, Mark, UnitLevel

UNIT = {
    "MADONVI": "H31.135",
    "TENDONVI": "UBND phường  Phố Hiến",
    "CAPDONVI": "3",
    "MADONVICHA": "H31",
    "GHICHU": "",
}


def test_unit() -> None:
    assert reference.unit(UNIT) == reference.UnitRow(
        "H31.135", "UBND phường Phố Hiến", UnitLevel.COMMUNE, "H31", Mark.PRACTICE
    )


def test_unit_with_a_remark_is_not_verified_and_a_parent_follows_from_the_code() -> None:
    found = reference.unit(
        UNIT | {"GHICHU": "Mã tạm", "MADONVICHA": "", "CAPDONVI": 2, "MADONVI": "000.00.36.H31"}
    )
    assert found == reference.UnitRow(
        "H31.36", "UBND phường Phố Hiến", UnitLevel.DEPARTMENT, "H31", Mark.NOT_VERIFIED
    )


@pytest.mark.parametrize(
    ("row", "field"),
    [
        ("x", "result"),
        (UNIT | {"MADONVI": None}, "MADONVI"),
        (UNIT | {"MADONVI": "Phố Hiến"}, "MADONVI"),
        (UNIT | {"TENDONVI": ""}, "TENDONVI"),
        (UNIT | {"TENDONVI": "a\0b"}, "TENDONVI"),
        (UNIT | {"CAPDONVI": "9"}, "CAPDONVI"),
        (UNIT | {"MADONVICHA": "?"}, "MADONVICHA"),
    ],
)
def test_bad_unit(row: Any, field: str) -> None:
    with pytest.raises(Refused) as refused:
        reference.unit(row)
    assert refused.value.field == field


@pytest.mark.parametrize("code", [None, "", "1.00161", 5, "\0"])
def test_bad_listed_procedure(code: Any) -> None:
    with pytest.raises(Refused) as refused:
        reference.listed({"MATTHC": code, "TENTTHC": "x"})
    assert refused.value.field == "MATTHC"


def record(**fields: Any) -> dict[str, Any]:
    return {
        "MATTHC": "1.001193",
        "TENTTHC": "Thủ tục đăng ký khai sinh",
        "MACOQUANCONGBO": "G15",
        "TRANGTHAI": "1",
        "QUYETDINH": "163/QD-BTP",
        "CAPTHUCHIEN": [{"CAPTHUCHIEN": "3", "TENCAP": "Cấp Xã"}, {"CAPTHUCHIEN": 1}, {"CAPTHUCHIEN": "7"}],
        "LINHVUCTHUCHIEN": [{"MALINHVUC": "G15-LV06", "TENLINHVUC": "Hộ tịch"}],
        "CACHTHUCTHUCHIEN": channels(("1", "Ngày làm việc")),
        "KHOALA": "not on the list",
    } | fields


def channels(*durations: tuple[Any, Any]) -> list[Any]:
    return [{"KENH": "1", "THOIGIAN": [{"THOIGIANGIAIQUYET": v, "DONVITINH": u}]} for v, u in durations]


def test_procedure() -> None:
    found = reference.procedure("1.001193", record())
    assert found.levels == ["province", "commune"]
    assert (found.public, found.state, found.decision_number) == (True, "1", "163/QĐ-BTP")
    assert (found.field_code, found.field_name, found.publisher) == ("G15-LV06", "Hộ tịch", "G15")
    assert (found.max_duration, found.duration_unit) == (Decimal(1), "Ngày làm việc")
    assert "KHOALA" not in found.record
    assert '"MATTHC":"1.001193"' in found.record


def test_procedure_of_which_little_is_told() -> None:
    found = reference.procedure(
        "1.001193", {"TENTTHC": "x", "TRANGTHAI": 0, "MOTA": ["a\0b", {"c\0": "\ud800"}]}
    )
    assert (found.levels, found.public, found.state, found.decision_number) == ([], False, "0", None)
    assert (found.max_duration, found.duration_unit) == (None, None)
    assert "\\u0000" not in found.record


def test_decision_number_of_another_form_is_kept_as_it_came() -> None:
    assert reference.procedure("1.001193", record(QUYETDINH="QĐ/0001-BCA")).decision_number == "QĐ/0001-BCA"


@pytest.mark.parametrize(
    ("durations", "longest"),
    [
        ([("3", "Ngày"), ("2", "Ngày làm việc")], (Decimal(3), DurationUnit.DAY)),
        ([("3", "Ngày"), ("3", "Ngày làm việc")], (Decimal(3), DurationUnit.WORKING_DAY)),
        ([("1", "Tháng"), ("20", "Ngày làm việc")], (Decimal(1), DurationUnit.MONTH)),
        ([("8", "Giờ"), ("0,5", "Ngày")], (Decimal("0.5"), DurationUnit.DAY)),
        ([("x", "Ngày"), ("-1", "Ngày"), ("NaN", "Ngày"), ("1e9", "Ngày"), ("1", "Năm")], None),
        ([], None),
    ],
)
def test_longest_duration(durations: list[tuple[Any, Any]], longest: Any) -> None:
    assert reference.max_duration({"CACHTHUCTHUCHIEN": channels(*durations)}) == longest


@pytest.mark.parametrize("odd", [None, "x", 5, [None], [{"THOIGIAN": "x"}], [{"THOIGIAN": [None]}]])
def test_odd_channels_tell_no_duration(odd: Any) -> None:
    assert reference.max_duration({"CACHTHUCTHUCHIEN": odd}) is None
