"""What each component asks of a dossier, declared once: the measures (services/indicators/rules/measures.py) count by
it, and the sentence that tells a reader why a dossier counts, or does not, is made from the same conditions. Pure.

A condition is a pair of masks over shared.reasons.Bit, so that PostgreSQL and Python decide it alike:
`bits & mask = value`. Rules: indicators.md §3, from an unsigned description of the 766 formulas.
"""

from __future__ import annotations

from typing import NamedTuple

from shared.reasons import RULES, Bit, Explanation, explain_satisfaction
from shared.vocabulary import Basis, ProcedureFact


class Condition(NamedTuple):
    """All bits of `having`, none of `without`."""

    having: Bit
    without: Bit = Bit(0)

    @property
    def mask(self) -> int:
        return int(self.having | self.without)

    @property
    def value(self) -> int:
        return int(self.having)

    def holds(self, bits: int) -> bool:
        return bits & self.mask == self.value


COUNTS: dict[str, Condition] = {
    "dossiers": Condition(Bit.MEMBER),
    "on_time": Condition(Bit.MEMBER | Bit.ON_TIME),
    "done": Condition(Bit.MEMBER | Bit.DONE),
    "undetermined": Condition(Bit.MEMBER | Bit.UNDETERMINED),
    "from_national": Condition(Bit.MEMBER | Bit.FROM_NATIONAL),
    "from_sent_confirmed": Condition(Bit.MEMBER | Bit.FROM_SENT_CONFIRMED),
    "from_sent_unconfirmed": Condition(Bit.MEMBER | Bit.FROM_SENT_UNCONFIRMED),
    "handled": Condition(Bit.MEMBER | Bit.HANDLED),
    "received": Condition(Bit.MEMBER | Bit.RECEIVED),
    "online": Condition(Bit.MEMBER | Bit.RECEIVED | Bit.ONLINE),
    "online_with_result": Condition(Bit.MEMBER | Bit.RECEIVED | Bit.ONLINE | Bit.RESULT_CODED),
    "with_result": Condition(Bit.MEMBER | Bit.RESULT_LINK),
    "with_component": Condition(Bit.MEMBER | Bit.COMPONENT_FILE),
    "with_both": Condition(Bit.MEMBER | Bit.COMPONENT_FILE | Bit.RESULT_LINK),
    "reused": Condition(Bit.MEMBER | Bit.REUSED),
    "from_store": Condition(Bit.MEMBER | Bit.STORE),
    "citizen_data": Condition(Bit.MEMBER | Bit.CITIZEN_DATA),
    "fee_asked": Condition(Bit.MEMBER | Bit.RECEIVED | Bit.FEE),
    "fee_not_free": Condition(Bit.MEMBER | Bit.RECEIVED, without=Bit.FEE_FREE),
    "paid_online": Condition(Bit.MEMBER | Bit.RECEIVED | Bit.PAID_ONLINE, without=Bit.FEE_FREE),
    "satisfied": Condition(Bit.MEMBER | Bit.ON_TIME, without=Bit.COMPLAINED),
    "synced": Condition(Bit.MEMBER | Bit.RECEIVED, without=Bit.FROM_SENT_UNCONFIRMED),
}
"""The columns of `tally` that count, in their order, and what each counts."""


class Count(NamedTuple):
    """A figure: the dossiers of a column of COUNTS, of the procedures that have all of `of` (procedure.facts); for
    procedures that give a result paper the column `with_result` instead, where there is one. `procedures`: not the
    dossiers are counted but the distinct procedures that have one. A measure that is not counted from the tally has
    columns of its own, of other names."""

    column: str
    with_result: str | None = None
    of: ProcedureFact = ProcedureFact(0)
    procedures: bool = False

    @property
    def plain(self) -> Condition:
        return COUNTS[self.column]

    @property
    def resulting(self) -> Condition:
        """The condition for procedures that give a result paper."""
        return COUNTS[self.with_result or self.column]

    def holds(self, bits: int, procedure: int = 0) -> bool:
        """Whether a dossier counts. procedure: bits of vocabulary.ProcedureFact of its procedure."""
        return procedure & self.of == self.of and self.condition(procedure).holds(bits)

    def condition(self, procedure: int) -> Condition:
        """The one that applies to a dossier of a procedure with these bits of vocabulary.ProcedureFact."""
        return self.resulting if procedure & ProcedureFact.RESULT else self.plain


