"""What a procedure's record, the online services and the decisions say that the components ask."""

from __future__ import annotations

from datetime import date
from typing import Any

import pytest

from services.ingest.portals import procedure_facts
from shared.identifiers import unit_name_key
from shared.vocabulary import ProcedureFact

FULL = {
    "TENTTHC": "Đăng ký khai sinh",
    "TRINHTUTHUCHIEN": [{"TRUONGHOP": "", "TRINHTU": [{"TENTRINHTU": "Nộp hồ sơ"}]}],
    "CACHTHUCTHUCHIEN": [{"KENH": "1", "THOIGIAN": [{"THOIGIANGIAIQUYET": "1", "PHILEPHI": []}]}],
    "THANHPHANHOSO": [{"GIAYTO": [{"TENGIAYTO": "Tờ khai", "SOBANCHINH": "1"}]}],
    "DOITUONGTHUCHIEN": [{"TENDOITUONG": "Doanh nghiệp"}],
    "COQUANTHUCHIEN": [{"TENDONVI": "Ủy ban nhân dân cấp xã"}],
}
"""Everything that makes up a procedure, and nothing else."""
NONE = ProcedureFact(0)


def test_who_carries_it_out() -> None:
    told = [
        {"MADONVI": "000.00.16.H31", "TENDONVI": "Sở Công Thương"},
        {"MADONVI": "?", "TENDONVI": " UBND  phường Phố Hiến "},
        {"MADONVI": "", "TENDONVI": ""},
        "Sở Y tế",
    ]
    assert procedure_facts.performers({"COQUANTHUCHIEN": told}) == [
        "H31.16",
        unit_name_key("Phường Phố Hiến"),
    ]
    assert procedure_facts.performers({"COQUANTHUCHIEN": "Sở Y tế"}) == []


@pytest.mark.parametrize(
    ("told", "days"),
    [
        (None, (None, None)),
        ([], (None, None)),
        (
            {"decisionDate": 1772384400000, "publicationDate": 1772643599000},
            (date(2026, 3, 2), date(2026, 3, 4)),
        ),
        ({"decisionDate": "02/03/2026", "publicationDate": True}, (None, None)),
        ({"decisionDate": 1e300, "publicationDate": -1}, (None, date(1970, 1, 1))),
        ({"decisionDate": -(10**13), "publicationDate": float("inf")}, (None, None)),
    ],
)
def test_the_days_of_a_proposal(told: Any, days: tuple[date | None, date | None]) -> None:
    """Moments as milliseconds: the day is that of Việt Nam."""
    assert procedure_facts.proposal({"procedureProposal": told}) == days


def facts(**fields: Any) -> ProcedureFact:
    return ProcedureFact(procedure_facts.facts(fields))


def fee(amount: Any) -> dict[str, Any]:
    return {
        "CACHTHUCTHUCHIEN": [{"KENH": "1", "THOIGIAN": [{"PHILEPHI": [{"SOTIEN": "0"}, {"SOTIEN": amount}]}]}]
    }


@pytest.mark.parametrize(
    ("amount", "costs"),
    [
        ("Không", False),
        ("không thu phí", False),
        ("Miễn phí", False),
        ("0", False),
        ("0 đồng", False),
        ("", False),
        (None, False),
        (0, False),
        ("50.000", True),
        ("10.000 - 50.000 đồng", True),
        (8000, True),
        ("Theo quy định của HĐND tỉnh", True),
        ("0,1% giá trị hợp đồng", True),
    ],
)
def test_a_fee(amount: Any, costs: bool) -> None:
    assert facts(**fee(amount)) is (ProcedureFact.FEE if costs else NONE)


