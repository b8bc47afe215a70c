"""2.1: which periods a dossier belongs to, whether it is on time in each, and when that changes by itself; with
it goes how long its handling took (2.2, handling.py). Pure.

Rule (indicators.md §3, from an unsigned description of the 766 formulas; words read, author not verified):

    Đúng hạn ⇔ NgayKetThucXuLy ≤ NgayHenTra. Kết thúc = trạng thái 9 > 10 > 8, 3, 7. Chưa có 9/10 và một lần
    yêu cầu bổ sung → lấy thời điểm yêu cầu; từ hai lần → quá hạn. Kết thúc sau bổ sung → trừ thời gian chờ.
    Không có kết thúc → cuối kỳ. Không có NgayHenTra → so với thời hạn tối đa của thủ tục. Không có
    NgayTiepNhan → không tính.

A dossier belongs to a period ⇔ received before its end and not ended before its start [I]. A period is
judged by the events up to its end, in the running one up to now, whenever the messages about them came.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, date, datetime, time, timedelta
from typing import NamedTuple

from services.indicators.rules.facts import DONE, Copy, End, Facts, end_of
from services.indicators.rules.handling import Handling, handling_of
from services.indicators.rules.units import UnitTree
from shared.calendar import TZ, Period, deadline, periods_between
from shared.errors import Invalid
from shared.reasons import Bit, Reason, Source
from shared.vocabulary import BOTH, Basis, Channel, DossierStatus

SINCE = date(2022, 6, 23)
"""The rule's first day: QĐ 766/QĐ-TTg. Periods that ended before it have no figure."""

_SINCE_AT = datetime.combine(SINCE, time(), TZ).astimezone(UTC)
_TICK = timedelta(microseconds=1)
_NOTHING = timedelta()

# Plain numbers: an IntFlag makes a member for each `|`, thirty times as dear.
_ORIGIN: dict[Source, int] = {
    Source.NATIONAL: int(Bit.MEMBER | Bit.FROM_NATIONAL),
    Source.SENT_CONFIRMED: int(Bit.MEMBER | Bit.FROM_SENT_CONFIRMED),
    Source.SENT_UNCONFIRMED: int(Bit.MEMBER | Bit.FROM_SENT_UNCONFIRMED),
    Source.PROVINCIAL: int(Bit.MEMBER | Bit.FROM_PROVINCIAL),
}
ORIGINS = int(Bit.FROM_NATIONAL | Bit.FROM_SENT_CONFIRMED | Bit.FROM_SENT_UNCONFIRMED | Bit.FROM_PROVINCIAL)
"""From which copy: by these alone the two bases differ where the copies are alike."""
_ON_TIME, _DONE, _UNDETERMINED = int(Bit.ON_TIME), int(Bit.DONE), int(Bit.UNDETERMINED)
_RECEIVED, _ONLINE, _COMPLAINED = int(Bit.RECEIVED), int(Bit.ONLINE), int(Bit.COMPLAINED)
_BY_MAXIMUM, _WAIT_SUBTRACTED, _HANDLED = int(Bit.BY_MAXIMUM), int(Bit.WAIT_SUBTRACTED), int(Bit.HANDLED)


class Judgement(NamedTuple):
    """One dossier in one period. bits: of shared.reasons.Bit.

    end_at: the end that was compared, None where it is the period's end (running: now). deadline_at: what
    it was compared with, None where nothing is known. turns_at: when the running period's judgement changes
    by time alone, None if it does not.
    """

    bits: int
    reason: Reason
    end_at: datetime | None
    deadline_at: datetime | None
    turns_at: datetime | None
    handled: Handling | None = None

    @property
    def on_time(self) -> bool:
        return bool(self.bits & _ON_TIME)


class Contribution(NamedTuple):
    """What a dossier adds to a period: a row of assessment_period without its key. bits: of shared.reasons.Bit."""

    unit_code: str
    procedure_code: str
    bits: int
    reason: str
    end_at: datetime | None
    deadline_at: datetime | None
    elapsed_seconds: int | None
    working_seconds: int | None


