"""What a DongBoHoSoMC item says of papers, results, payment and identity, and what it does not (portals.md §1.4)."""

from __future__ import annotations

import re
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.ingest.normalise import Head, Refusal
from services.ingest.own_messages import PushedFacts
from services.ingest.portals import national_messages
from services.ingest.portals.national_facts import FactItem, bare, read
from shared.vocabulary import Fact
from tests.make import CODE, NOW

OF_COMPONENTS = Fact.COMPONENT_FILE | Fact.DIGITISED | Fact.REUSED | Fact.FROM_STORE
OF_RESULT = Fact.RESULT_LINK | Fact.RESULT_CODED | Fact.RESULT_IS_SUBMITTED
LINK, OTHER = "https://tep.example.vn/t/1", "https://tep.example.vn/kq/1"


def component(**fields: Any) -> dict[str, Any]:
    return {
        "TepDinhKemId": "1",
        "IsDeleted": "False",
        "DuongDanTaiTepTin": LINK,
        "DuocSoHoa": "0",
        "DuocTaiSuDung": "0",
        "DuocLayTuKhoDMQG": "0",
    } | fields


def result(link: str = OTHER, code: str = "KQ.1.001612") -> dict[str, Any]:
    return {"TenGiayTo": "Giấy chứng nhận.pdf", "DuongDanTepTinKetQua": link, "MaGiayToKetQua": code}


def told(item: dict[str, Any], databases: tuple[str, ...] = ("7",)) -> tuple[Fact, Fact]:
    facts, known = read(msgspec.convert(item, FactItem), databases)
    return Fact(facts), Fact(known)


