"""Petitions (phản ánh, kiến nghị – PAKN): in time (5.2), satisfied (5.3), by kind (5.1), and the dossiers complained of
(5.4). Pure.

indicators.md §3: “5.2 working days: refuse or transfer ≤ 2; ask for more ≤ 5 (only before receipt); handle ≤ 15;
publish ≤ 2; from sending or from the latest transfer. 5.3 Bad = dislikes > likes, or overdue, or a later petition
repeats it; each petition once, in the period of its first receipt.” An end that is not there yet is the end of the
period; in the running period now.

How it is read where the words leave it open (none of it is verified):
- A petition falls into the period of its first receipt, for 5.2 as for 5.3 (the published denominators are equal), and
  while it has not been received into that of its sending.
- A refused petition counts: refusing has a limit of its own. What comes after a refusal is not looked at.
- To publish is counted from the answer; from sending, 2 days could never be kept.
- Asking for more after receipt neither helps nor harms; the wait for the citizen is not taken off.
- A transfer is not judged: the message tells who has the petition now, not who gave it away. Whoever has it is judged
  from the latest transfer on.
- Likes and dislikes bear no date: those known now are taken, also for a past period.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from datetime import datetime, timedelta
from typing import Literal, NamedTuple, TypeAlias

from services.indicators.rules.engine import PetitionLimits
from services.indicators.rules.measures import Measure, Part, figures_of
from shared.calendar import TZ, Period, deadline
from shared.dossier_components import Count
from shared.vocabulary import DurationUnit, PetitionKind

Duty: TypeAlias = Literal["refuse", "ask_more", "handle", "publish"]
_DUTIES: dict[Duty, str] = {
    "refuse": "từ chối",
    "ask_more": "yêu cầu bổ sung",
    "handle": "trả lời",
    "publish": "công khai kết quả",
}


class Petition(NamedTuple):
    """What is judged of one petition. received_at: the first receipt. repeated_at: when the first later petition that
    repeats it was sent."""

    code: str
    kind: str
    dossier_code: str | None
    sent_at: datetime
    transferred_at: datetime | None
    received_at: datetime | None
    more_asked_at: datetime | None
    handled_at: datetime | None
    published_at: datetime | None
    refused_at: datetime | None
    likes: int
    dislikes: int
    repeated_at: datetime | None

    @property
    def counted_at(self) -> datetime:
        """The moment by which it falls into a period."""
        return self.received_at or self.sent_at


class Judgement(NamedTuple):
    """duty: the first that was late, else the last one there is. end_at: when that was done, None: not yet;
    deadline_at: until when it had to be, `days` working days after `since`, when it was sent or transferred or (to
    publish) answered. satisfied: 5.3. wake_at: from when on the judgement is another without a message."""

    on_time: bool
    satisfied: bool
    duty: Duty
    end_at: datetime | None
    deadline_at: datetime
    disliked: bool
    repeated: bool
    wake_at: datetime | None
    days: int
    since: datetime


_INSTANT = timedelta(microseconds=1)


class _Owed(NamedTuple):
    duty: Duty
    since: datetime
    days: int
    until: datetime
    done_at: datetime | None

    def late(self, at: datetime) -> bool:
        return (self.done_at or at) > self.until


def judged_at(period: Period, now: datetime) -> datetime:
    """The moment as of which a period's petitions are judged: now, or the period's last one. A limit that runs out with
    the period is kept in it."""
    return min(period.end - _INSTANT, now)


def judge(petition: Petition, limits: PetitionLimits, at: datetime) -> Judgement:
    """As of `at` (judged_at); what happened later is not known yet."""
    owed = _owed(petition, limits, at)
    late = next((each for each in owed if each.late(at)), None)
    told = late or owed[-1]
    disliked = petition.dislikes > petition.likes
    repeated = _by(petition.repeated_at, at) is not None
    turns = [each.until + _INSTANT for each in owed if each.done_at is None and not late]
    turns += [each for each in petition if isinstance(each, datetime) and each > at]
    return Judgement(
        on_time=late is None,
        satisfied=late is None and not disliked and not repeated,
        duty=told.duty,
        end_at=told.done_at,
        deadline_at=told.until,
        disliked=disliked,
        repeated=repeated,
        wake_at=min(turns, default=None),
        days=told.days,
        since=told.since,
    )


def _owed(petition: Petition, limits: PetitionLimits, at: datetime) -> list[_Owed]:
    """What had to be done by whoever has the petition, in order."""
    start = _by(petition.transferred_at, at) or petition.sent_at
    if refused := _by(petition.refused_at, at):
        return [_owe("refuse", start, limits.refuse, refused)]
    owed: list[_Owed] = []
    asked, received = _by(petition.more_asked_at, at), _by(petition.received_at, at)
    if asked and (received is None or asked <= received):
        owed.append(_owe("ask_more", start, limits.ask_more, asked))
    handled = _by(petition.handled_at, at)
    owed.append(_owe("handle", start, limits.handle, handled))
    if handled:
        owed.append(_owe("publish", handled, limits.publish, _by(petition.published_at, at)))
    return owed


def _owe(duty: Duty, since: datetime, days: int, done_at: datetime | None) -> _Owed:
    return _Owed(duty, since, days, deadline(since, days, DurationUnit.WORKING_DAY), done_at)


def _by(moment: datetime | None, at: datetime) -> datetime | None:
    return moment if moment is not None and moment <= at else None


def explain(petition: Petition, judgement: Judgement) -> str:
    """Why, in a sentence that an officer can check: which limit, from when on, and what was done when."""
    duty = _DUTIES[judgement.duty]
    start = "gửi" if judgement.since == petition.sent_at else "chuyển đến"
    if judgement.duty == "publish":
        start = "trả lời"
    until = (
        f"hạn {_told(judgement.deadline_at)} ({judgement.days} ngày làm việc từ khi {start},"
        f" {_told(judgement.since)})"
    )
    if judgement.end_at is None:
        told = f"Chưa {duty}, {until}" if judgement.on_time else f"Quá hạn: chưa {duty}, {until}"
    else:
        done = f"{duty} {_told(judgement.end_at)}, {until}"
        told = f"Đúng hạn: {done}" if judgement.on_time else f"Quá hạn: {done}"
    if judgement.disliked:
        told += "; lượt không thích nhiều hơn lượt thích"
    if judgement.repeated:
        told += "; có phản ánh, kiến nghị gửi lại sau đó"
    return told + "."


def _told(moment: datetime) -> str:
    return f"{moment.astimezone(TZ):%H:%M %d/%m/%Y}"


class Judged(NamedTuple):
    """A petition of a period, whose it is on the period's last day, and what was found."""

    unit_code: str
    petition: Petition
    judgement: Judgement


