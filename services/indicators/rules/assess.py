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
from datetime import date, datetime, time, timedelta
from typing import NamedTuple

from services.indicators.rules.facts import DONE, Copy, End, Facts, end_of
from services.indicators.rules.handling import Handling, handling_of
from services.indicators.rules.units import UnitTree
from shared.calendar import TZ, Period, deadline, periods_between
from shared.errors import Invalid
from shared.reasons import Bit, Reason, Source
from shared.vocabulary import DossierStatus

SINCE = date(2022, 6, 23)
"""The rule's first day: QĐ 766/QĐ-TTg. Periods that ended before it have no figure."""

_SINCE_AT = datetime.combine(SINCE, time(), TZ)
_TICK = timedelta(microseconds=1)
_NOTHING = timedelta()

_ORIGIN: dict[Source, Bit] = {
    Source.NATIONAL: Bit.FROM_NATIONAL,
    Source.SENT_CONFIRMED: Bit.FROM_SENT_CONFIRMED,
    Source.SENT_UNCONFIRMED: Bit.FROM_SENT_UNCONFIRMED,
    Source.PROVINCIAL: Bit.FROM_PROVINCIAL,
}


class Judgement(NamedTuple):
    """One dossier in one period.

    end_at: the end that was compared, None where it is the period's end (running: now). deadline_at: what
    it was compared with, None where nothing is known. turns_at: when the running period's judgement changes
    by time alone, None if it does not.
    """

    bits: Bit
    reason: Reason
    end_at: datetime | None
    deadline_at: datetime | None
    turns_at: datetime | None
    handled: Handling | None = None

    @property
    def on_time(self) -> bool:
        return Bit.ON_TIME in self.bits


class Contribution(NamedTuple):
    """What a dossier adds to a period: a row of assessment_period without its key."""

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
    judged = _judge(copy, end, _limit(facts, copy), _ORIGIN[facts.source], period, now)
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
    if copy is None or copy.received_at is None or source is not facts.source:
        wake_at = copy.received_at if copy and source is Source.NOT_YET_RECEIVED else None
        return Assessment(False, source, {}, wake_at)
    end = end_of(copy)
    limit, origin, procedure = _limit(facts, copy), _ORIGIN[source], copy.procedure_code or ""
    last = now if end is None else min(end.known_at, now)
    handled = handling_of(copy, end, now)
    contributions: dict[str, Contribution] = {}
    turns = [at for at in _coming(copy, end) if at > now]
    for period in periods_between(max(copy.received_at, _SINCE_AT), last):
        judged = _judge(copy, end, limit, origin, period, now)
        if judged is None:
            continue
        judged = _timed(judged, copy, handled, period)
        contributions[period.key] = Contribution(
            units.standing_for(copy.unit_code, period.last_day),
            procedure,
            int(judged.bits),
            judged.reason.value,
            judged.end_at,
            judged.deadline_at,
            *(judged.handled or (None, None)),
        )
        if judged.turns_at is not None:
            turns.append(judged.turns_at)
    running = end is None or end.known_at > now
    return Assessment(running, source, contributions, min(turns, default=None))


def _timed(judged: Judgement, copy: Copy, handled: Handling | None, period: Period) -> Judgement:
    """With the handling time, where the dossier was received in the period."""
    if handled is None or copy.received_at is None or not period.start <= copy.received_at < period.end:
        return judged
    return judged._replace(bits=judged.bits | Bit.HANDLED, handled=handled)


def _judge(
    copy: Copy, end: End | None, limit: _Limit, origin: Bit, period: Period, now: datetime
) -> Judgement | None:
    """The rule itself. Two doubts are read literally: the substitute end of a supplement request also covers
    dossiers that were stopped, refused or withdrawn (they have no 9/10 either); and a request counts
    although it was answered since."""
    received, start, stop = copy.received_at, period.start, period.end
    if received is None or received >= stop or (end is not None and end.known_at < start):
        return None
    over = stop <= now
    upto = stop if over else now
    ended = end if end is not None and end.known_at <= now and end.known_at < stop else None
    bits = (
        Bit.MEMBER
        | origin
        | (Bit.DONE if ended else Bit(0))
        | (Bit.BY_MAXIMUM if limit.by_maximum else Bit(0))
    )
    wait = _NOTHING
    at: datetime | None = None
    if ended is not None and ended.done in DONE:
        at = ended.at
        wait = _waited(copy, at or upto, limit.by_maximum)
        if wait:
            bits |= Bit.WAIT_SUBTRACTED
        reason = Reason.ENDED_WITHOUT_TIME
        if at is not None:
            reason = Reason.FINISHED if ended.done is DossierStatus.DONE else Reason.RETURNED
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
    end_at = None if at is None else at - wait
    if limit.at is None:
        assert limit.missing is not None
        return Judgement(bits | Bit.UNDETERMINED, limit.missing, end_at, None, None)
    if (upto if at is None else at) - wait > limit.at:
        return Judgement(bits, reason, end_at, limit.at, None)
    turns_at = limit.at + wait + _TICK if at is None and not over else None
    # Past the period's end nothing turns in it; its very end does: "no end" is judged there.
    if turns_at is not None and turns_at > stop:
        turns_at = None
    return Judgement(bits | Bit.ON_TIME, reason, end_at, limit.at, turns_at)


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


def _coming(copy: Copy, end: End | None) -> list[datetime]:
    """Moments of this dossier at which a judgement may change; a message may be up to a day ahead of now."""
    moments = [each.requested_at for each in copy.supplements if each.requested_at is not None]
    if end is not None:
        moments.append(end.known_at)
    return moments
