"""What the nation counts of this world: from the copies that it shows, in its own protocol, by rules of the sandbox's
own (indicators.md §3). Figures of a unit are over the dossiers that it handles, those of the province over all."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import date
from functools import cache
from typing import NamedTuple, cast

from services.sandbox import features, messages
from services.sandbox.decisions import is_public, national_levels
from services.sandbox.dossier import Copy, Dossier
from services.sandbox.facts import PROVINCE, Procedure, procedures, units
from services.sandbox.workdays import DAY, Workdays, moment
from services.sandbox.world import World

_CLOSED = (8, 3, 7)
PEOPLE = frozenset({"Công dân Việt Nam", "Người Việt Nam định cư ở nước ngoài", "Người nước ngoài"})
"""Subjects of 4.5a."""


class Line(NamedTuple):
    """A dossier as the nation shows it. `finish`: by a result; `closed`: without one; `asked`: requests for a
    supplement as (asked, supplied, whether the appointment moved); `flags`: which counts of a dossier hold;
    `complained`: when a petition first named it."""

    unit: str
    procedure: str
    received: int
    finish: int | None
    closed: int | None
    due: int
    asked: tuple[tuple[int, int | None, bool], ...]
    channel: str
    flags: frozenset[str]
    complained: int | None

    @property
    def ended(self) -> int | None:
        return self.closed if self.finish is None else self.finish


@dataclass(slots=True)
class Counts:
    """Of one unit or of the province: dossiers by what holds of them, seconds of handling, and procedures."""

    n: Counter[str] = field(default_factory=Counter)
    procedures: defaultdict[str, set[str]] = field(default_factory=lambda: defaultdict(set))

    def add(self, line: Line, *, on_time: bool, until: int, in_period: bool) -> None:
        n, of = self.n, self.procedures
        n["received"] += 1
        n["on_time"] += on_time
        n["satisfied"] += on_time and not (line.complained is not None and line.complained < until)
        if line.finish is not None and line.finish < until:
            n["completed"] += 1
            n["seconds"] += line.finish - line.received
        for flag in line.flags:
            n[flag] += 1
        if "people" in line.flags:
            of["people"].add(line.procedure)
            if "population" in line.flags:
                of["population"].add(line.procedure)
        if "duty" in line.flags:
            of["fee"].add(line.procedure)
            if "paid" in line.flags:
                of["paid"].add(line.procedure)
            if "paid_nationally" in line.flags:
                of["integrated"].add(line.procedure)
        if in_period:
            n["came"] += 1
            n[f"channel_{line.channel}"] += 1
            n["came_online"] += "online" in line.flags
            if line.channel == "2":
                n["online_on_time" if on_time else "online_overdue"] += 1
                if "service" in line.flags:
                    of["online_used"].add(line.procedure)


class Published:
    """The figures at the world's clock. What was computed is kept until the clock moves."""

    def __init__(self, world: World) -> None:
        self.world = world
        self._at = -1
        self._lines: list[Line] = []
        self._kept: dict[tuple[int, int, str], dict[str, Counts]] = {}
        self._held: dict[tuple[int, int], Counter[str]] = {}

    def counts(self, begin: int, end: int, procedure: str = "") -> dict[str, Counts]:
        """By unit code, the province's own among them, of the dossiers that belong to [begin, end)."""
        self._look()
        key = (begin, end, procedure)
        if key not in self._kept:
            self._kept[key] = self._counted(*key)
        return self._kept[key]

    def _look(self) -> None:
        now = self.world.now
        if self._at != now:
            self._at, self._kept, self._held, self._lines = now, {}, {}, list(self._shown(now))

    def _shown(self, at: int) -> Iterator[Line]:
        complained: dict[str, int] = {}
        for petition in self.world.petitions:  # in order of sending
            if petition.dossier_code is not None and petition.sent_at <= at:
                complained.setdefault(petition.dossier_code, petition.sent_at)
        for dossier in self.world.dossiers:
            copy = self.world.national(dossier, at)
            if copy is not None and copy.received_at is not None:
                yield _line(dossier, copy)._replace(complained=complained.get(copy.code))

    def petitions(self, begin: int, end: int) -> dict[str, Counter[str]]:
        """By unit code, the province's own among them, of the petitions first received in [begin, end): how many there
        are ("all"), how many in time and satisfied, and by kind."""
        self._look()
        found: dict[str, Counter[str]] = {unit.code: Counter() for unit in units()}
        until = min(self._at, end - 1)
        for each in self.world.petitions:
            counted = each.at("received_at", self._at) or each.sent_at
            if not (begin <= counted < end and counted <= self._at):
                continue
            late = each.late_from is not None and each.late_from <= until
            repeated = any(later.sent_at <= until for later in each.repeated_by)
            disliked = each.at("likes", self._at) is not None and each.dislikes > each.likes
            told = {"all": 1, each.kind: 1, "on_time": int(not late)}
            told["satisfied"] = int(not (late or repeated or disliked))
            for code in {each.unit_at(self._at), PROVINCE}:
                found[code].update(told)
        return found

    def _counted(self, begin: int, end: int, procedure: str) -> dict[str, Counts]:
        found = {unit.code: Counts() for unit in units()}
        until = min(end, self._at)
        for line in self._lines:
            ended = line.ended
            if line.received >= end or (ended is not None and ended < begin):
                continue
            if procedure and line.procedure != procedure:
                continue
            on_time, in_period = _on_time(line, until, end), line.received >= begin
            for code in (line.unit, PROVINCE):
                found[code].add(line, on_time=on_time, until=until, in_period=in_period)
        return found

    def held_by_the_province(self, begin: int, end: int) -> Counter[str]:
        """What the province would report through the national reporting system: dossiers received in the period, by
        unit, as its own system holds them now."""
        self._look()
        if (begin, end) not in self._held:
            found: Counter[str] = Counter()
            for dossier in self.world.dossiers:
                if dossier.received_at is not None and begin <= dossier.received_at < end:
                    copy = self.world.provincial(dossier, self._at)
                    if copy is not None and copy.received_at is not None:
                        found[copy.unit.code] += 1
                        found[PROVINCE] += 1
            self._held[begin, end] = found
        return self._held[begin, end]