class Assessment(NamedTuple):
    """open: not ended by now, so the next period's first moment carries it on. source: the copy that
    counts, or why the dossier does not. contributions: by period key. wake_at: next change with no
    message."""

    open: bool
    source: Source
    contributions: Mapping[str, Contribution]
    wake_at: datetime | None


class _Limit(NamedTuple):
    """What ends are compared with; by_maximum: from the procedure's duration. missing: why there is none."""

    at: datetime | None
    by_maximum: bool
    missing: Reason | None


def judge(facts: Facts, period: Period, now: datetime) -> Judgement | None:
    """The dossier in a period as known at `now`; None where it does not belong to it (see counted() for
    dossiers that belong to none). Raises nothing: what is missing is said in the reason."""
    copy = facts.copy
    if copy is None or counted(facts, now) is not facts.source:
        return None
    end = end_of(copy)
    origin = _ORIGIN[facts.source] | _told(facts, copy)
    if _complained(facts, period.end, now):
        origin |= _COMPLAINED
    judged = _judge(copy, end, _limit(facts, copy), origin, period, now)
    return judged and _timed(judged, copy, handling_of(copy, end, now), period)


def counted(facts: Facts, now: datetime) -> Source:
    """Whether a dossier counts at all: facts.source, or the reason why not."""
    copy = facts.copy
    if copy is None:
        return facts.source
    if copy.cancelled:
        return Source.CANCELLED
    if copy.received_at is None:
        return Source.NOT_RECEIVED
    return Source.NOT_YET_RECEIVED if copy.received_at > now else facts.source


def assess(facts: Facts, now: datetime, units: UnitTree) -> Assessment:
    """All months, quarters and years from receipt to end (or now)."""
    copy, source = facts.copy, counted(facts, now)
    if copy is None or source is not facts.source:
        wake_at = copy.received_at if copy and source is Source.NOT_YET_RECEIVED else None
        return Assessment(False, source, {}, wake_at)
    end = end_of(copy)
    contributions, wake_at = _course(facts, copy, end, _ORIGIN[source] | _told(facts, copy), now, units)
    return Assessment(_running(end, now), source, contributions, wake_at)


class Head(NamedTuple):
    """An Assessment without its periods."""

    source: Source
    open: bool
    wake_at: datetime | None


class Judged(NamedTuple):
    """A dossier on both bases, and what is stored of its periods: (basis or BOTH, period) → contribution."""

    counted: Head
    provincial: Head
    stored: Mapping[tuple[str, str], Contribution]


def assess_both(on_counted: Facts, on_provincial: Facts, now: datetime, units: UnitTree) -> Judged:
    """assess() on each basis. Where both say the same of a period (of most dossiers all copies tell the same), one row
    stands for both: it has the bits of both origins. Copies that are alike are judged once."""
    a, b = on_counted.copy, on_provincial.copy
    if (
        a is not None
        and b is not None
        and counted(on_counted, now) is on_counted.source
        and counted(on_provincial, now) is on_provincial.source
        and on_counted.maximum == on_provincial.maximum
        and on_counted.papers == on_provincial.papers
        and on_counted.complained_at == on_provincial.complained_at
        and a.received_at == b.received_at
        and a.due_at == b.due_at
        and a.unit_code == b.unit_code
        and a.procedure_code == b.procedure_code
        and (a.channel == Channel.ONLINE) is (b.channel == Channel.ONLINE)
        and a.supplements == b.supplements
        and (end := end_of(a)) == end_of(b)
    ):
        origin = _ORIGIN[on_counted.source] | _ORIGIN[on_provincial.source] | _told(on_counted, a)
        contributions, wake_at = _course(on_counted, a, end, origin, now, units)
        running = _running(end, now)
        return Judged(
            Head(on_counted.source, running, wake_at),
            Head(on_provincial.source, running, wake_at),
            {(BOTH, period): each for period, each in contributions.items()},
        )
    first, second = assess(on_counted, now, units), assess(on_provincial, now, units)
    stored: dict[tuple[str, str], Contribution] = {}
    for period, each in first.contributions.items():
        other = second.contributions.get(period)
        if other is not None and _bare(each) == _bare(other):
            stored[BOTH, period] = each._replace(bits=each.bits | other.bits)
        else:
            stored[Basis.COUNTED.value, period] = each
    for period, each in second.contributions.items():
        if (BOTH, period) not in stored:
            stored[Basis.PROVINCIAL.value, period] = each
    return Judged(
        Head(first.source, first.open, first.wake_at),
        Head(second.source, second.open, second.wake_at),
        stored,
    )


