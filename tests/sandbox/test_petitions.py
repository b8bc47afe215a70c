"""Petitions of the world: what is said to be true of them is so, and it follows from the seed."""

from __future__ import annotations

from datetime import datetime, timedelta

from services.sandbox.petitions import WAYS, Petition
from services.sandbox.published import Published
from services.sandbox.ratings import ended_months, ratings
from services.sandbox.workdays import epoch
from services.sandbox.world import World

ANCHOR = datetime.fromisoformat("2026-10-05T00:00:00+07:00")
LATE = {"slow", "hidden", "silent", "refused_late", "asked_late"}


def test_the_same_seed_gives_the_same_petitions(still_world: World) -> None:
    again, other = World(size=3_000, anchor=ANCHOR), World(size=3_000, anchor=ANCHOR, seed=1)
    at = still_world.now
    told = [each.message(at) for each in still_world.petitions]
    assert told == [each.message(at) for each in again.petitions]
    assert told != [each.message(at) for each in other.petitions]
    assert len({each.code for each in still_world.petitions}) == len(still_world.petitions) == 45


def test_every_way_is_gone_and_says_whether_it_is_late() -> None:
    world = World(size=40_000, anchor=ANCHOR)
    assert {each.way for each in world.petitions} == set(WAYS)
    for each in world.petitions:
        assert (each.late_from is not None) == (each.way in LATE)
        moments = [at for at, _ in each.events]
        assert moments == sorted(moments), each.way
        if each.repeats is not None:
            assert each.repeats.sent_at < each.sent_at
            assert each in each.repeats.repeated_by
    named = {each.dossier_code for each in world.petitions} - {None}
    assert len(named) > 50
    assert named <= world.by_code.keys()
    assert sum(each.repeats is not None for each in world.petitions) > 10


def test_what_is_told_grows_with_the_clock(still_world: World) -> None:
    transferred = next(each for each in still_world.petitions if each.way == "transferred")
    handed = next(at for at, name in transferred.events if name == "transferred_at")
    assert transferred.unit_at(handed - 1) == "H31" != transferred.unit_at(handed)
    assert "transferred_at" not in transferred.message(handed - 1)
    end = still_world.now + 400 * 86_400
    for each in still_world.petitions:
        assert each.told(end) == len(each.events)
        assert _fields(each, end) == {name for _, name in each.events}
        for at, name in each.events:
            assert name not in _fields(each, at - 1)


def _fields(petition: Petition, when: int) -> set[str]:
    told = petition.message(when)
    return {name for name in told if name.endswith("_at") and name != "updated_at"} | (
        {"likes"} if "likes" in told else set()
    )


def test_the_portal_publishes_what_is_true(still_world: World) -> None:
    published = Published(still_world)
    begin, end = epoch(datetime.fromisoformat("2026-07-01T00:00:00+07:00")), still_world.now
    counts = published.petitions(begin, end)
    truth = [
        each.truth(still_world.now)
        for each in still_world.petitions
        if begin <= (each.at("received_at", still_world.now) or each.sent_at) < end
    ]
    assert counts["H31"]["all"] == len(truth) > 20
    assert sum(each["all"] for code, each in counts.items() if code != "H31") <= len(truth)
    late = [
        row for row in truth if row["late_from"] and str(row["late_from"]) < still_world.clock.isoformat()
    ]
    assert 0 < counts["H31"]["on_time"] == len(truth) - len(late) < len(truth)
    assert counts["H31"]["satisfied"] < counts["H31"]["on_time"]
    dossiers = published.counts(begin, end)["H31"].n
    named = {each.dossier_code for each in still_world.petitions if each.sent_at < end} - {None}
    assert 0 < dossiers["on_time"] - dossiers["satisfied"] <= len(named)


def test_months_that_have_ended() -> None:
    begin = epoch(ANCHOR - timedelta(days=30))
    assert ended_months(begin, epoch(ANCHOR)) == [(2026, 9)]
    assert ended_months(begin, epoch(datetime.fromisoformat("2027-01-01T00:00:00+07:00"))) == [
        (2026, 9), (2026, 10), (2026, 11), (2026, 12)
    ]  # fmt: skip
    items = list(ratings(766, 2026, 9))
    assert items == list(ratings(766, 2026, 9))
    assert {item["NgayTongHop"] for item in items} == {"9-2026"}
    for item in items:
        shares = item["PhanTramDanhGia"]
        assert isinstance(shares, dict)
        assert sum(int(share) for share in shares.values()) == 100