class DossierComponent(NamedTuple):
    """A component that counts dossiers: what puts one into its denominator and into its numerator."""

    component: str
    numerator: Count
    denominator: Count

    @property
    def rule(self) -> str:
        """4.5a and 4.5b are both of 4.5."""
        return f"{RULES} {self.component.rstrip('ab')}"


_MEMBERS = Count("dossiers")
_RECEIVED = Count("received")

DOSSIER_COMPONENTS: dict[str, DossierComponent] = {
    each.component: each
    for each in (
        # Its denominator is a number that somebody reported (rules/reports.py): of a dossier it can only be told that
        # it was received in the period, and so has to be there.
        DossierComponent("1.4", Count("synced"), _RECEIVED),
        DossierComponent("2.1", Count("on_time"), _MEMBERS),
        DossierComponent("2.2", Count("handled"), Count("handled")),  # a mean has no shortfall
        DossierComponent("3.3", Count("online", with_result="online_with_result"), _RECEIVED),
        DossierComponent(
            "3.6", Count("paid_online", of=ProcedureFact.FEE), Count("fee_not_free", of=ProcedureFact.FEE)
        ),
        DossierComponent("4.1", Count("with_result"), _MEMBERS),
        DossierComponent("4.2", Count("with_component", with_result="with_both"), _MEMBERS),
        DossierComponent("4.3", Count("reused"), _MEMBERS),
        DossierComponent("4.4", Count("from_store"), _MEMBERS),
        DossierComponent("4.5b", Count("citizen_data"), _MEMBERS),
        DossierComponent("5.4", Count("satisfied"), _MEMBERS),
    )
}
"""By component."""

# A bit that is not set says that no source told it, not that somebody denied it: the words say no more.
_UNTOLD = "không có thông tin là "
_BITS: dict[Bit, tuple[str, str]] = {
    Bit.MEMBER: ("thuộc kỳ này", "không thuộc kỳ này"),
    Bit.ON_TIME: ("đúng hạn", "không tính được là đúng hạn"),
    Bit.HANDLED: (
        "tiếp nhận trong kỳ và đã có kết quả",
        "không phải hồ sơ tiếp nhận trong kỳ mà đã có kết quả",
    ),
    Bit.RECEIVED: ("tiếp nhận trong kỳ", "tiếp nhận trước kỳ này"),
    Bit.ONLINE: ("nộp trực tuyến", f"{_UNTOLD}nộp trực tuyến"),
    Bit.RESULT_LINK: ("có tệp kết quả điện tử", f"{_UNTOLD}có tệp kết quả điện tử"),
    Bit.RESULT_CODED: ("có kết quả điện tử kèm mã giấy tờ kết quả", f"{_UNTOLD}có kết quả điện tử"),
    Bit.COMPONENT_FILE: ("có tệp thành phần hồ sơ", f"{_UNTOLD}có tệp thành phần hồ sơ"),
    Bit.REUSED: (
        "có thành phần được số hóa hoặc sử dụng lại",
        f"{_UNTOLD}có thành phần được số hóa hoặc sử dụng lại",
    ),
    Bit.STORE: (
        "có giấy tờ lấy từ Kho dữ liệu điện tử của tổ chức, cá nhân",
        f"{_UNTOLD}có giấy tờ lấy từ Kho dữ liệu điện tử của tổ chức, cá nhân",
    ),
    Bit.CITIZEN_DATA: (
        "dùng dữ liệu dân cư (VNeID, kho dữ liệu hoặc CSDL quốc gia về dân cư)",
        f"{_UNTOLD}dùng dữ liệu dân cư (VNeID, kho dữ liệu hoặc CSDL quốc gia về dân cư)",
    ),
    Bit.PAID_ONLINE: ("đã thanh toán trực tuyến", f"{_UNTOLD}đã thanh toán trực tuyến"),
    Bit.FEE_FREE: (
        "không có nghĩa vụ tài chính vì mọi khoản thu đều bằng 0",
        f"{_UNTOLD}mọi khoản thu đều bằng 0",
    ),
    Bit.COMPLAINED: ("bị phản ánh, kiến nghị trước khi kỳ kết thúc", "không bị phản ánh, kiến nghị"),
    Bit.FROM_SENT_UNCONFIRMED: (
        "chưa tra cứu được trên Cổng Dịch vụ công quốc gia",
        "Cổng Dịch vụ công quốc gia có hồ sơ này",
    ),
}
"""(where it is set, where it is not)."""