def _bare(each: Contribution) -> Contribution:
    """Without the copy that it is from."""
    return each._replace(bits=each.bits & ~ORIGINS)


def _running(end: End | None, now: datetime) -> bool:
    return end is None or end.known_at > now


def _course(
    facts: Facts, copy: Copy, end: End | None, origin: int, now: datetime, units: UnitTree
) -> tuple[dict[str, Contribution], datetime | None]:
    """Period → contribution, and when that changes by time alone, of a dossier that counts."""
    received = copy.received_at
    assert received is not None
    limit, procedure = _limit(facts, copy), copy.procedure_code or ""
    handled = handling_of(copy, end, now)
    contributions: dict[str, Contribution] = {}
    turns = [at for at in _coming(facts, copy, end) if at > now]
    result = _result(copy, end, limit, origin) if end is not None and end.known_at <= now else None
    last = now if end is None else min(end.known_at, now)
    complained = facts.complained_at is not None
    for period in periods_between(max(received, _SINCE_AT), last):
        start, stop = period.bounds
        if result is not None and end is not None and end.known_at < stop:
            judged = result  # of every period that holds the end: it asks nothing of the period
        else:
            other = _judge(copy, end, limit, origin, period, now)
            if other is None:
                continue
            judged = other
        bits, timed = judged.bits, None
        if complained and _complained(facts, stop, now):
            bits |= _COMPLAINED
        if received >= start:
            bits |= _RECEIVED
            if handled is not None:
                bits, timed = bits | _HANDLED, handled
        contributions[period.key] = Contribution(
            units.standing_for(copy.unit_code, period.last_day),
            procedure,
            bits,
            judged.reason,
            judged.end_at,
            judged.deadline_at,
            *(timed or _UNTIMED),
        )
        if judged.turns_at is not None:
            turns.append(judged.turns_at)
    return contributions, min(turns, default=None)


_UNTIMED = (None, None)


def _timed(judged: Judgement, copy: Copy, handled: Handling | None, period: Period) -> Judgement:
    """With what holds for a dossier that was received in the period: that it was, and its handling time."""
    if copy.received_at is None or not period.start <= copy.received_at < period.end:
        return judged
    if handled is None:
        return judged._replace(bits=judged.bits | _RECEIVED)
    return judged._replace(bits=judged.bits | _RECEIVED | _HANDLED, handled=handled)


def _told(facts: Facts, copy: Copy) -> int:
    """Bits that are the same in every period: channel and papers."""
    return facts.papers | (_ONLINE if copy.channel == Channel.ONLINE else 0)


