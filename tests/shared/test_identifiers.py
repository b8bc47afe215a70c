"""Codes, decision numbers and names: portals.md §5, decisions.md §3 rule 3."""

from __future__ import annotations

import unicodedata
from datetime import date

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.errors import Invalid
from shared.identifiers import (
    DossierCode,
    ProcedureCode,
    is_within,
    name_key,
    normalise_decision_number,
    normalise_unit_code,
    parse_dossier_code,
    parse_procedure_code,
    procedure_code,
    unit_name_key,
    unit_parents,
)


@pytest.mark.parametrize(
    ("text", "unit", "on", "serial", "source"),
    [
        ("000.00.53.H48-220921-0099", "H48.53", date(2022, 9, 21), "0099", "province"),
        ("H15.50.05.13-261008-0975", "H15.50.05.13", date(2026, 10, 8), "0975", "province"),
        ("G09.20-20260609-0092637", "G09.20", date(2026, 6, 9), "0092637", "ministry"),
        ("H31.135-260803-123456", "H31.135", date(2026, 8, 3), "123456", "ministry"),
        ("H31.135-260803-00012", "H31.135", date(2026, 8, 3), "00012", "unknown"),
        ("000.00.00.H31-260803-0012", "H31", date(2026, 8, 3), "0012", "province"),
    ],
)
def test_dossier_codes_of_known_form(text: str, unit: str, on: date, serial: str, source: str) -> None:
    assert parse_dossier_code(text) == DossierCode(text, unit, on, serial, True, source)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "text",
    [
        " h31.135-260803-0012\n",
        "H31.135 - 260803 - 0012",
        "H31.135–260803—0012",
        "H31.135‑260803‑0012\u200b",
        "\ufeffH31.135-260803-0012",
    ],
)
def test_spellings_of_one_dossier_code_are_one_code(text: str) -> None:
    assert parse_dossier_code(text) == parse_dossier_code("H31.135-260803-0012")


@pytest.mark.parametrize(
    "text",
    [
        "HS 0001/abc",
        "H31.135-260231-0012",  # 31/02
        "H31.135-18990101-0012",
        "000.05.00.H31-260803-0012",  # a level is skipped: no unit
        "H31.135-260803",
        "x",
        "H31.135-２６0803-0012",  # full-width digits
    ],
)
def test_unknown_forms_are_kept_and_marked(text: str) -> None:
    parsed = parse_dossier_code(f"  {text} ")
    assert parsed == DossierCode(text, None, None, None, False, "unknown")


@pytest.mark.parametrize(
    "text", ["", "  ", "\u200b", "H31\x00-1", "a\tb", "x" * 101, "x" * 1_000_000, "a\ud800b", "a\x85b"]
)
def test_what_no_dossier_code_can_be(text: str) -> None:
    with pytest.raises(Invalid) as caught:
        parse_dossier_code(text)
    assert caught.value.field == "code"


@given(st.text(max_size=120))
def test_reading_a_dossier_code_twice_changes_nothing(text: str) -> None:
    try:
        once = parse_dossier_code(text)
    except Invalid:
        return
    assert parse_dossier_code(once.code) == once
    once.code.encode()


def test_procedure_codes() -> None:
    assert parse_procedure_code(" 1.001612 ") == ProcedureCode("1.001612", None)
    assert parse_procedure_code("1.001612.000.00.00.H31") == ProcedureCode("1.001612", "000.00.00.H31")
    assert parse_procedure_code("2.002621.h56") == ProcedureCode("2.002621", "H56")
    assert procedure_code("2.002621.H56") == "2.002621"


@pytest.mark.parametrize("text", ["2.00048", "2.00048.H31", "2.48"])
def test_a_procedure_code_with_too_few_digits_is_called_broken(text: str) -> None:
    with pytest.raises(Invalid, match="broken") as caught:
        parse_procedure_code(text)
    assert "hỏng" in caught.value.vi
    assert "1.001612" in caught.value.vi
    assert text not in caught.value.vi + caught.value.en


@pytest.mark.parametrize(
    "text", ["", "1001612", "1.0016123", "1.001612.X", "a.001612", "1.00161\x002", "１.001612"]
)
def test_other_procedure_codes_are_refused(text: str) -> None:
    with pytest.raises(Invalid):
        parse_procedure_code(text)


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("000.00.00.H31", "H31"),
        ("000.00.53.H48", "H48.53"),
        ("000.07.15.H31", "H31.15.07"),
        ("000.00.135.H31", "H31.135"),
        ("000.00.00.G22", "G22"),
        ("h31.15.07", "H31.15.07"),
        (" H31 ", "H31"),
    ],
)
def test_unit_codes(text: str, code: str) -> None:
    assert normalise_unit_code(text) == code
    assert normalise_unit_code(code) == code


@pytest.mark.parametrize(
    "text", ["", "31", "H3", "H31.", "H31.1", "000.05.00.H31", "H31.00.07", "H31;15", "Sở Y tế"]
)
def test_junk_unit_codes_are_refused(text: str) -> None:
    with pytest.raises(Invalid) as caught:
        normalise_unit_code(text)
    assert caught.value.field in ("unit_code",)