_FACTS: dict[ProcedureFact, tuple[str, str]] = {
    ProcedureFact.FEE: ("thủ tục có phí, lệ phí", f"{_UNTOLD}thủ tục có phí, lệ phí"),
    ProcedureFact.RESULT: (
        "thủ tục có giấy tờ kết quả nên phải có cả kết quả điện tử",
        f"{_UNTOLD}thủ tục có giấy tờ kết quả nên không xét kết quả điện tử",
    ),
}


class Told(NamedTuple):
    """What one component says of a dossier in a period. counted: in the denominator; met: in the numerator."""

    component: str
    counted: bool
    met: bool
    sentence: str
    citation: str


def tell(component: str, bits: int, procedure: int) -> Told:
    """Whether a dossier counts in a component, and why. bits: of assessment_period; procedure: bits of
    vocabulary.ProcedureFact, 0 where the procedure is not known. KeyError: no component that counts dossiers."""
    asked = DOSSIER_COMPONENTS[component]
    counted = asked.denominator.holds(bits, procedure)
    met = counted and asked.numerator.holds(bits, procedure)
    if not counted:
        reasons = _wanting(asked.denominator, bits, procedure)
        sentence = f"Không thuộc diện tính: {'; '.join(reasons)}."
    elif asked.numerator == asked.denominator:
        sentence = f"Được tính: {'; '.join(_having(asked.numerator, None, bits, procedure))}."
    elif met:
        sentence = f"Đạt: {'; '.join(_having(asked.numerator, asked.denominator, bits, procedure))}."
    else:
        sentence = f"Không đạt: {'; '.join(_wanting(asked.numerator, bits, procedure))}."
    return Told(component, counted, met, sentence, asked.rule)


def tell_all(bits: int, procedure: int, basis: str, on_time: Explanation) -> list[Told]:
    """What every component says of a dossier in a period, on a basis. on_time: of 2.1, which knows the days
    (reasons.explain). 1.4 asks what the nation has, which the province's own records do not say."""
    found = []
    for component in DOSSIER_COMPONENTS:
        if component == "1.4" and basis != Basis.COUNTED:
            continue
        told = tell(component, bits, procedure)
        if component == "2.1":
            told = told._replace(sentence=on_time.vi, citation=on_time.citation)
        if component == "5.4":
            told = told._replace(sentence=explain_satisfaction(bits).vi)
        found.append(told)
    return found


def _wanting(count: Count, bits: int, procedure: int) -> list[str]:
    """What keeps a dossier out of a count."""
    wanted = count.condition(procedure)
    if not bits & Bit.MEMBER:
        return [_BITS[Bit.MEMBER][1]]
    reasons = [_FACTS[fact][1] for fact in count.of if not procedure & fact]
    for bit in wanted.having | wanted.without:
        is_set = bool(bits & bit)
        if is_set == bool(wanted.having & bit):
            continue
        if bit is Bit.RESULT_CODED and bits & Bit.RESULT_LINK:
            reasons.append("có tệp kết quả nhưng không có thông tin là có mã giấy tờ kết quả")
        else:
            reasons.append(_BITS[bit][0 if is_set else 1])
    if wanted.having & ~count.plain.having & ~bits:
        reasons.append(_FACTS[ProcedureFact.RESULT][0])
    return reasons


def _having(count: Count, beyond: Count | None, bits: int, procedure: int) -> list[str]:
    """What puts a dossier into a count, without what `beyond` asks already."""
    wanted = count.condition(procedure)
    known = beyond.condition(procedure) if beyond else Condition(Bit.MEMBER)
    reasons = [_BITS[bit][0] for bit in wanted.having & ~known.having]
    reasons += [_BITS[bit][1] for bit in wanted.without & ~known.without]
    if count.with_result is not None:
        reasons.append(_FACTS[ProcedureFact.RESULT][0 if procedure & ProcedureFact.RESULT else 1])
    return reasons
