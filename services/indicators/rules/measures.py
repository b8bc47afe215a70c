"""Measures, each declared once: the count, the list of dossiers behind it and the explanation come from
here. Pure.

What they ask of a dossier is declared in shared/dossier_components.py, where its reasons are told too.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Literal, NamedTuple

from shared.dossier_components import COUNTS, DOSSIER_COMPONENTS, Count
from shared.vocabulary import ProcedureFact

SUMS = ("elapsed_seconds", "working_seconds")
"""The columns of `tally` that add up what each dossier has in the same column of assessment_period (2.2)."""

COLUMNS = (*COUNTS, *SUMS)


def added(bits: int, *sums: int | None) -> tuple[int, ...]:
    """What one dossier adds to each of COLUMNS."""
    return (*counts_of(bits), *(each or 0 for each in sums))


@lru_cache(maxsize=65_536)  # of all combinations of bits only some dozens occur
def counts_of(bits: int) -> tuple[int, ...]:
    """What one dossier adds to each column of COUNTS."""
    return tuple(int(condition.holds(bits)) for condition in COUNTS.values())


Part = Literal["numerator", "shortfall"]
Origin = Literal["tally", "petitions", "catalogue", "reports"]


class Measure(NamedTuple):
    """The shortfall is what the denominator has and the numerator has not. period_date: the date by which a subject
    falls into a period. why: {numerator}, {denominator}, {ratio} in percent, {points}, {max} are filled in. origin:
    what its figures are counted from (petitions: rules/petitions.py; catalogue: rules/catalogue.py; reports: dossiers,
    held against a number that somebody reported)."""

    component: str
    group: str
    subject: Literal["dossier", "procedure", "petition"]
    numerator: Count
    denominator: Count
    period_date: str
    why: str
    why_empty: str
    origin: Origin = "tally"


_MEMBERSHIP = "Tiếp nhận trước khi kỳ kết thúc và chưa kết thúc trước khi kỳ bắt đầu"
_RECEIPT = "Tiếp nhận trong kỳ"
_NOBODY = "Không có hồ sơ nào thuộc diện tính trong kỳ này, nên {given}."

PROGRESS_ON_TIME = Measure(
    component="2.1",
    group="progress",
    subject="dossier",
    numerator=DOSSIER_COMPONENTS["2.1"].numerator,
    denominator=DOSSIER_COMPONENTS["2.1"].denominator,
    period_date=_MEMBERSHIP,
    why=(
        "{numerator} trên {denominator} hồ sơ được xử lý trước hạn hoặc đúng hạn ({ratio} %),"
        " đạt {points} trên {max} điểm."
    ),
    why_empty="Không có hồ sơ nào thuộc kỳ này, nên {given}.",
)

AVERAGE_TIME = Measure(
    component="2.2",
    group="progress",
    subject="dossier",
    numerator=DOSSIER_COMPONENTS["2.2"].numerator,
    denominator=DOSSIER_COMPONENTS["2.2"].denominator,
    period_date="Tiếp nhận trong kỳ; kết thúc có thể ở kỳ khác",
    why=(
        "{denominator} hồ sơ tiếp nhận trong kỳ đã có kết quả; thời gian giải quyết trung bình tính"
        " riêng cho từng thủ"
        " tục, theo đơn vị thời gian của thủ tục đó. Chỉ để tham khảo, không tính điểm."
    ),
    why_empty="Chưa có hồ sơ nào tiếp nhận trong kỳ này có kết quả, nên chưa có thời gian trung bình.",
)

ONLINE_SUBMISSION = Measure(
    component="3.3",
    group="online-service",
    subject="dossier",
    numerator=DOSSIER_COMPONENTS["3.3"].numerator,
    denominator=DOSSIER_COMPONENTS["3.3"].denominator,
    period_date=_RECEIPT,
    why=(
        "{numerator} trên {denominator} hồ sơ tiếp nhận trong kỳ được nộp trực tuyến, và có kết quả"
        " điện tử nếu thủ tục có"
        " giấy tờ kết quả ({ratio} %), đạt {points} trên {max} điểm."
    ),
    why_empty=_NOBODY,
)

PAYMENT_INTEGRATED = Measure(
    component="3.5",
    group="online-payment",
    subject="procedure",
    numerator=Count("fee_asked", of=ProcedureFact.FEE, procedures=True),
    denominator=Count("received", of=ProcedureFact.FEE, procedures=True),
    period_date=_RECEIPT,
    why=(
        "{numerator} trên {denominator} thủ tục có phí, lệ phí và có hồ sơ trong kỳ có hồ sơ thu phí"
        " ({ratio} %), đạt {points}"
        " trên {max} điểm."
    ),
    why_empty="Không có thủ tục có phí nào có hồ sơ trong kỳ này, nên {given}.",
)

PAYMENT_TRANSACTION = Measure(
    component="3.5b",
    group="online-payment",
    subject="procedure",
    numerator=Count("paid_online", of=ProcedureFact.FEE, procedures=True),
    denominator=Count("fee_not_free", of=ProcedureFact.FEE, procedures=True),
    period_date=_RECEIPT,
    why=(
        "{numerator} trên {denominator} thủ tục có hồ sơ thu phí có giao dịch thanh toán trực tuyến"
        " thành công ({ratio} %),"
        " đạt {points} trên {max} điểm."
    ),
    why_empty="Không có thủ tục nào có hồ sơ thu phí trong kỳ này, nên {given}.",
)

PAYMENT_DOSSIER = Measure(
    component="3.6",
    group="online-payment",
    subject="dossier",
    numerator=DOSSIER_COMPONENTS["3.6"].numerator,
    denominator=DOSSIER_COMPONENTS["3.6"].denominator,
    period_date=_RECEIPT,
    why=(
        "{numerator} trên {denominator} hồ sơ có nghĩa vụ tài chính đã thanh toán trực tuyến"
        " ({ratio} %), đạt {points} trên"
        " {max} điểm."
    ),
    why_empty="Không có hồ sơ nào có nghĩa vụ tài chính trong kỳ này, nên {given}.",
)

ELECTRONIC_RESULT = Measure(
    component="4.1",
    group="digitisation",
    subject="dossier",
    numerator=DOSSIER_COMPONENTS["4.1"].numerator,
    denominator=DOSSIER_COMPONENTS["4.1"].denominator,
    period_date=_MEMBERSHIP,
    why="{numerator} trên {denominator} hồ sơ có kết quả điện tử ({ratio} %), đạt {points} trên {max} điểm.",
    why_empty=_NOBODY,
)

DIGITISED = Measure(
    component="4.2",
    group="digitisation",
    subject="dossier",
    numerator=DOSSIER_COMPONENTS["4.2"].numerator,
    denominator=DOSSIER_COMPONENTS["4.2"].denominator,
    period_date=_MEMBERSHIP,
    why=(
        "{numerator} trên {denominator} hồ sơ có tệp thành phần, và có tệp kết quả nếu thủ tục có"
        " giấy tờ kết quả ({ratio} %),"
        " đạt {points} trên {max} điểm."
    ),
    why_empty=_NOBODY,
)

DATA_REUSED = Measure(
    component="4.3",
    group="digitisation",
    subject="dossier",
    numerator=DOSSIER_COMPONENTS["4.3"].numerator,
    denominator=DOSSIER_COMPONENTS["4.3"].denominator,
    period_date=_MEMBERSHIP,
    why=(
        "{numerator} trên {denominator} hồ sơ có thành phần được số hóa hoặc sử dụng lại ({ratio}"
        " %), đạt {points} trên {max}"
        " điểm."
    ),
    why_empty=_NOBODY,
)

PERSONAL_STORE = Measure(
    component="4.4",
    group="digitisation",
    subject="dossier",
    numerator=DOSSIER_COMPONENTS["4.4"].numerator,
    denominator=DOSSIER_COMPONENTS["4.4"].denominator,
    period_date=_MEMBERSHIP,
    why=(
        "{numerator} trên {denominator} hồ sơ có giấy tờ lấy từ Kho dữ liệu điện tử của tổ chức, cá"
        " nhân ({ratio} %), đạt"
        " {points} trên {max} điểm. Chưa tính được hồ sơ có kết quả đẩy vào kho: bản tin không cho biết."
    ),
    why_empty=_NOBODY,
)

CITIZEN_DATA = Measure(
    component="4.5b",
    group="digitisation",
    subject="dossier",
    numerator=DOSSIER_COMPONENTS["4.5b"].numerator,
    denominator=DOSSIER_COMPONENTS["4.5b"].denominator,
    period_date=_MEMBERSHIP,
    why=(
        "{numerator} trên {denominator} hồ sơ dùng dữ liệu dân cư (VNeID, kho dữ liệu hoặc CSDL quốc"
        " gia về dân cư, {ratio} %),"
        " đạt {points} trên {max} điểm."
    ),
    why_empty=_NOBODY,
)

CITIZEN_DATA_PROCEDURES = Measure(
    component="4.5a",
    group="digitisation",
    subject="procedure",
    numerator=Count("citizen_data", of=ProcedureFact.PEOPLE, procedures=True),
    denominator=Count("dossiers", of=ProcedureFact.PEOPLE, procedures=True),
    period_date=_MEMBERSHIP,
    why=(
        "{numerator} trên {denominator} thủ tục có đối tượng là cá nhân và có hồ sơ trong kỳ có hồ"
        " sơ dùng dữ liệu dân cư"
        " ({ratio} %), đạt {points} trên {max} điểm."
    ),
    why_empty="Không có thủ tục nào thuộc diện tính trong kỳ này, nên {given}.",
)

_FIRST_RECEIPT = "Tiếp nhận lần đầu trong kỳ; chưa tiếp nhận thì theo ngày gửi"

DOSSIER_SATISFIED = Measure(
    component="5.4",
    group="satisfaction",
    subject="dossier",
    numerator=DOSSIER_COMPONENTS["5.4"].numerator,
    denominator=DOSSIER_COMPONENTS["5.4"].denominator,
    period_date=_MEMBERSHIP,
    why=(
        "{numerator} trên {denominator} hồ sơ đúng hạn và không bị phản ánh, kiến nghị ({ratio} %), đạt {points} trên"
        " {max} điểm. Hồ sơ vừa quá hạn vừa bị phản ánh chỉ trừ một lần."
    ),
    why_empty=_NOBODY,
)

PETITION_ON_TIME = Measure(
    component="5.2",
    group="satisfaction",
    subject="petition",
    numerator=Count("petitions_on_time"),
    denominator=Count("petitions"),
    period_date=_FIRST_RECEIPT,
    why=(
        "{numerator} trên {denominator} phản ánh, kiến nghị được xử lý đúng hạn ({ratio} %),"
        " đạt {points} trên {max} điểm."
    ),
    why_empty="Không có phản ánh, kiến nghị nào trong kỳ này, nên {given}.",
    origin="petitions",
)

PETITION_SATISFIED = Measure(
    component="5.3",
    group="satisfaction",
    subject="petition",
    numerator=Count("petitions_satisfied"),
    denominator=Count("petitions"),
    period_date=_FIRST_RECEIPT,
    why=(
        "{numerator} trên {denominator} phản ánh, kiến nghị không quá hạn, không bị đánh giá không hài lòng và không"
        " phải gửi lại ({ratio} %), đạt {points} trên {max} điểm."
    ),
    why_empty="Không có phản ánh, kiến nghị nào trong kỳ này, nên {given}.",
    origin="petitions",
)

PETITION_KINDS = Measure(
    component="5.1",
    group="satisfaction",
    subject="petition",
    numerator=Count("petitions_on_procedures"),
    denominator=Count("petitions"),
    period_date=_FIRST_RECEIPT,
    why=(
        "{denominator} phản ánh, kiến nghị trong kỳ: {procedure} về thủ tục hành chính, {staff} về hành vi của cán bộ,"
        " {other} loại khác. Chỉ để tham khảo, không tính điểm."
    ),
    why_empty="Không có phản ánh, kiến nghị nào trong kỳ này.",
    origin="petitions",
)

_NOW = "Theo Cơ sở dữ liệu quốc gia về thủ tục hành chính hiện nay, không theo kỳ"

ANNOUNCED_ON_TIME = Measure(
    component="1.1",
    group="transparency",
    subject="procedure",
    numerator=Count("announced_on_time", procedures=True),
    denominator=Count("announced", procedures=True),
    period_date="Ngày của quyết định công bố",
    why=(
        "{numerator} trên {denominator} thủ tục do tỉnh quyết định công bố trong kỳ được công bố đúng hạn ({ratio} %),"
        " đạt {points} trên {max} điểm. Đơn vị trực thuộc lấy số của tỉnh."
    ),
    why_empty="Tỉnh không quyết định công bố thủ tục nào trong kỳ này, nên {given}.",
    origin="catalogue",
)

PUBLISHED_ON_TIME = Measure(
    component="1.2",
    group="transparency",
    subject="procedure",
    numerator=Count("made_public_on_time", procedures=True),
    denominator=Count("made_public", procedures=True),
    period_date="Ngày công khai, hoặc ngày phải công khai, nằm trong kỳ",
    why=(
        "{numerator} trên {denominator} thủ tục do tỉnh quyết định công bố được công khai đúng hạn ({ratio} %), đạt"
        " {points} trên {max} điểm. Đơn vị trực thuộc lấy số của tỉnh."
    ),
    why_empty="Tỉnh không có thủ tục nào phải công khai trong kỳ này, nên {given}.",
    origin="catalogue",
)

CONTENT_COMPLETE = Measure(
    component="1.3",
    group="transparency",
    subject="procedure",
    numerator=Count("complete", procedures=True),
    denominator=Count("own", procedures=True),
    period_date=_NOW,
    why=(
        "{numerator} trên {denominator} thủ tục do tỉnh quyết định công bố và đang công khai có đủ các bộ phận tạo"
        " thành ({ratio} %), đạt {points} trên {max} điểm. Đơn vị trực thuộc lấy số của tỉnh."
    ),
    why_empty="Tỉnh không có thủ tục nào tự quyết định công bố đang công khai, nên {given}.",
    origin="catalogue",
)

DOSSIER_SYNC = Measure(
    component="1.4",
    group="transparency",
    subject="dossier",
    numerator=DOSSIER_COMPONENTS["1.4"].numerator,
    denominator=Count("to_be_synced"),
    period_date=_RECEIPT,
    why=(
        "Cổng Dịch vụ công quốc gia có {numerator} hồ sơ tiếp nhận trong kỳ trên {denominator} hồ sơ ({ratio} %), đạt"
        " {points} trên {max} điểm."
    ),
    why_empty="Không có hồ sơ nào tiếp nhận trong kỳ này, nên {given}.",
    origin="reports",
)

PROVIDED_ONLINE = Measure(
    component="3.1",
    group="online-service",
    subject="procedure",
    numerator=Count("offered_online", procedures=True),
    denominator=Count("in_competence", procedures=True),
    period_date=_NOW,
    why=(
        "{numerator} trên {denominator} thủ tục thuộc thẩm quyền có dịch vụ công trực tuyến một phần hoặc toàn trình"
        " ({ratio} %), đạt {points} trên {max} điểm."
    ),
    why_empty="Không có thủ tục nào thuộc thẩm quyền của đơn vị, nên {given}.",
    origin="catalogue",
)

ONLINE_SERVICE_USED = Measure(
    component="3.2",
    group="online-service",
    subject="procedure",
    numerator=Count("online_services_used", procedures=True),
    denominator=Count("online_services", procedures=True),
    period_date="Hồ sơ nộp trực tuyến được tiếp nhận trong kỳ; dịch vụ công trực tuyến theo danh sách hiện nay",
    why=(
        "{numerator} trên {denominator} dịch vụ công trực tuyến của đơn vị có hồ sơ nộp trực tuyến trong kỳ"
        " ({ratio} %), đạt {points} trên {max} điểm."
    ),
    why_empty="Đơn vị không có dịch vụ công trực tuyến nào, nên {given}.",
    origin="catalogue",
)

MEASURES: dict[str, Measure] = {
    measure.component: measure
    for measure in (
        PROGRESS_ON_TIME,
        AVERAGE_TIME,
        ONLINE_SUBMISSION,
        PAYMENT_INTEGRATED,
        PAYMENT_TRANSACTION,
        PAYMENT_DOSSIER,
        ELECTRONIC_RESULT,
        DIGITISED,
        DATA_REUSED,
        PERSONAL_STORE,
        CITIZEN_DATA,
        CITIZEN_DATA_PROCEDURES,
        DOSSIER_SATISFIED,
        PETITION_ON_TIME,
        PETITION_SATISFIED,
        PETITION_KINDS,
        PROVIDED_ONLINE,
        ONLINE_SERVICE_USED,
        ANNOUNCED_ON_TIME,
        PUBLISHED_ON_TIME,
        CONTENT_COMPLETE,
        DOSSIER_SYNC,
    )
}
"""By component; only what is computed."""


_WITH: dict[str, str] = {
    "dossiers": "hồ sơ thuộc kỳ",
    "received": "hồ sơ tiếp nhận trong kỳ",
    "fee_asked": "hồ sơ tiếp nhận trong kỳ có thu phí, lệ phí",
    "fee_not_free": "hồ sơ tiếp nhận trong kỳ không được miễn phí, lệ phí",
    "paid_online": "hồ sơ đã thanh toán trực tuyến",
    "citizen_data": "hồ sơ dùng dữ liệu dân cư",
}
"""What the dossiers are by whose number a procedure is counted."""


def why_procedure(measure: Measure, part: Part, dossiers: int) -> str:
    """Why a procedure is in a part of a figure that counts procedures by their dossiers. dossiers: how many put it
    there."""
    if part == "numerator":
        return f"Đạt: có {dossiers} {_WITH[measure.numerator.column]}."
    return (
        f"Không đạt: có {dossiers} {_WITH[measure.denominator.column]}, không có thông tin là có"
        f" {_WITH[measure.numerator.column]}."
    )


def figures_of(origin: Origin) -> tuple[Count, ...]:
    """The figures of the measures that are counted from one origin, each once."""
    return tuple(
        dict.fromkeys(
            count
            for measure in MEASURES.values()
            if measure.origin == origin
            for count in (measure.numerator, measure.denominator)
        )
    )