def _judge(
    copy: Copy, end: End | None, limit: _Limit, origin: int, period: Period, now: datetime
) -> Judgement | None:
    """The rule itself. Two doubts are read literally: the substitute end of a supplement request also covers
    dossiers that were stopped, refused or withdrawn (they have no 9/10 either); and a request counts
    although it was answered since."""
    received, (start, stop) = copy.received_at, period.bounds
    if received is None or received >= stop or (end is not None and end.known_at < start):
        return None
    over = stop <= now
    upto = stop if over else now
    ended = end if end is not None and end.known_at <= now and end.known_at < stop else None
    if ended is not None:
        result = _result(copy, ended, limit, origin)
        if result is not None:
            return result
    bits = origin | (_DONE if ended else 0) | (_BY_MAXIMUM if limit.by_maximum else 0)
    wait = _NOTHING
    at: datetime | None = None
    if ended is not None and ended.done in DONE:
        wait = _waited(copy, upto, limit.by_maximum)
        if wait:
            bits |= _WAIT_SUBTRACTED
        reason = Reason.ENDED_WITHOUT_TIME
    else:
        requests = [
            each.requested_at
            for each in copy.supplements
            if each.requested_at is not None and each.requested_at <= now and each.requested_at < stop
        ]
        if len(requests) > 1:
            return Judgement(bits, Reason.SUPPLEMENT_REPEATED, None, limit.at, None)
        if requests:
            at, reason = requests[0], Reason.SUPPLEMENT_ONCE
        elif ended is not None:
            at, reason = ended.at, Reason.CLOSED if ended.at else Reason.ENDED_WITHOUT_TIME
        else:
            reason = Reason.RUNNING
    if limit.at is None:
        assert limit.missing is not None
        return Judgement(bits | _UNDETERMINED, limit.missing, at, None, None)
    if (upto if at is None else at) - wait > limit.at:
        return Judgement(bits, reason, at, limit.at, None)
    turns_at = limit.at + wait + _TICK if at is None and not over else None
    # Past the period's end nothing turns in it; its very end does: "no end" is judged there.
    if turns_at is not None and turns_at > stop:
        turns_at = None
    return Judgement(bits | _ON_TIME, reason, at, limit.at, turns_at)


def _result(copy: Copy, end: End, limit: _Limit, origin: int) -> Judgement | None:
    """The judgement of the periods that hold an end by 9 or 10 whose time is told; None for any other end."""
    if end.at is None or end.done not in DONE:
        return None
    wait = _waited(copy, end.at, limit.by_maximum) if copy.supplements else _NOTHING
    end_at = end.at - wait if wait else end.at
    bits = origin | _DONE | (_BY_MAXIMUM if limit.by_maximum else 0) | (_WAIT_SUBTRACTED if wait else 0)
    if limit.at is None:
        assert limit.missing is not None
        return Judgement(bits | _UNDETERMINED, limit.missing, end_at, None, None)
    reason = Reason.FINISHED if end.done is DossierStatus.DONE else Reason.RETURNED
    return Judgement(bits | _ON_TIME if end_at <= limit.at else bits, reason, end_at, limit.at, None)


def _waited(copy: Copy, end: datetime, by_maximum: bool) -> timedelta:
    """Time of waiting for supplements up to the end. Where a request moved the appointment the wait is in the
    appointment already [I]; the procedure's maximum knows of no appointment, so there every wait counts."""
    total = _NOTHING
    for each in copy.supplements:
        if each.requested_at is None or each.completed_at is None or (each.moved and not by_maximum):
            continue
        total += max(min(each.completed_at, end) - each.requested_at, _NOTHING)
    return total


def _limit(facts: Facts, copy: Copy) -> _Limit:
    if copy.due_at is not None:
        return _Limit(copy.due_at, False, None)
    if not copy.procedure_code:
        return _Limit(None, False, Reason.NO_PROCEDURE)
    if facts.maximum is None or copy.received_at is None:
        return _Limit(None, False, Reason.NO_MAXIMUM)
    try:
        return _Limit(deadline(copy.received_at, facts.maximum.value, facts.maximum.unit), True, None)
    except (Invalid, OverflowError):  # a duration of zero or of centuries says nothing
        return _Limit(None, False, Reason.NO_MAXIMUM)


def _complained(facts: Facts, stop: datetime, now: datetime) -> bool:
    """5.4: whether a petition that names the dossier was sent before the end of a period, as known now. “100 % − (share
    overdue + share with a petition or dislike)”: which dossiers were disliked no source tells. A dossier that is both
    late and complained of is taken off once: in the numerator are those that are on time and not complained of."""
    at = facts.complained_at
    return at is not None and at < stop and at <= now


def _coming(facts: Facts, copy: Copy, end: End | None) -> list[datetime]:
    """Moments of this dossier at which a judgement may change; a message may be up to a day ahead of now."""
    moments = [each.requested_at for each in copy.supplements if each.requested_at is not None]
    if end is not None:
        moments.append(end.known_at)
    if facts.complained_at is not None:
        moments.append(facts.complained_at)
    return moments
