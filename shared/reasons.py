"""Why a dossier counts or does not, in words that an officer can check. Pure.

Indicators writes these values into assessment and assessment_period; whoever reads those tables (ingest's
`GET /v1/dossiers/{code}`) turns them into sentences here. Rule: indicators.md §3, component 2.1.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import IntFlag, StrEnum

from shared.calendar import TZ


class Bit(IntFlag):
    """What a dossier contributes to one period: the column assessment_period.bits."""

    MEMBER = 1  # counted in the denominator
    ON_TIME = 2  # counted in the numerator
    DONE = 4  # ended by the period's end (or by now)
    UNDETERMINED = 8  # no appointment and no known maximum: counted as not on time
    FROM_NATIONAL = 16
    FROM_SENT_CONFIRMED = 32
    FROM_SENT_UNCONFIRMED = 64
    FROM_PROVINCIAL = 128
    BY_MAXIMUM = 256  # held against the procedure's maximum duration, not against an appointment
    WAIT_SUBTRACTED = 512  # time of waiting for supplements was taken off the end
    HANDLED = 1024  # received in this period and done, in whichever: its handling time counts (2.2)
    RECEIVED = 1 << 11  # received in this period, not carried into it
    ONLINE = 1 << 12  # submitted online (3.3)
    RESULT_LINK = 1 << 13  # a result file (4.1)
    RESULT_CODED = 1 << 14  # an electronic result: a result file with its code (3.3)
    COMPONENT_FILE = 1 << 15  # a file among the submitted components (4.2)
    REUSED = 1 << 16  # a component was digitised or reused (4.3)
    STORE = 1 << 17  # a component came from the personal store (4.4)
    CITIZEN_DATA = 1 << 18  # VNeID, the store or the population database was used (4.5)
    PAID_ONLINE = 1 << 19  # 3.6
    FEE = 1 << 20  # a price other than 0 was asked (3.5)
    FEE_FREE = 1 << 21  # every price asked was 0 (3.6)
    COMPLAINED = 1 << 22  # a petition names it, sent before the period's end (5.4)


class Source(StrEnum):
    """Which copy counts, or why none does: the column assessment.source."""

    NATIONAL = "national"
    SENT_CONFIRMED = "sent_confirmed"
    SENT_UNCONFIRMED = "sent_unconfirmed"
    PROVINCIAL = "provincial"
    NO_COPY = "no_copy"
    ABSENT = "absent"
    CANCELLED = "cancelled"
    NOT_RECEIVED = "not_received"
    NOT_YET_RECEIVED = "not_yet_received"


class Reason(StrEnum):
    """What the judgement of a period rests on: the column assessment_period.reason."""

    FINISHED = "finished"
    RETURNED = "returned"
    CLOSED = "closed"
    ENDED_WITHOUT_TIME = "ended_without_time"
    RUNNING = "running"
    SUPPLEMENT_ONCE = "supplement_once"
    SUPPLEMENT_REPEATED = "supplement_repeated"
    NO_PROCEDURE = "no_procedure"
    NO_MAXIMUM = "no_maximum"


COUNTED = frozenset({Source.NATIONAL, Source.SENT_CONFIRMED, Source.SENT_UNCONFIRMED, Source.PROVINCIAL})
"""Sources with which a dossier is counted; with any other it belongs to no period."""

RULES = "Mô tả công thức tính chỉ số 766, chỉ số"
"""The document that the sentences cite (its author and force are not verified: indicators.md, head)."""

RULE_2_1 = f"{RULES} 2.1"
RULE_5_4 = f"{RULES} 5.4"

_SOURCES: dict[Source, tuple[str, str]] = {
    Source.NATIONAL: (
        "Tính theo bản ghi mà Cổng Dịch vụ công quốc gia đang hiển thị.",
        "Số liệu của Bộ chỉ số 766 lấy từ Cổng Dịch vụ công quốc gia",
    ),
    Source.SENT_CONFIRMED: (
        "Tính theo bản tin tỉnh đã gửi; tra cứu xác nhận Cổng Dịch vụ công quốc gia có hồ sơ này.",
        "Số liệu của Bộ chỉ số 766 lấy từ Cổng Dịch vụ công quốc gia",
    ),
    Source.SENT_UNCONFIRMED: (
        "Tính theo bản tin tỉnh đã gửi; chưa tra cứu được trên Cổng Dịch vụ công quốc gia.",
        "Số liệu của Bộ chỉ số 766 lấy từ Cổng Dịch vụ công quốc gia",
    ),
    Source.PROVINCIAL: (
        "Tính theo bản ghi của Hệ thống thông tin giải quyết thủ tục hành chính cấp tỉnh.",
        "Cách tính đối chiếu của tỉnh",
    ),
    Source.NO_COPY: (
        "Không tính: nguồn dùng để tính chưa có bản ghi nào cho biết đủ trạng thái và ngày tiếp nhận của hồ sơ.",
        "Số liệu của Bộ chỉ số 766 lấy từ Cổng Dịch vụ công quốc gia",
    ),
    Source.ABSENT: (
        "Không tính: tra cứu cho thấy Cổng Dịch vụ công quốc gia không có hồ sơ này.",
        "Số liệu của Bộ chỉ số 766 lấy từ Cổng Dịch vụ công quốc gia",
    ),
    Source.CANCELLED: ("Không tính: hồ sơ đã bị hủy đồng bộ.", "Giao thức đồng bộ hồ sơ với Cổng quốc gia"),
    Source.NOT_RECEIVED: ("Không tính: hồ sơ không có ngày tiếp nhận.", RULE_2_1),
    Source.NOT_YET_RECEIVED: ("Chưa tính: ngày tiếp nhận còn ở phía trước.", RULE_2_1),
}

# {verdict} "đúng hạn" | "quá hạn"; {end} the end that is compared; {limit} what it is compared with.
_REASONS: dict[Reason, str] = {
    Reason.FINISHED: "Tính là {verdict}: xử lý xong lúc {end}{waited}, {limit}.",
    Reason.RETURNED: "Tính là {verdict}: trả kết quả lúc {end}{waited}, {limit}.",
    Reason.CLOSED: "Tính là {verdict}: dừng xử lý, từ chối hoặc rút hồ sơ lúc {end}, {limit}.",
    Reason.ENDED_WITHOUT_TIME: (
        "Tính là {verdict}: hồ sơ đã kết thúc nhưng không có thời điểm kết thúc nên lấy cuối kỳ"
        " (kỳ đang chạy: thời điểm hiện tại){waited}, {limit}."
    ),
    Reason.RUNNING: (
        "Tính là {verdict}: chưa kết thúc nên lấy cuối kỳ (kỳ đang chạy: thời điểm hiện tại), {limit}."
    ),
    Reason.SUPPLEMENT_ONCE: (
        "Tính là {verdict}: chưa có kết quả, đã yêu cầu bổ sung một lần lúc {end}; lấy thời điểm đó, {limit}."
    ),
    Reason.SUPPLEMENT_REPEATED: (
        "Tính là quá hạn: chưa có kết quả mà đã yêu cầu bổ sung từ hai lần trở lên."
    ),
    Reason.NO_PROCEDURE: (
        "Tính vào tổng số nhưng không tính đúng hạn: không có ngày hẹn trả, và hồ sơ không ghi mã thủ tục"
        " để biết thời hạn giải quyết tối đa."
    ),
    Reason.NO_MAXIMUM: (
        "Tính vào tổng số nhưng không tính đúng hạn: không có ngày hẹn trả, và chưa biết thời hạn giải quyết"
        " tối đa của thủ tục trong Cơ sở dữ liệu quốc gia."
    ),
}


@dataclass(frozen=True, slots=True)
class Explanation:
    """vi: one sentence. citation: the document it rests on."""

    vi: str
    citation: str


def explain_source(source: str) -> Explanation:
    """A value of assessment.source → which copy counts, or why the dossier does not. ValueError: none
    such."""
    return Explanation(*_SOURCES[Source(source)])


def explain(reason: str, bits: int, end_at: datetime | None, deadline_at: datetime | None) -> Explanation:
    """A row of assessment_period → why the dossier counts as it does. ValueError: no such reason.

    end_at: the end after the rules; null where the period's end, or now, was taken. deadline_at: the
    appointment, or what the procedure's maximum duration gives.
    """
    on_time = bool(bits & Bit.ON_TIME)
    limit = "không có hạn để so"
    if deadline_at is not None:
        limit = f"{'không muộn hơn' if on_time else 'muộn hơn'} hạn {_clock(deadline_at)}"
        if bits & Bit.BY_MAXIMUM:
            limit += " (không có ngày hẹn trả: hạn tính theo thời hạn tối đa của thủ tục)"
    sentence = _REASONS[Reason(reason)].format(
        verdict="đúng hạn" if on_time else "quá hạn",
        end="" if end_at is None else _clock(end_at),
        waited=" (đã trừ thời gian chờ bổ sung)" if bits & Bit.WAIT_SUBTRACTED else "",
        limit=limit,
    )
    return Explanation(sentence, RULE_2_1)


def explain_satisfaction(bits: int) -> Explanation:
    """Whether a dossier counts as satisfying in a period (5.4), and why. Lateness is told by explain()."""
    reasons = [
        told
        for told, holds in (
            ("không tính được là đúng hạn", not bits & Bit.ON_TIME),
            ("bị phản ánh, kiến nghị trước khi kỳ kết thúc", bits & Bit.COMPLAINED),
        )
        if holds
    ]
    sentence = "Tính là hài lòng: đúng hạn và không bị phản ánh, kiến nghị."
    if reasons:
        once = " (chỉ trừ một lần)" if len(reasons) > 1 else ""
        sentence = f"Không tính là hài lòng: {' và '.join(reasons)}{once}."
    return Explanation(sentence, RULE_5_4)


def _clock(moment: datetime) -> str:
    return f"{moment.astimezone(TZ):%H:%M ngày %d/%m/%Y}"