def _line(dossier: Dossier, copy: Copy) -> Line:
    assert copy.received_at is not None
    finish = copy.finished_at or copy.returned_at
    closed = None
    if copy.status in _CLOSED or (copy.status in (9, 10) and finish is None):
        closed = next((step.at for step in reversed(copy.steps) if step.status == copy.status), None)
    due = copy.due_at
    if due is None:
        due = calendar().due(copy.received_at, copy.procedure.duration, copy.procedure.duration_unit)
    asked = tuple((each.asked_at, each.supplied_at, each.due_after is not None) for each in copy.supplements)
    item = messages.head(dossier, copy, with_applicant=False)
    flags = frozenset(_flags(item, copy.procedure))
    channel = str(item.get("KenhThucHien") or "1")
    return Line(
        copy.unit.code,
        copy.procedure.code,
        copy.received_at,
        finish,
        closed,
        due,
        asked,
        channel,
        flags,
        None,
    )


def _flags(item: messages.Item, procedure: Procedure) -> Iterator[str]:
    """What the message says of papers, payments and identity (portals.md §1.4), and what is said of its procedure."""
    if any(name in PEOPLE for name in features.subjects(procedure)):
        yield "people"
    if is_public(procedure) and features.online_level(procedure):
        yield "service"
    papers = cast(list[dict[str, str]], item.get("TaiLieuNop") or [])
    results = cast(list[dict[str, str]], item.get("DanhSachGiayToKetQua") or [])
    linked = any(each.get("DuongDanTepTinKetQua") for each in results)
    if linked:
        yield "result"
    without = not features.has_result(procedure)
    if (linked or without) and any(each.get("DuongDanTaiTepTin") for each in papers):
        yield "digitised"
    coded = any(each.get("MaGiayToKetQua") and each.get("DuongDanTepTinKetQua") for each in results)
    if item.get("KenhThucHien") == "2" and (coded or without):
        yield "online"
    if item.get("HoSoCoThanhPhanSoHoa") == "1" or any(
        each.get("DuocSoHoa") == "1" or each.get("DuocTaiSuDung") in ("1", "2") for each in papers
    ):
        yield "reused"
    from_store = any(each.get("DuocLayTuKhoDMQG") == "1" for each in papers)
    if from_store:
        yield "store"
    if from_store or item.get("TaiKhoanDuocXacThucVoiVNeID") == "1" or item.get("DSKetNoiCSDL"):
        yield "population"
    fees = cast(list[dict[str, str]], item.get("DanhSachLePhi") or [])
    if procedure.fee and any(each.get("Gia") not in ("", "0", None) for each in fees):
        yield "duty"
        if item.get("DuocThanhToanTrucTuyen") in ("1", "2"):
            yield "paid"
        if item.get("DuocThanhToanTrucTuyen") == "1":
            yield "paid_nationally"


def _on_time(line: Line, until: int, end: int) -> bool:
    """2.1, by the events up to the period's end (or now, in the running one)."""
    if line.finish is not None and line.finish < end:
        waited = sum(
            max(min(supplied, line.finish) - asked, 0)
            for asked, supplied, moved in line.asked
            if supplied is not None and not moved
        )
        return line.finish - waited <= line.due
    asked = [each[0] for each in line.asked if each[0] < end]
    if len(asked) > 1:
        return False
    if asked:
        return asked[0] <= line.due
    if line.closed is not None and line.closed < end:
        return line.closed <= line.due
    return until <= line.due


@cache
def calendar() -> Workdays:
    return Workdays(date(2024, 1, 1), date(2031, 12, 31))


@cache
def in_competence() -> dict[str, set[str]]:
    """The public procedures that a unit carries out, by what the national record says; of the province: all of them."""
    found: dict[str, set[str]] = {unit.code: set() for unit in units()}
    for procedure in procedures():
        if is_public(procedure):
            levels = national_levels(procedure)
            mine = {PROVINCE} | ({procedure.department} if "province" in levels else set())
            if "commune" in levels:
                mine |= {unit.code for unit in units() if unit.level == "3"}
            for code in mine:
                found[code].add(procedure.code)
    return found


@cache
def online_services() -> dict[str, tuple[set[str], set[str], set[str]]]:
    """By unit: its public procedures, those with an online service in part, and those with one from end to end."""
    level = {each.code: features.online_level(each) for each in procedures() if is_public(each)}
    return {
        unit: (
            {code for code in codes if code in level},
            {code for code in codes if level.get(code) == features.PARTLY},
            {code for code in codes if level.get(code) == features.FULLY},
        )
        for unit, codes in in_competence().items()
    }


def average_days(counts: Counts) -> float:
    completed = counts.n["completed"]
    return round(counts.n["seconds"] / DAY / completed, 2) if completed else 0.0


def months_of(begin: int, end: int) -> list[int]:
    """Numbers of the months that a period has."""
    return list(range(moment(begin).month, moment(end - 1).month + 1))