NONE = Fact(0)
CASES: list[tuple[str, dict[str, Any], Fact, Fact]] = [
    ("nothing is said", {}, NONE, NONE),
    ("flags as texts", {"HoSoCoThanhPhanSoHoa": "1", "TaiKhoanDuocXacThucVoiVNeID": "0"},
     Fact.DIGITISED, Fact.DIGITISED | Fact.VNEID),
    ("flags as numbers and booleans", {"HoSoCoThanhPhanSoHoa": 0, "TaiKhoanDuocXacThucVoiVNeID": True},
     Fact.VNEID, Fact.DIGITISED | Fact.VNEID),
    ("an empty flag is known to be none", {"HoSoCoThanhPhanSoHoa": ""}, NONE, Fact.DIGITISED),
    ("paid by the national gateway", {"DuocThanhToanTrucTuyen": "1"},
     Fact.PAID_ONLINE, Fact.PAID_ONLINE | Fact.PAID_OTHERWISE),
    ("paid by the own gateway", {"DuocThanhToanTrucTuyen": 2},
     Fact.PAID_ONLINE, Fact.PAID_ONLINE | Fact.PAID_OTHERWISE),
    ("paid otherwise", {"DuocThanhToanTrucTuyen": "3"},
     Fact.PAID_OTHERWISE, Fact.PAID_ONLINE | Fact.PAID_OTHERWISE),
    ("not paid", {"DuocThanhToanTrucTuyen": "0"}, NONE, Fact.PAID_ONLINE | Fact.PAID_OTHERWISE),
    ("the population database", {"DSKetNoiCSDL": [{"MaCSDL": "3"}, {"MaCSDL": 7}]},
     Fact.POPULATION_DB, Fact.POPULATION_DB),
    ("another database", {"DSKetNoiCSDL": [{"MaCSDL": "3"}]}, NONE, Fact.POPULATION_DB),
    ("no database", {"DSKetNoiCSDL": []}, NONE, Fact.POPULATION_DB),
    ("an empty list as a text", {"DSKetNoiCSDL": "", "DanhSachLePhi": ""},
     NONE, Fact.POPULATION_DB | Fact.FEE | Fact.FEE_FREE),
    ("a plain file", {"TaiLieuNop": [component()]}, Fact.COMPONENT_FILE, OF_COMPONENTS),
    ("no component at all", {"TaiLieuNop": []}, NONE, OF_COMPONENTS),
    ("digitised, reused, from the store, each in another component",
     {"TaiLieuNop": [component(DuocSoHoa="1"), component(DuocTaiSuDung="2"), component(DuocLayTuKhoDMQG=1)]},
     OF_COMPONENTS, OF_COMPONENTS),
    ("a deleted component says nothing",
     {"TaiLieuNop": [component(IsDeleted="True", DuocSoHoa="1"), component(DuongDanTaiTepTin="")]},
     NONE, OF_COMPONENTS),
    ("a component without the keys leaves them unknown", {"TaiLieuNop": [{"DuocSoHoa": "1"}]},
     Fact.DIGITISED, Fact.DIGITISED),
    ("… but what another one has is true", {"TaiLieuNop": [{}, component(DuocTaiSuDung="1")]},
     Fact.COMPONENT_FILE | Fact.REUSED, Fact.COMPONENT_FILE | Fact.REUSED),
    ("the flag of the dossier is enough to know", {"HoSoCoThanhPhanSoHoa": "0", "TaiLieuNop": [{}]},
     NONE, Fact.DIGITISED),
    ("a fee", {"DanhSachLePhi": [{"Gia": "0"}, {"Gia": "50.000"}]}, Fact.FEE, Fact.FEE | Fact.FEE_FREE),
    ("free of every fee", {"DanhSachLePhi": [{"Gia": "0"}, {"Gia": 0}, {"Gia": "0,00 đồng"}]},
     Fact.FEE_FREE, Fact.FEE | Fact.FEE_FREE),
    ("a price that is not told", {"DanhSachLePhi": [{"Gia": ""}, {"Gia": "0"}]}, NONE, NONE),
    ("no fee", {"DanhSachLePhi": []}, NONE, Fact.FEE | Fact.FEE_FREE),
    ("a result without components told", {"DanhSachGiayToKetQua": [result()]},
     Fact.RESULT_LINK | Fact.RESULT_CODED, Fact.RESULT_LINK | Fact.RESULT_CODED),
    ("a result without its code", {"DanhSachGiayToKetQua": [result(code="")], "TaiLieuNop": []},
     Fact.RESULT_LINK, OF_RESULT | OF_COMPONENTS),
    ("a code without a link is no result", {"DanhSachGiayToKetQua": [result(link="")]}, NONE, OF_RESULT),
    ("no result", {"DanhSachGiayToKetQua": []}, NONE, OF_RESULT),
    ("the submitted file as the result", {"DanhSachGiayToKetQua": [result(LINK)], "TaiLieuNop": [component()]},
     OF_RESULT | Fact.COMPONENT_FILE, OF_RESULT | OF_COMPONENTS),
    ("another file as the result", {"DanhSachGiayToKetQua": [result()], "TaiLieuNop": [component()]},
     Fact.RESULT_LINK | Fact.RESULT_CODED | Fact.COMPONENT_FILE, OF_RESULT | OF_COMPONENTS),
    ("a file that was deleted again was not submitted",
     {"DanhSachGiayToKetQua": [result(LINK)], "TaiLieuNop": [component(IsDeleted=True)]},
     Fact.RESULT_LINK | Fact.RESULT_CODED, OF_RESULT | OF_COMPONENTS),
]  # fmt: skip


@pytest.mark.parametrize(
    ("item", "facts", "known"), [case[1:] for case in CASES], ids=[case[0] for case in CASES]
)
def test_facts_of_an_item(item: dict[str, Any], facts: Fact, known: Fact) -> None:
    assert told(item) == (facts, known)


def test_without_a_code_of_the_population_database_its_use_is_not_told() -> None:
    assert told({"DSKetNoiCSDL": [{"MaCSDL": "7"}]}, ()) == (NONE, NONE)
    assert told({"DSKetNoiCSDL": []}, ()) == (NONE, Fact.POPULATION_DB)


