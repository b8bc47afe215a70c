"""The rules by which the copies of a dossier are compared: one ordered table. Pure.

Each rule says FOUND, CLEAR or UNKNOWN. Rules of one group stand in order, the special case before the
general one: the first that is not CLEAR ends the group, so one cause is told once, and a special case that
cannot be told from the general one raises neither. What is not known never makes a finding.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from services.reconcile import judge, sieves
from services.reconcile.copies import Copy
from services.reconcile.judge import Case, Verdict
from shared.calendar import TZ
from shared.vocabulary import STATUS_NAMES, DossierStatus, Known, Portal

Responsible = Literal["unit", "department", "vnpt", "centre"]
RESPONSIBLE_NAMES: dict[str, str] = {
    "unit": "Đơn vị xử lý hồ sơ",
    "department": "Sở, ban, ngành quản lý lĩnh vực",
    "vnpt": "VNPT (đơn vị vận hành hệ thống, đồng bộ dữ liệu)",
    "centre": "Trung tâm Phục vụ hành chính công và Kiểm soát thủ tục hành chính",
}
PORTAL_NAMES: dict[Portal, str] = {
    Portal.PROVINCIAL: "hệ thống một cửa của tỉnh",
    Portal.SENT: "dữ liệu tỉnh đã gửi lên quốc gia",
    Portal.NATIONAL: "Cổng Dịch vụ công quốc gia",
}


@dataclass(frozen=True, slots=True)
class Rule:
    """One line of the table.

    looks_at: "dossier" (is it there at all), "copy" (each by itself), "pair" (two copies), "officer" (the copy
    that makes the officer public). reads: the Copy field whose values are told. unknown: what not knowing
    means, in words. clock: which part's version says whether the receiving side could have known ("status":
    the newest step counts too). sieve: which dossiers a full comparison has to judge for this rule (sieves.py).
    responsible: of a copy beyond the province it is the synchronisation.
    """

    kind: str
    group: str
    looks_at: Literal["dossier", "copy", "pair", "officer"]
    title: str
    sentence: str
    unknown: str
    responsible: Responsible
    source: str
    judge: Callable[[Case], Verdict]
    sieve: str
    reads: str
    clock: Literal["head", "status"] = "head"


_END_UNKNOWN = "Một bản không cho biết ngày kết thúc, ngày tiếp nhận hoặc trạng thái: không kết luận."
_IMPOSSIBLE = " OR ".join(
    (
        sieves.DATES_IMPOSSIBLE,
        sieves.lacks_in_state("received_at", Known.RECEIVED_AT, judge.NEEDS_RECEIPT),
        sieves.lacks_in_state("finished_at", Known.FINISHED_AT, judge.NEEDS_END),
    )
)
_FIELD_UNKNOWN = "Một trong hai bản không cho biết trường này: không kết luận."
RULES: tuple[Rule, ...] = (
    Rule(
        kind="possible_duplicate",
        group="national",
        looks_at="dossier",
        title="Có thể là một hồ sơ mang hai mã",
        sentence="Hồ sơ tiếp nhận {a} theo {a_portal} chưa có trên Cổng DVCQG; hồ sơ mã {twin} chỉ có phía quốc gia, "
        "cùng thủ tục, đơn vị và thời điểm tiếp nhận: đề nghị kiểm tra có phải một hồ sơ mang hai mã.",
        unknown="Chưa tra cứu mã hồ sơ trên Cổng DVCQG, hoặc có nhiều hồ sơ cùng khớp: không kết luận.",
        responsible="vnpt",
        source="R11; portals.md §1.9 (4)",
        judge=judge.possible_duplicate,
        sieve=sieves.PROVED_ABSENT,
        reads="received_at",
    ),
    Rule(
        kind="missing_on_national",
        group="national",
        looks_at="dossier",
        title="Hồ sơ chưa có trên Cổng DVCQG",
        sentence="Hồ sơ đã tiếp nhận {a} theo {a_portal} nhưng Cổng Dịch vụ công quốc gia không có.",
        unknown="Chưa tra cứu mã hồ sơ trên Cổng DVCQG, hoặc không rõ ngày tiếp nhận: không kết luận.",
        responsible="vnpt",
        source="R11; portals.md §1.3, §1.9 (10); architecture.md §4",
        judge=judge.missing_on_national,
        sieve=sieves.PROVED_ABSENT,
        reads="received_at",
    ),
    Rule(
        kind="missing_on_provincial",
        group="provincial",
        looks_at="dossier",
        title="Hồ sơ không có trên hệ thống một cửa của tỉnh",
        sentence="Hồ sơ tiếp nhận {a} theo {a_portal} nhưng hệ thống một cửa của tỉnh không có.",
        unknown="Hệ thống một cửa chưa được đọc đầy đủ đến thời điểm cần thiết: không kết luận.",
        responsible="unit",
        source="R11; portals.md §1.9 (4); architecture.md §4",
        judge=judge.missing_on_provincial,
        sieve=sieves.NOT_AT_HOME,
        reads="received_at",
    ),
    Rule(
        kind="impossible_record",
        group="record",
        looks_at="copy",
        title="Số liệu hồ sơ không thể có",
        sentence="{A_portal} ghi: {problems} (ngày kết thúc: {a}).",
        unknown="Bản này không cho biết trạng thái, ngày tiếp nhận hoặc ngày kết thúc: không kết luận.",
        responsible="unit",
        source="R4, R11; portals.md §1.9 (15)",
        judge=judge.impossible_record,
        sieve=_IMPOSSIBLE,
        reads="finished_at",
    ),
    Rule(
        kind="status_overwritten",
        group="status",
        looks_at="pair",
        title="Trạng thái bị ghi đè thành “Đã xử lý xong”",
        sentence="{A_portal} ghi “{a}” nhưng {b_portal} ghi “{b}”: trạng thái bị ghi đè trước khi gửi.",
        unknown=_FIELD_UNKNOWN,
        responsible="vnpt",
        source="R4, R11; portals.md §1.9 (1)",
        judge=judge.status_overwritten,
        sieve=sieves.STATES_DIFFER,
        reads="status",
        clock="status",
    ),
    Rule(
        kind="status_differs",
        group="status",
        looks_at="pair",
        title="Trạng thái hồ sơ khác nhau",
        sentence="{A_portal} ghi trạng thái “{a}”, {b_portal} ghi “{b}”.",
        unknown=_FIELD_UNKNOWN,
        responsible="vnpt",
        source="R11; portals.md §1.6",
        judge=judge.status_differs,
        sieve=sieves.STATES_DIFFER,
        reads="status",
        clock="status",
    ),
    Rule(
        kind="appointment_missing",
        group="appointment",
        looks_at="pair",
        title="Thiếu ngày hẹn trả",
        sentence="{A_portal} hẹn trả {a} nhưng {b_portal} không có ngày hẹn trả.",
        unknown=_FIELD_UNKNOWN,
        responsible="vnpt",
        source="R4, R11; portals.md §1.9 (3, 11)",
        judge=judge.appointment_missing,
        sieve=sieves.APPOINTMENTS_DIFFER,
        reads="due_at",
    ),
    Rule(
        kind="appointment_invented",
        group="appointment",
        looks_at="pair",
        title="Ngày hẹn trả do phần mềm tự điền",
        sentence="{A_portal} không có ngày hẹn trả, {b_portal} ghi {b}: sau thời điểm tiếp nhận, cập nhật hoặc gửi "
        "đúng một ngày, là dạng phần mềm tự điền.",
        unknown=_FIELD_UNKNOWN,
        responsible="vnpt",
        source="R4, R11; portals.md §1.9 (13)",
        judge=judge.appointment_invented,
        sieve=sieves.APPOINTMENTS_DIFFER,
        reads="due_at",
    ),
    Rule(
        kind="appointment_differs",
        group="appointment",
        looks_at="pair",
        title="Ngày hẹn trả khác nhau",
        sentence="{A_portal} hẹn trả {a}, {b_portal} hẹn trả {b}.",
        unknown=_FIELD_UNKNOWN,
        responsible="vnpt",
        source="R4, R11; portals.md §1.9 (11)",
        judge=judge.appointment_differs,
        sieve=sieves.APPOINTMENTS_DIFFER,
        reads="due_at",
    ),
    Rule(
        kind="end_stamped_as_receipt",
        group="end",
        looks_at="pair",
        title="Ngày kết thúc bị ghi bằng ngày tiếp nhận",
        sentence="{A_portal} kết thúc xử lý {a}, {b_portal} ghi {b}, trùng ngày tiếp nhận.",
        unknown=_END_UNKNOWN,
        responsible="vnpt",
        source="R11; portals.md §1.9 (2)",
        judge=judge.end_stamped_as_receipt,
        sieve=sieves.ENDS_DIFFER,
        reads="finished_at",
    ),
    Rule(
        kind="processing_date_is_push_time",
        group="end",
        looks_at="pair",
        title="Ngày kết thúc bị ghi bằng thời điểm gửi",
        sentence="{A_portal} kết thúc xử lý {a}, {b_portal} ghi {b}, trùng thời điểm gửi dữ liệu.",
        unknown=_END_UNKNOWN,
        responsible="vnpt",
        source="R4, R11; portals.md §1.9 (14)",
        judge=judge.processing_date_is_push_time,
        sieve=sieves.ENDS_DIFFER,
        reads="finished_at",
    ),
    Rule(
        kind="end_differs",
        group="end",
        looks_at="pair",
        title="Ngày kết thúc xử lý khác nhau",
        sentence="{A_portal} kết thúc xử lý {a}, {b_portal} ghi {b}.",
        unknown=_END_UNKNOWN,
        responsible="vnpt",
        source="R4, R11; portals.md §1.9 (2, 14)",
        judge=judge.end_differs,
        sieve=sieves.ENDS_DIFFER,
        reads="finished_at",
    ),
    Rule(
        kind="procedure_differs",
        group="procedure",
        looks_at="pair",
        title="Mã thủ tục hành chính khác nhau",
        sentence="{A_portal} ghi thủ tục {a}, {b_portal} ghi thủ tục {b}.",
        unknown=_FIELD_UNKNOWN,
        responsible="vnpt",
        source="R11; portals.md §4, §5",
        judge=judge.procedure_differs,
        sieve=sieves.values_differ("procedure_code", Known.PROCEDURE),
        reads="procedure_code",
    ),
    Rule(
        kind="unit_differs",
        group="unit",
        looks_at="pair",
        title="Đơn vị xử lý khác nhau",
        sentence="{A_portal} ghi đơn vị xử lý {a}, {b_portal} ghi {b}.",
        unknown="Đơn vị của một trong hai bản chưa xác định được (hoặc chỉ suy từ mã hồ sơ): không kết luận.",
        responsible="vnpt",
        source="R11; portals.md §1.4 (DonViXuLy là tên), architecture.md §4",
        judge=judge.unit_differs,
        sieve=sieves.UNITS_DIFFER,
        reads="unit_code",
    ),
    Rule(
        kind="result_is_submitted_file",
        group="result",
        looks_at="copy",
        title="Tệp kết quả trùng với tệp người dân đã nộp",
        sentence="{A_portal} ghi tệp kết quả là chính tệp thành phần hồ sơ đã nộp: hồ sơ không có kết quả điện tử.",
        unknown="Bản này không có đủ liên kết tệp đã nộp và tệp kết quả: không kết luận.",
        responsible="unit",
        source="R4, R11; portals.md §1.9 (8)",
        judge=judge.result_is_submitted_file,
        sieve=sieves.RESULT_IS_SUBMITTED,
        reads="result_is_submitted",
    ),
    Rule(
        kind="cash_counted_online",
        group="payment",
        looks_at="pair",
        title="Phí, lệ phí thu bằng cách khác bị ghi là thanh toán trực tuyến",
        sentence="{A_portal} ghi {a}, {b_portal} ghi {b}.",
        unknown="Một trong hai bản không cho biết cách thanh toán: không kết luận.",
        responsible="vnpt",
        source="R4, R11; portals.md §1.9 (9)",
        judge=judge.cash_counted_online,
        sieve=sieves.CASH_AS_ONLINE,
        reads="payment",
    ),
    Rule(
        kind="officer_missing",
        group="officer",
        looks_at="officer",
        title="Thiếu tên cán bộ, công chức thụ lý",
        sentence="Bước xử lý mới nhất trong {b_portal} không có tên cán bộ, công chức thụ lý (ghi: {b}).",
        unknown="Chưa có bước xử lý nào được công khai: không kết luận.",
        responsible="unit",
        source="R4 (45/VPUB); portals.md §1.5",
        judge=judge.officer_missing,
        sieve=sieves.text_judged("officer", Known.OFFICER, "names"),
        reads="officer",
    ),
    Rule(
        kind="officer_title_missing",
        group="officer",
        looks_at="officer",
        title="Thiếu chức danh cán bộ, công chức thụ lý",
        sentence="Bước xử lý mới nhất trong {b_portal} không có chức danh của cán bộ, công chức thụ lý.",
        unknown="Chưa có bước xử lý nào được công khai, hoặc bản tin không có chức danh: không kết luận.",
        responsible="unit",
        source="R4 (45/VPUB); portals.md §1.5",
        judge=judge.officer_title_missing,
        sieve=sieves.text_judged("officer_title", Known.OFFICER_TITLE, "titles"),
        reads="officer_title",
    ),
)


_TEXTS: dict[str, dict[object, str]] = {
    "result_is_submitted": {True: "tệp kết quả là tệp đã nộp", False: "tệp kết quả riêng"},
    "payment": {"online": "đã thanh toán trực tuyến", "otherwise": "đã thanh toán bằng cách khác"},
}


def read(rule: Rule, copy: Copy) -> object:
    """The value that a rule tells of a copy, ready for JSON (moments as ISO texts in Việt Nam time)."""
    value = copy.effective_status if rule.reads == "status" else getattr(copy, rule.reads)
    return value.astimezone(TZ).isoformat() if isinstance(value, datetime) else value


def show(rule: Rule, copy: Copy) -> str:
    """The same value as an officer reads it."""
    value = copy.effective_status if rule.reads == "status" else getattr(copy, rule.reads)
    if isinstance(value, datetime):
        return value.astimezone(TZ).strftime("%d/%m/%Y %H:%M")
    if rule.reads == "status" and value in set(DossierStatus):
        return f"{int(value)} - {STATUS_NAMES[DossierStatus(value)]}"
    if rule.reads == "unit_code":
        return f"{copy.unit_name} ({value})" if copy.unit_name else str(value)
    if rule.reads in _TEXTS:
        return _TEXTS[rule.reads].get(value, "trống")
    return str(value) if value else "trống"
