"""The world is the same for the same (seed, size, anchor), and moves only with its clock."""

from __future__ import annotations

from collections import Counter
from datetime import date, datetime, timedelta

import msgspec
import pytest

from services.sandbox.messages import head, steps
from services.sandbox.timeline import Kind
from services.sandbox.workdays import Workdays, epoch, iso, moment, wire
from services.sandbox.world import ClockRefused, World

ANCHOR = datetime.fromisoformat("2026-10-05T00:00:00+07:00")


def told(world: World) -> bytes:
    """All that the province holds and all that it told, as bytes."""
    rows: list[object] = [world.listed(), world.truth()]
    for dossier in world.dossiers:
        copy = world.sent(dossier, world.now)
        if copy is not None:
            rows.append([head(dossier, copy, with_applicant=True), steps(copy)])
    return msgspec.json.encode(rows)


def test_same_seed_same_bytes() -> None:
    first, second, other = (World(seed=seed, size=200, anchor=ANCHOR) for seed in (1, 1, 2))
    assert told(first) == told(second)
    assert told(first) != told(other)
    for world in (first, second):
        world.move(ANCHOR + timedelta(days=9, hours=13))
    assert told(first) == told(second)


def test_size_counts_what_came_in_before_the_anchor(still_world: World) -> None:
    known = [dossier for dossier in still_world.dossiers if dossier.kind != "national_only"]
    came = [dossier.times[1] for dossier in known]
    before = [at for at in came if at < still_world.anchor]
    assert len(before) == still_world.size
    assert min(came) > epoch(ANCHOR - timedelta(days=121))
    assert max(came) < epoch(ANCHOR + timedelta(days=61))
    assert 0.4 < (len(came) - len(before)) / len(before) < 0.6
    assert {moment(at).isoweekday() for at in came} == {1, 2, 3, 4, 5}


def test_codes(still_world: World) -> None:
    assert len(still_world.by_code) == len(still_world.dossiers)
    some = next(dossier for dossier in still_world.dossiers if not dossier.ministry_system)
    other = next(dossier for dossier in still_world.dossiers if dossier.ministry_system)
    day = moment(some.times[0])
    assert some.code.startswith(f"{some.unit.code}-{day:%y%m%d}-")
    assert some.local_code.startswith(f"000.00.{some.unit.code[4:]}.H31-{day:%y%m%d}-")
    assert len(some.code.rsplit("-", 1)[1]) == 4
    assert len(other.code.rsplit("-", 1)[1]) == 7
    assert 0.07 < sum(d.ministry_system for d in still_world.dossiers) / len(still_world.dossiers) < 0.13


def test_lives(still_world: World) -> None:
    kinds = Counter(event.kind for dossier in still_world.dossiers for event in dossier.events)
    assert set(kinds) == set(Kind)
    units = {dossier.procedure.duration_unit for dossier in still_world.dossiers}
    assert units == {"Giờ", "Ngày", "Ngày làm việc", "Tháng"}
    for dossier in still_world.dossiers:
        assert all(later > earlier for earlier, later in zip(dossier.times, dossier.times[1:], strict=False))
    ends = [(d, d.position(Kind.DONE)) for d in still_world.dossiers]
    finished = [(d.times[place], d.events[place].due) for d, place in ends if place is not None]
    late = sum(at > due for at, due in finished if due is not None) / len(finished)
    assert 0.05 < late < 0.12


def test_the_clock_moves_forward_up_to_its_limit(world: World) -> None:
    before = world.listed()
    world.move(ANCHOR + timedelta(days=4, hours=15))
    after = world.listed()
    assert len(after) > len(before)
    assert max(updated for updated, *_ in after) <= world.now
    told_before = {index: count for _, index, count in before}
    assert any(count > told_before.get(index, count) for _, index, count in after)
    with pytest.raises(ClockRefused, match="go back"):
        world.move(ANCHOR)
    with pytest.raises(ClockRefused, match="may not pass"):
        world.move(ANCHOR + timedelta(days=40))
    assert world.clock == ANCHOR + timedelta(days=4, hours=15)


def test_a_limit_before_the_anchor_leaves_the_anchor() -> None:
    world = World(size=5, anchor=ANCHOR, until=lambda: ANCHOR - timedelta(days=1))
    world.move(ANCHOR)
    with pytest.raises(ClockRefused):
        world.move(ANCHOR + timedelta(seconds=1))


@pytest.mark.parametrize(
    ("received", "duration", "unit", "due"),
    [
        ("2026-08-27T09:00:00+07:00", 2, "Ngày làm việc", "2026-09-03T17:00:00+07:00"),  # over 31/8-2/9
        ("2026-08-28T09:00:00+07:00", 3, "Ngày", "2026-09-03T17:00:00+07:00"),  # ends on a day off
        ("2026-08-28T16:00:00+07:00", 4, "Giờ", "2026-09-03T10:30:00+07:00"),
        ("2026-07-15T09:00:00+07:00", 2, "Tháng", "2026-09-15T17:00:00+07:00"),
    ],
)
def test_due(received: str, duration: int, unit: str, due: str) -> None:
    calendar = Workdays(date(2026, 1, 1), date(2026, 12, 31))
    at = epoch(datetime.fromisoformat(received))
    assert iso(calendar.due(at, duration, unit)) == due


def test_working_time_goes_both_ways() -> None:
    calendar = Workdays(date(2026, 1, 1), date(2026, 12, 31))
    for work in range(0, 40 * 8 * 3600, 1237):
        assert calendar.to_work(calendar.from_work(work)) == work
    assert wire(calendar.from_work(0)) == "20260105073000"  # 1/1 off, 2/1 exchanged, then a weekend
