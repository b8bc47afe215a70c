"""1.1–1.3, 3.1 and 3.2: figures of the procedures that are public now, by what the national record says of them. Pure.

Rules (indicators.md §3, from an unsigned description of the 766 formulas; words read, author not verified):

    1.1 Đúng hạn ⇔ ngày quyết định ≤ ngày hiệu lực − 5 ngày làm việc (bộ: 20), trong các thủ tục đang công khai được
        quyết định trong kỳ; tỉnh: chỉ thủ tục đặc thù, do tỉnh quyết định.
    1.2 Đúng hạn ⇔ ngày công khai ≤ ngày quyết định + 5 ngày làm việc (bộ: 10); mẫu số: công khai trong kỳ + phải công
        khai trong kỳ.
    1.3 Đủ các bộ phận tạo thành / đang công khai; không theo kỳ.
    3.1 Có dịch vụ công trực tuyến / thuộc thẩm quyền; cấp xã: cấp thực hiện có cấp xã.
    3.2 Dịch vụ công trực tuyến có hồ sơ nộp trực tuyến trong kỳ / tất cả dịch vụ công trực tuyến.

How it is read where the words leave it open (none of it is verified): a procedure falls into 1.2 by the day on which it
became public, or by the last day on which it had to. What a day is missing for is in the denominator and not in the
numerator, as in 2.1. 1.3 is of the province's own procedures, as 1.1: the published denominators are the same.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from datetime import date
from typing import NamedTuple

from services.indicators.rules import engine
from services.indicators.rules.measures import MEASURES, Measure, Part
from shared.calendar import Period, add_working_days
from shared.dossier_components import Count
from shared.errors import Invalid
from shared.identifiers import is_within, normalise_unit_code
from shared.vocabulary import ProcedureFact, UnitLevel

_PROVINCES = "H"
"""Unit codes of provinces begin with it (QĐ 20/2020/QĐ-TTg); those of ministries with G."""
_CHAIRMAN = "QĐ-UBND"


class Listed(NamedTuple):
    """A procedure that is public now. facts: of vocabulary.ProcedureFact. units: who carries it out, as far as the
    record names units of ours. own: decided by the province. observed: public_since is our first sighting, the latest
    day that it can be. first_look: … of the very first look, so that it may have been public for years."""

    code: str
    name: str | None
    facts: int
    levels: frozenset[str]
    units: frozenset[str]
    own: bool
    decided_on: date | None
    effective_on: date | None
    public_since: date | None
    observed: bool
    first_look: bool


class Judged(NamedTuple):
    """holds: in the numerator. why: a sentence. undetermined: a day is missing without which it cannot be said.
    observed: judged by our first sighting."""

    listed: Listed
    holds: bool
    why: str
    undetermined: bool = False
    observed: bool = False


def publisher_of(publisher: str | None, number: str | None, province: str) -> tuple[bool, bool]:
    """(decided by this province, decided by another one), by the code of the publisher, else by the decision's number.
    A number of a chairman without a publisher is ours: the list holds few procedures of other provinces."""
    try:
        unit = normalise_unit_code(publisher or "")
    except Invalid:
        return (number or "").endswith(_CHAIRMAN), False
    own = is_within(unit, province)
    return own, unit.startswith(_PROVINCES) and not own


class Catalogue:
    """What is public now, asked by unit, level and period. `unplaced`: procedures of the provincial level of which the
    record names no unit of ours, so that it is not known whose they are."""

    def __init__(self, listed: Iterable[Listed]) -> None:
        self.listed = sorted(listed)
        self.own = [each for each in self.listed if each.own]
        by_level: defaultdict[str, list[Listed]] = defaultdict(list)
        by_unit: defaultdict[str, list[Listed]] = defaultdict(list)
        for each in self.listed:
            if each.levels - {UnitLevel.MINISTRY.value}:
                by_level[UnitLevel.PROVINCE.value].append(each)
            for level in each.levels - {UnitLevel.PROVINCE.value, UnitLevel.MINISTRY.value}:
                by_level[level].append(each)
            if UnitLevel.PROVINCE.value in each.levels:
                for unit in each.units:
                    by_unit[unit].append(each)
        self._by_level, self._by_unit = dict(by_level), dict(by_unit)
        self.unplaced = sum(
            UnitLevel.PROVINCE.value in each.levels and not each.units for each in self.listed
        )
        self._services: dict[tuple[str, str | None], tuple[int, frozenset[str]]] = {}
        self._by_period: dict[tuple[str, str], list[Judged]] = {}

    def competence(self, unit: str, level: str | None) -> list[Listed]:
        """The procedures of a unit: of a department those that name it, else those of its level; all the province's."""
        if level == UnitLevel.DEPARTMENT.value:
            return self._by_unit.get(unit, [])
        return self._by_level.get(level or "", [])

    def uncounted(self, level: str | None) -> dict[str, str]:
        """Component → why it cannot be told for units of a level."""
        if level != UnitLevel.DEPARTMENT.value or not self.unplaced:
            return {}
        why = (
            f"Không tính được: {self.unplaced} thủ tục cấp tỉnh đang công khai không ghi rõ sở, ban, ngành nào thực"
            " hiện, nên chưa biết đơn vị này có những thủ tục nào."
        )
        return dict.fromkeys(("3.1", "3.2"), why)

    def judged(
        self, measure: Measure, unit: str, level: str | None, period: Period, used: frozenset[str]
    ) -> list[Judged]:
        """The procedures behind a figure's denominator. used: those with a dossier submitted online in the period."""
        if measure.component in _OF_OWN:
            return self._judged_own(measure.component, period)
        mine = self.competence(unit, level)
        if measure.component == "3.1":
            return [Judged(each, _online(each), _why_online(each)) for each in mine]
        return [
            Judged(each, each.code in used, _USED if each.code in used else _UNUSED)
            for each in mine
            if _online(each)
        ]

    def _judged_own(self, component: str, period: Period) -> list[Judged]:
        key = (component, period.key)
        if key not in self._by_period:
            self._by_period[key] = _OF_OWN[component](self.own, period)
        return self._by_period[key]

    def remarks(self, period: Period) -> dict[str, str]:
        """Component → what is to be told beside its figure: that days were missing, or only observed."""
        found = {component: _remark(self._judged_own(component, period)) for component in _OF_OWN}
        return {component: told for component, told in found.items() if told}

    def counts(self, unit: str, level: str | None, period: Period, used: frozenset[str]) -> dict[Count, int]:
        """The figures of all measures that are counted from here."""
        if (unit, level) not in self._services:
            mine = self.competence(unit, level)
            services = frozenset(each.code for each in mine if _online(each))
            self._services[unit, level] = len(mine), services
        whole, services = self._services[unit, level]
        found = {
            **_pair("3.1", len(services), whole),
            **_pair("3.2", len(services & used), len(services)),
        }
        for component in _OF_OWN:
            behind = self._judged_own(component, period)
            found |= _pair(component, sum(each.holds for each in behind), len(behind))
        return found