@pytest.mark.parametrize(
    ("item", "field"),
    [
        ({"HoSoCoThanhPhanSoHoa": "2"}, "HoSoCoThanhPhanSoHoa"),
        ({"HoSoCoThanhPhanSoHoa": []}, "HoSoCoThanhPhanSoHoa"),
        ({"TaiKhoanDuocXacThucVoiVNeID": "có"}, "TaiKhoanDuocXacThucVoiVNeID"),
        ({"DuocThanhToanTrucTuyen": "4"}, "DuocThanhToanTrucTuyen"),
        ({"DSKetNoiCSDL": "7"}, "DSKetNoiCSDL"),
        ({"TaiLieuNop": {}}, "TaiLieuNop"),
        ({"TaiLieuNop": [component(), component(DuocTaiSuDung="3")]}, "TaiLieuNop[1].DuocTaiSuDung"),
        ({"TaiLieuNop": [component(DuocSoHoa=[1])]}, "TaiLieuNop[0].DuocSoHoa"),
        ({"TaiLieuNop": [component(DuongDanTaiTepTin=[LINK])]}, "TaiLieuNop[0].DuongDanTaiTepTin"),
        ({"DanhSachLePhi": [{"Gia": "miễn"}]}, "DanhSachLePhi[0].Gia"),
        ({"DanhSachLePhi": [{"Gia": -1}]}, "DanhSachLePhi[0].Gia"),
        ({"DanhSachGiayToKetQua": "KQ"}, "DanhSachGiayToKetQua"),
    ],
)
def test_a_wrong_value_is_refused_with_its_field(item: dict[str, Any], field: str) -> None:
    data = msgspec.json.encode([{"MaHoSo": CODE}, {"MaHoSo": CODE} | item])
    good, bad = national_messages.heads(data, databases=["7"], now=NOW)
    assert isinstance(good, Head)
    assert isinstance(bad, Refusal)
    assert (bad.code, bad.field) == (CODE, field)


flags = st.sampled_from(["", "0", "1", 0, 1, True, False, "x"])
links = st.sampled_from(["", LINK, OTHER, "033099007421", "Nguyễn Văn Mật"])
prices = st.sampled_from(["", "0", "50.000", "0 đồng", 120_000, 0, "miễn phí cho ông Mật"])


@given(
    components=st.lists(
        st.fixed_dictionaries({"DuongDanTaiTepTin": links, "DuocSoHoa": flags, "IsDeleted": flags}),
        max_size=4,
    ),
    results=st.lists(
        st.fixed_dictionaries({"DuongDanTepTinKetQua": links, "MaGiayToKetQua": links}), max_size=3
    ),
    fees=st.lists(st.fixed_dictionaries({"Gia": prices}), max_size=3),
    paid=flags,
)
def test_a_refused_item_keeps_its_facts_and_no_link(
    components: list[Any], results: list[Any], fees: list[Any], paid: Any
) -> None:
    """Refused for its state: what quarantine keeps says the same as what came, without links, prices and codes."""
    given = {
        "MaHoSo": CODE,
        "TaiLieuNop": components,
        "DanhSachGiayToKetQua": results,
        "DanhSachLePhi": fees,
        "DuocThanhToanTrucTuyen": paid,
        "DSKetNoiCSDL": [{"MaCSDL": "7"}],
    }
    data = msgspec.json.encode([given | {"TrangThaiHoSo": "11"}])
    (refused,) = national_messages.heads(data, databases=["7"], now=NOW)
    assert isinstance(refused, Refusal)
    assert refused.field == "TrangThaiHoSo"
    assert refused.content is not None
    kept = msgspec.json.encode(refused.content).decode()
    assert not re.search(r"https|033099|[Mm]ật|50\.000|120000", kept)
    (straight,) = national_messages.heads(msgspec.json.encode([given]), databases=["7"], now=NOW)
    again = msgspec.json.encode([refused.content | {"TrangThaiHoSo": None}])
    (replayed,) = national_messages.heads(again, databases=["7"], now=NOW)
    readable = b'"x"' not in data and "ông".encode() not in data
    assert (refused.dropped == ()) or not readable
    if not refused.dropped:
        assert replayed == straight


def test_bare_leaves_equal_links_equal() -> None:
    item = msgspec.convert(
        {"TaiLieuNop": [component()], "DanhSachGiayToKetQua": [result(LINK), result()]}, FactItem
    )
    before = read(item, ["7"])
    bare(item)
    assert isinstance(item.TaiLieuNop, list)
    assert isinstance(item.DanhSachGiayToKetQua, list)
    assert [each.DuongDanTepTinKetQua for each in item.DanhSachGiayToKetQua] == ["1", "2"]
    assert item.TaiLieuNop[0].DuongDanTaiTepTin == "1"
    assert read(item, ["7"]) == before


def test_our_own_form_has_a_field_for_every_fact() -> None:
    assert PushedFacts.__struct_fields__ == tuple(fact.name.lower() for fact in Fact if fact.name)
