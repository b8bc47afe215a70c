"""The life of one dossier, from its own random numbers: what happens to it, and when."""

from __future__ import annotations

from collections.abc import Sequence
from enum import IntEnum
from functools import cache
from random import Random
from typing import NamedTuple

from services.sandbox.facts import Procedure, Unit
from services.sandbox.features import online_level
from services.sandbox.workdays import WORK_DAY, Workdays

SUPPLEMENT = 0.05  # dossiers with one request for a supplement or two
LATE = 0.05  # late by themselves; with waits for papers and payments about 8 % end after the appointment
REJECTED = 0.010  # refused at the counter: no receipt
WITHDRAWN = 0.010
STOPPED = 0.012
PAYMENT = 0.10  # of the dossiers with a fee
MINISTRY_SYSTEM = 0.10  # handled in a ministry's system: seven-digit serial
_GAP = 90  # seconds between two events at least: versions stay distinct


class Kind(IntEnum):
    SUBMITTED = 0
    RECEIVED = 1
    WORK = 2
    ASK = 3
    SUPPLIED = 4
    PAY = 5
    PAID = 6
    DONE = 7
    RETURNED = 8
    REJECTED = 9
    WITHDRAWN = 10
    STOPPED = 11


STATUS = (1, 2, 4, 5, 4, 6, 4, 9, 10, 3, 7, 8)
"""TrangThaiHoSo by Kind."""
CONTENT = (
    "Nộp hồ sơ",
    "Tiếp nhận hồ sơ",
    "Thẩm định hồ sơ",
    "Yêu cầu bổ sung giấy tờ",
    "Tiếp nhận giấy tờ bổ sung",
    "Yêu cầu thực hiện nghĩa vụ tài chính",
    "Đã thực hiện nghĩa vụ tài chính",
    "Ký duyệt, chuyển kết quả về Bộ phận Một cửa",
    "Trả kết quả cho người nộp",
    "Không tiếp nhận hồ sơ",
    "Rút hồ sơ theo yêu cầu của người nộp",
    "Dừng xử lý hồ sơ",
)


class Officer(NamedTuple):
    name: str
    title: str
    office: str


class Event(NamedTuple):
    at: int
    kind: Kind
    officer: Officer
    due: int | None  # the appointment from this event on


class Life(NamedTuple):
    events: tuple[Event, ...]
    channel: int  # KenhThucHien
    ministry_system: bool


@cache
def officers(unit: Unit) -> tuple[Officer, ...]:
    """Two at the counter, four who examine, one who signs. The names are invented, and look it."""
    leader = {"2": "Phó Giám đốc", "3": "Phó Chủ tịch UBND"}.get(unit.level, "Chánh Văn phòng")
    if unit.name.startswith("Ban "):
        leader = "Phó Trưởng ban"
    counter = f"Bộ phận Một cửa {unit.name}"
    posts = [("Công chức Bộ phận Một cửa", counter)] * 2 + [("Chuyên viên", "Phòng chuyên môn")] * 4
    posts.append((leader, "Lãnh đạo"))
    rng = Random(f"officers:{unit.code}")  # noqa: S311  # facts of the world, not of a seed
    families = ("Nguyễn", "Trần", "Lê", "Phạm", "Hoàng", "Vũ", "Đặng", "Bùi", "Đỗ", "Ngô")
    middles = ("Văn", "Thị", "Đức", "Minh", "Thu", "Quang", "Ngọc", "Thanh")
    given = ("Mẫu", "Thử", "Ví Dụ", "Minh Họa")
    return tuple(
        Officer(f"{rng.choice(families)} {rng.choice(middles)} {rng.choice(given)}", title, office)
        for title, office in posts
    )


def live(
    rng: Random, unit: Unit, offered: Sequence[Procedure], earliest: int, latest: int, calendar: Workdays
) -> tuple[Procedure, Life]:
    """One dossier received at a working moment in [earliest, latest), which are counted in working time.

    `offered` repeats a procedure as often as its weight says.
    """
    draw = rng.random
    procedure = offered[int(draw() * len(offered))]
    staff = officers(unit)
    counter, examiner, leader = staff[int(draw() * 2)], staff[2 + int(draw() * 4)], staff[-1]
    roll, online = draw(), online_level(procedure)
    channel = 1 if roll < 0.55 else 3 if roll >= 0.97 else 2 if online else 1
    ministry_system = draw() < MINISTRY_SYSTEM
    received_work = earliest + int(draw() * (latest - earliest))
    received = calendar.from_work(received_work)
    waited = 120 + int(draw() * 600) if channel == 1 else 600 + int(draw() * WORK_DAY)
    submitted = received - waited if channel == 1 else calendar.from_work(received_work - waited)
    due = calendar.due(received, procedure.duration, procedure.duration_unit)

    events = [Event(min(submitted, received - _GAP), Kind.SUBMITTED, counter, None)]
    fate = draw()
    if fate < REJECTED:
        events.append(Event(received, Kind.REJECTED, counter, None))
        return procedure, Life(tuple(events), channel, ministry_system)

    def add(kind: Kind, work: float, officer: Officer) -> None:
        at = max(calendar.from_work(int(work)), events[-1].at + _GAP)
        events.append(Event(at, kind, officer, due))

    events.append(Event(received, Kind.RECEIVED, counter, due))
    allowed = calendar.to_work(due) - received_work
    end = received_work + allowed * (0.2 + 0.77 * draw())
    if draw() < LATE:
        end = calendar.to_work(due) + 1800 + draw() * 4 * WORK_DAY * (8 if draw() < 0.2 else 1)
    at = received_work + (end - received_work) * 0.15
    add(Kind.WORK, at, examiner)
    if fate < REJECTED + WITHDRAWN:
        add(Kind.WITHDRAWN, received_work + (end - received_work) * 0.4, counter)
        return procedure, Life(tuple(events), channel, ministry_system)
    if fate < REJECTED + WITHDRAWN + STOPPED:
        add(Kind.STOPPED, received_work + (end - received_work) * 0.6, leader)
        return procedure, Life(tuple(events), channel, ministry_system)

    if draw() < SUPPLEMENT:
        for _ in range(2 if draw() < 0.15 else 1):
            at += (end - at) * 0.2
            add(Kind.ASK, at, examiner)
            wait = int((0.3 + draw() * 7) * WORK_DAY)
            if draw() < 0.12:  # nobody answers
                add(Kind.STOPPED, at + 30 * WORK_DAY, leader)
                return procedure, Life(tuple(events), channel, ministry_system)
            if draw() < 0.5:  # the appointment moves with the wait; the new one counts from the completion on
                due = calendar.closing_on_or_after(calendar.from_work(calendar.to_work(due) - 1 + wait))
            at, end = at + wait, end + wait
            add(Kind.SUPPLIED, at, counter)
    elif procedure.fee and draw() < PAYMENT:
        at += (end - at) * 0.3
        add(Kind.PAY, at, examiner)
        if draw() < 0.2:  # never paid: stays open
            return procedure, Life(tuple(events), channel, ministry_system)
        wait = int(600 + draw() * 2 * WORK_DAY)
        at, end = at + wait, end + wait
        add(Kind.PAID, at, counter)
    add(Kind.WORK, at + (end - at) * 0.7, leader)
    add(Kind.DONE, end, leader)
    if draw() < 0.93:
        add(Kind.RETURNED, end + 300 + draw() * draw() * 3 * WORK_DAY, counter)
    return procedure, Life(tuple(events), channel, ministry_system)