def part_of(judged: Iterable[Judged], part: Part) -> list[Judged]:
    """Those behind one part of a figure: their number is the figure."""
    return [each for each in judged if each.holds == (part == "numerator")]


def _online(each: Listed) -> bool:
    return bool(each.facts & ProcedureFact.ONLINE_SERVICE)


def _why_online(each: Listed) -> str:
    if not _online(each):
        return "Cổng Dịch vụ công quốc gia không liệt kê dịch vụ công trực tuyến nào của thủ tục này."
    full = " toàn trình" if each.facts & ProcedureFact.ONLINE_FULL else ""
    return f"Cổng Dịch vụ công quốc gia có liệt kê dịch vụ công trực tuyến{full} của thủ tục này."


_USED = "Có hồ sơ nộp trực tuyến được tiếp nhận trong kỳ."
_UNUSED = "Không có thông tin là có hồ sơ nộp trực tuyến nào được tiếp nhận trong kỳ."
_PARTS = (
    "tên, trình tự, cách thức thực hiện, thành phần và số lượng hồ sơ, thời hạn, đối tượng, cơ quan thực hiện"
    " (khoản 2 Điều 8 Nghị định 63/2010/NĐ-CP)"
)
_WHOLE = f"Bản ghi của Cơ sở dữ liệu quốc gia có đủ các bộ phận kiểm tra được: {_PARTS}."
_NOT_WHOLE = f"Bản ghi của Cơ sở dữ liệu quốc gia không có đủ, hoặc chưa lấy được, các bộ phận: {_PARTS}."


