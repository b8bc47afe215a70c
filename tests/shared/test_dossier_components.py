"""What a component says of a dossier: the sentence is made from the condition that counts it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.indicators.rules.measures import MEASURES
from shared.dossier_components import DOSSIER_COMPONENTS, tell, tell_all
from shared.reasons import Bit, Explanation
from shared.vocabulary import Basis, ProcedureFact

RECEIVED = Bit.MEMBER | Bit.RECEIVED
bits_ = st.lists(st.sampled_from(list(Bit))).map(lambda bits: int(sum(set(bits))))
procedures = st.integers(0, sum(ProcedureFact))


def test_every_measure_of_dossiers_has_its_sentence() -> None:
    assert set(DOSSIER_COMPONENTS) == {
        each.component for each in MEASURES.values() if each.subject == "dossier"
    }


@given(st.one_of(bits_, bits_.map(lambda bits: bits | RECEIVED)), procedures)
def test_the_sentence_agrees_with_the_count(bits: int, procedure: int) -> None:
    for component, asked in DOSSIER_COMPONENTS.items():
        told = tell(component, bits, procedure)
        measure = MEASURES[component]
        assert measure.numerator == asked.numerator
        assert measure.origin == "reports" or measure.denominator == asked.denominator
        assert told.counted == asked.denominator.holds(bits, procedure)
        assert told.met == asked.numerator.holds(bits, procedure)
        verdict, _, reasons = told.sentence.partition(": ")
        met = "Được tính" if component == "2.2" else "Đạt"
        assert verdict == (met if told.met else "Không đạt" if told.counted else "Không thuộc diện tính")
        assert reasons.removesuffix(".")
        assert told.citation.endswith(f"chỉ số {component.removesuffix('b')}")


@given(bits_.map(lambda bits: bits | RECEIVED), procedures)
def test_what_is_named_as_wanting_is_what_wants(bits: int, procedure: int) -> None:
    """Each single thing that is mended leaves the sentence, and nothing else does."""
    for component, asked in DOSSIER_COMPONENTS.items():
        told = tell(component, bits, procedure)
        if not told.counted or told.met:
            continue
        wanted = asked.numerator.condition(procedure)
        wrong = [bit for bit in wanted.having if not bits & bit] + [
            bit for bit in wanted.without if bits & bit
        ]
        for bit in wrong:
            mended = tell(component, bits ^ bit, procedure)
            assert mended.met == (len(wrong) == 1)
            assert mended.sentence != told.sentence


@pytest.mark.parametrize(
    ("component", "bits", "procedure", "sentence"),
    [
        ("4.1", RECEIVED | Bit.ON_TIME, 0, "Không đạt: không có thông tin là có tệp kết quả điện tử."),
        ("4.1", RECEIVED | Bit.RESULT_LINK, 0, "Đạt: có tệp kết quả điện tử."),
        (
            "3.3",
            RECEIVED | Bit.ONLINE,
            0,
            "Đạt: nộp trực tuyến; không có thông tin là thủ tục có giấy tờ kết quả nên không xét kết quả điện tử.",
        ),
        (
            "3.3",
            RECEIVED | Bit.ONLINE | Bit.RESULT_LINK,
            ProcedureFact.RESULT,
            "Không đạt: có tệp kết quả nhưng không có thông tin là có mã giấy tờ kết quả;"
            " thủ tục có giấy tờ kết quả nên phải có cả kết quả điện tử.",
        ),
        (
            "4.2",
            RECEIVED | Bit.RESULT_LINK,
            ProcedureFact.RESULT,
            "Không đạt: không có thông tin là có tệp thành phần hồ sơ.",
        ),
        ("3.3", Bit.MEMBER | Bit.ONLINE, 0, "Không thuộc diện tính: tiếp nhận trước kỳ này."),
        (
            "3.6",
            RECEIVED | Bit.FEE_FREE,
            0,
            "Không thuộc diện tính: không có thông tin là thủ tục có phí, lệ phí;"
            " không có nghĩa vụ tài chính vì mọi khoản thu đều bằng 0.",
        ),
        ("3.6", RECEIVED | Bit.PAID_ONLINE, ProcedureFact.FEE, "Đạt: đã thanh toán trực tuyến."),
        (
            "1.4",
            RECEIVED | Bit.FROM_SENT_UNCONFIRMED,
            0,
            "Không đạt: chưa tra cứu được trên Cổng Dịch vụ công quốc gia.",
        ),
    ],
)
def test_sentences(component: str, bits: int, procedure: int, sentence: str) -> None:
    assert tell(component, int(bits), int(procedure)).sentence == sentence


def test_what_is_told_on_each_basis() -> None:
    """What the nation has, the province's own records do not say (1.4)."""
    judged = Explanation("Tính là đúng hạn.", "766")
    counted = tell_all(int(RECEIVED | Bit.ON_TIME), 0, Basis.COUNTED, judged)
    assert [each.component for each in counted] == list(DOSSIER_COMPONENTS)
    provincial = tell_all(int(RECEIVED | Bit.ON_TIME), 0, Basis.PROVINCIAL, judged)
    assert [each.component for each in provincial] == [each for each in DOSSIER_COMPONENTS if each != "1.4"]
    by_id = {each.component: each for each in counted}
    assert by_id["2.1"] == ("2.1", True, True, "Tính là đúng hạn.", "766")
    assert by_id["5.4"].sentence.startswith("Tính là hài lòng")