class Counts(NamedTuple):
    """Of the petitions of a period: all, in time (5.2), satisfied (5.3), by kind (5.1)."""

    petitions: int
    on_time: int
    satisfied: int
    procedure: int
    staff: int
    other: int

    @property
    def measured(self) -> dict[Count, int]:
        """The figures of the measures that are counted from petitions."""
        return {count: getattr(self, field) for count, field in _FIELDS.items()}


NONE = Counts(0, 0, 0, 0, 0, 0)
_HOLDS: dict[str, tuple[str, Callable[[Judged], bool]]] = {
    "petitions": ("petitions", lambda each: True),
    "petitions_on_time": ("on_time", lambda each: each.judgement.on_time),
    "petitions_satisfied": ("satisfied", lambda each: each.judgement.satisfied),
    "petitions_on_procedures": ("procedure", lambda each: each.petition.kind == PetitionKind.PROCEDURE),
}
"""Column of a measure → the field of Counts that counts it, and which petitions it counts."""
_FIELDS = {count: _HOLDS[count.column][0] for count in figures_of("petitions")}


def count(judged: Iterable[Judged]) -> Counts:
    found = list(judged)
    kinds = Counter(each.petition.kind for each in found)
    return Counts(
        len(found),
        sum(each.judgement.on_time for each in found),
        sum(each.judgement.satisfied for each in found),
        kinds[PetitionKind.PROCEDURE],
        kinds[PetitionKind.STAFF],
        kinds[PetitionKind.OTHER],
    )


def part_of(judged: Iterable[Judged], measure: Measure, part: Part) -> list[Judged]:
    """The petitions behind a figure of a measure: their number is the figure. 5.1's numerator are those about
    procedures (what the portal publishes beside its denominator), its shortfall all others."""
    (_, within), (_, whole) = _HOLDS[measure.numerator.column], _HOLDS[measure.denominator.column]
    return [each for each in judged if whole(each) and within(each) == (part == "numerator")]
