"""What is said of figures that the national portal publishes."""

from __future__ import annotations

from datetime import datetime

import pytest

from services.ingest.capture_checks import CHECKS
from services.reconcile.captures import CHECKED, Failed, Head, wanted
from shared.calendar import TZ

HEAD = Head(7, "2026-10", datetime(2026, 11, 2, tzinfo=TZ), "portal-2026-09")


def said(check: str, **detail: object) -> str:
    failure = {"name": "UBND phường Phố Hiến", "what": "x", "expected": None, "found": None} | detail
    (finding,) = wanted([HEAD], [], [Failed(7, check, 3, [failure])], province="H31")
    sentence: str = finding.evidence["sentence"]
    return sentence


@pytest.mark.parametrize(
    ("check", "detail", "example"),
    [
        (
            "inventory",
            {"what": "thiếu trong nhóm", "found": "transparency, digitisation"},
            "UBND phường Phố Hiến không có trong nhóm Công khai, minh bạch; Số hóa hồ sơ.",
        ),
        (
            "units_known",
            {"name": None, "what": "đơn vị không có trong số liệu", "expected": "H31.99"},
            "đơn vị H31.99 không có trong số liệu Cổng công bố.",
        ),
        (
            "units_known",
            {"what": "đơn vị chưa biết", "found": "H31.16"},
            "UBND phường Phố Hiến có trong số liệu Cổng công bố nhưng chưa có trong danh sách đã biết.",
        ),
        (
            "rows",
            {"name": None, "what": "progress", "expected": 117, "found": 100},
            "nhóm Tiến độ giải quyết báo 117 dòng, nhận được 100 dòng.",
        ),
        (
            "national_totals",
            {"name": None, "what": "số tỉnh, thành phố", "expected": 34, "found": 33},
            "Cổng công bố 33 tỉnh, thành phố, đúng ra 34.",
        ),
        (
            "unit_totals",
            {"expected": "59.63", "found": "60.00"},
            "UBND phường Phố Hiến: đúng ra 59,63, đã công bố 60,00.",
        ),
    ],
)
def test_a_check_is_told_in_words_of_its_own(check: str, detail: dict[str, object], example: str) -> None:
    begin = f"Kỳ 2026-10: lẽ ra {CHECKED[check]}; 3 trường hợp không khớp, ví dụ "
    assert said(check, **detail) == begin + example


def test_every_check_has_words() -> None:
    assert set(CHECKED) == set(CHECKS) - {"restated"}, "which is a kind of its own"