@pytest.mark.parametrize(
    ("fields", "found"),
    [
        ({}, NONE),
        ({"CACHTHUCTHUCHIEN": [{"KENH": "1"}, {"KENH": 2}]}, ProcedureFact.ONLINE_CHANNEL),
        ({"CACHTHUCTHUCHIEN": [{"KENH": "1"}, {"KENH": "3"}]}, NONE),
        ({"KETQUATHUCHIEN": [{"TENKETQUA": "Giấy chứng nhận"}]}, ProcedureFact.RESULT),
        ({"KETQUATHUCHIEN": [{"TENKETQUA": "Không"}, {"TENKETQUA": " "}, {}]}, NONE),
        ({"DOITUONGTHUCHIEN": [{"TENDOITUONG": "Doanh nghiệp"}, {"TENDOITUONG": "công dân  Việt Nam"}]},
         ProcedureFact.PEOPLE),
        ({"DOITUONGTHUCHIEN": [{"TENDOITUONG": "Tổ chức; Người Việt Nam định cư ở nước ngoài"}]},
         ProcedureFact.PEOPLE),
        ({"DOITUONGTHUCHIEN": [{"TENDOITUONG": "Tổ chức nước ngoài"}, {"TENDOITUONG": "Hợp tác xã"}]}, NONE),
        (FULL, ProcedureFact.COMPLETE),
        ({"CACHTHUCTHUCHIEN": "x", "KETQUATHUCHIEN": [None, 5], "DOITUONGTHUCHIEN": {"a": 1}}, NONE),
    ],
)  # fmt: skip
def test_facts_of_a_record(fields: dict[str, Any], found: ProcedureFact) -> None:
    assert facts(**fields) is found


@pytest.mark.parametrize("part", FULL)
def test_a_record_without_one_of_the_parts_is_not_complete(part: str) -> None:
    assert facts(**FULL | {part: []}) is NONE


def test_online_services() -> None:
    """Full where a unit applies it so; the suffix of a local code falls; what has no code is passed over."""
    found = procedure_facts.online_services(
        [
            {"MATTHC": "1.000001", "APDUNGDVC": [{"MUCDO": "3"}, {"MUCDO": 4}]},
            {"MATTHC": "1.000002.H31", "APDUNGDVC": []},
            {"MATTHC": "1.000002", "MUCDO": "Toàn trình"},
            {"MATTHC": "1.000003", "APDUNGDVC": [{"MUCDO": "Một phần"}]},
            {"MATTHC": "1.0003"},
            {},
            "x",
        ]
    )
    service, full = ProcedureFact.ONLINE_SERVICE, ProcedureFact.ONLINE_SERVICE | ProcedureFact.ONLINE_FULL
    assert found == {"1.000001": full, "1.000002": full, "1.000003": service}


@pytest.mark.parametrize(
    ("text", "day"),
    [
        ("01/07/2025", date(2025, 7, 1)),
        ("1/7/2025 00:00:00", date(2025, 7, 1)),
        ("2025-07-01T00:00:00", date(2025, 7, 1)),
        ("20250701000000", date(2025, 7, 1)),
        ("31/02/2025", None),
        ("01/07/0001", None),
        ("hôm nay", None),
        (None, None),
    ],
)
def test_days(text: Any, day: date | None) -> None:
    assert procedure_facts.day(text) == day


def test_the_latest_basis_says_when_it_takes_effect() -> None:
    bases = [{"NGAYHIEULUC": "01/07/2025"}, {"NGAYHIEULUC": "15/08/2025"}, {"NGAYHIEULUC": ""}]
    assert procedure_facts.effective_on({"CANCUPHAPLY": bases}) == date(2025, 8, 15)
    assert procedure_facts.effective_on({}) is None


def test_the_day_of_a_decision_is_of_the_one_that_is_named() -> None:
    rows = [
        {"SOQUYETDINH": "SỐ 712/QD-UBND", "NGAYQUYETDINH": "02/03/2026"},
        {"SOQUYETDINH": "1", "NGAYQUYETDINH": "03/03/2026"},
    ]
    assert procedure_facts.decided_on(rows, "712/QĐ-UBND") == date(2026, 3, 2)
    assert procedure_facts.decided_on(rows, "713/QĐ-UBND") is None
    assert procedure_facts.decided_on(rows[1:], "713/QĐ-UBND") == date(2026, 3, 3), "asked for by its id"
    assert (
        procedure_facts.decided_on([*rows, rows[0] | {"NGAYQUYETDINH": "05/03/2026"}], "712/QĐ-UBND") is None
    )