groups = st.integers(1, 99).map("{:02}".format)


@given(level2=groups, level3=st.one_of(st.none(), groups))
def test_old_and_new_unit_form_agree(level2: str, level3: str | None) -> None:
    new = ".".join(["H31", level2, *([level3] if level3 else [])])
    assert normalise_unit_code(f"000.{level3 or '00'}.{level2}.H31") == new
    assert all(is_within(new, parent) for parent in unit_parents(new))


def test_parents_and_subtree() -> None:
    assert unit_parents("H31.15.07") == ("H31.15", "H31")
    assert unit_parents("H31") == ()
    assert is_within("H31.15", "H31.15")
    assert is_within("H31.15.07", "H31")
    assert not is_within("H31.150", "H31.15")
    assert not is_within("H31", "H31.15")


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("712/QĐ-UBND", "712/QĐ-UBND"),
        ("SỐ 64/QĐ-NHNN", "64/QĐ-NHNN"),
        ("Số: 712/QĐ-UBND", "712/QĐ-UBND"),
        ("3713/QD-BTP", "3713/QĐ-BTP"),
        ("2267./QĐ-BXD", "2267/QĐ-BXD"),
        (" 712 / qđ – ubnd ", "712/QĐ-UBND"),
        (unicodedata.normalize("NFD", "Số 712/QĐ-UBND"), "712/QĐ-UBND"),
        ("712/QÐ-UBND", "712/QĐ-UBND"),  # eth
        ("1523/QĐ-BCA-C06", "1523/QĐ-BCA-C06"),
        ("05/QĐ-UBND", "5/QĐ-UBND"),
        ("12/2024/QĐ-UBND", "12/2024/QĐ-UBND"),
        ("766/QĐ-TTg", "766/QĐ-TTg"),
    ],
)
def test_decision_numbers(text: str, number: str) -> None:
    assert normalise_decision_number(text) == number
    assert normalise_decision_number(number) == number


@pytest.mark.parametrize(
    "text", ["QĐ/0001-BCA", "1681", "", "0/QĐ-UBND", "712/KH-UBND", "712/QĐ", "712\x00/QĐ-UBND"]
)
def test_unreadable_decision_numbers_are_not_guessed(text: str) -> None:
    with pytest.raises(Invalid) as caught:
        normalise_decision_number(text)
    assert caught.value.field == "number"


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Xã Thuỵ Anh", "Xã Thụy Anh"),
        ("Hoà Bình", "Hòa Bình"),
        ("khoẻ", "khỏe"),
        ("Ủy ban", "Uỷ ban"),
        ("Quý", "Qúy"),
        ("Cấp giấy phép, chứng chỉ", "CẤP GIẤY PHÉP  chứng chỉ."),
        ("các-bon", "các bon"),
        ("Đăng ký", "Ðăng ký"),
        ("Phường\u00a0Phố Hiến", "phường phố hiến"),
    ],
)
def test_spellings_of_one_name(one: str, other: str) -> None:
    assert name_key(one) == name_key(other)
    assert name_key(unicodedata.normalize("NFD", one)) == name_key(one)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("hòa", "hóa"),
        ("hòa", "hoa"),
        ("đường", "dường"),
        ("bán", "bàn"),
        ("cần", "càn"),
        ("mươn", "muôn"),
        ("a b", "ab"),
    ],
)
def test_different_names_stay_different(one: str, other: str) -> None:
    assert name_key(one) != name_key(other)


vietnamese = st.text(
    alphabet="aăâeêioôơuưyđàáảãạằắẳẵặầấẩẫậèéẻẽẹềếểễệìíỉĩịòóỏõọồốổỗộờớởỡợùúủũụừứửữựỳýỷỹỵ"
    "bcghklmnpqrstvxABĐƯƠ ,.-()/0123",
    max_size=60,
)


@given(vietnamese)
def test_name_key_is_stable_under_form_case_and_itself(text: str) -> None:
    key = name_key(text)
    assert name_key(key) == key
    assert name_key(text.upper()) == key
    assert name_key(unicodedata.normalize("NFD", text)) == key


@given(st.text(max_size=40))
def test_any_text_has_a_key(text: str) -> None:
    name_key(text).encode()
    unit_name_key(text)


def test_unit_names() -> None:
    key = unit_name_key("Xã Thụy Anh")
    assert unit_name_key("UBND xã Thuỵ Anh") == key
    assert unit_name_key("Ủy ban nhân dân xã Thụy Anh") == key
    assert unit_name_key("UỶ BAN NHÂN DÂN XÃ THUỴ ANH") == key
    assert unit_name_key("Phường Thụy Anh") != key
    assert unit_name_key("Văn phòng UBND tỉnh") == name_key("Văn phòng UBND tỉnh")
    assert unit_name_key("UBND") == "ubnd"