def _pair(component: str, numerator: int, denominator: int) -> dict[Count, int]:
    measure = MEASURES[component]
    return {measure.numerator: numerator, measure.denominator: denominator}


def _announced(own: Iterable[Listed], period: Period) -> list[Judged]:
    """1.1. The record tells of the newest decision only, so that each procedure is there once."""
    limits = engine.publication_limits(period)
    days = limits.announce[UnitLevel.PROVINCE]
    found = []
    for each in own:
        if each.decided_on is None or not period.first_day <= each.decided_on <= period.last_day:
            continue
        told = f"Quyết định ngày {_told(each.decided_on)}"
        if each.effective_on is None:
            found.append(
                Judged(each, False, f"{told}; không có ngày hiệu lực của văn bản.", undetermined=True)
            )
            continue
        until = add_working_days(each.effective_on, -days)
        holds = each.decided_on <= until
        why = (
            f"{told}, văn bản có hiệu lực ngày {_told(each.effective_on)}, phải công bố trước {days} ngày làm việc"
            f" (muộn nhất {_told(until)}): {'đúng hạn' if holds else 'quá hạn'}."
        )
        found.append(Judged(each, holds, why))
    return found


def _published(own: Iterable[Listed], period: Period) -> list[Judged]:
    """1.2."""
    days = engine.publication_limits(period).publish[UnitLevel.PROVINCE]
    found = []
    for each in own:
        until = None if each.decided_on is None else add_working_days(each.decided_on, days)
        became = None if each.first_look else each.public_since
        if not any(day and period.first_day <= day <= period.last_day for day in (became, until)):
            continue
        holds = until is not None and each.public_since is not None and each.public_since <= until
        undetermined = not holds and (until is None or became is None)
        found.append(
            Judged(each, holds, _why_published(each, until, holds, undetermined), undetermined, each.observed)
        )
    return found


def _why_published(each: Listed, until: date | None, holds: bool, undetermined: bool) -> str:
    seen = "" if each.public_since is None else _told(each.public_since)
    if each.first_look:
        public = f"đã công khai khi hệ thống này nhìn lần đầu, ngày {seen}"
    else:
        public = f"{'nhìn thấy công khai lần đầu' if each.observed else 'công khai'} ngày {seen}"
    if each.decided_on is None or until is None:
        return f"Không có ngày quyết định; {public}: không đủ căn cứ nên tính là không đúng hạn."
    verdict = (
        "đúng hạn" if holds else "không đủ căn cứ nên tính là không đúng hạn" if undetermined else "quá hạn"
    )
    return f"Quyết định ngày {_told(each.decided_on)}, hạn công khai {_told(until)}, {public}: {verdict}."


def _complete(own: Iterable[Listed], period: Period) -> list[Judged]:
    """1.3, the same in every period."""
    whole = ((each, bool(each.facts & ProcedureFact.COMPLETE)) for each in own)
    return [Judged(each, holds, _WHOLE if holds else _NOT_WHOLE) for each, holds in whole]


_OF_OWN: Mapping[str, Callable[[Iterable[Listed], Period], list[Judged]]] = {
    "1.1": _announced,
    "1.2": _published,
    "1.3": _complete,
}
"""Components of the province's own procedures, which all its units inherit."""


def _told(day: date) -> str:
    return f"{day:%d/%m/%Y}"


def _remark(judged: Iterable[Judged]) -> str:
    found = list(judged)
    told = ""
    if observed := sum(each.observed for each in found):
        told += (
            f" {observed} thủ tục được xét theo ngày hệ thống này nhìn thấy lần đầu (ngày muộn nhất có thể), vì bản ghi"
            " không có ngày công khai."
        )
    if undetermined := sum(each.undetermined for each in found):
        told += f" {undetermined} thủ tục thiếu ngày để xét nên tính là không đúng hạn."
    return told
