"""Petitions (PAKN) of the world: each follows from (seed, its number), goes one of the ways in WAYS, and knows from
when on it is late, so that the truth needs no rule of anybody else's."""

from __future__ import annotations

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from random import Random

import holidays

from services.sandbox.dossier import Dossier
from services.sandbox.facts import PROVINCE, Unit, units
from services.sandbox.workdays import DAY, OFFSET, iso, moment

PER_DOSSIERS = 100
"""One petition for so many dossiers."""
REFUSE, ASK_MORE, HANDLE, PUBLISH = 2, 5, 15, 2
REPEATED, OF_A_DOSSIER, DISLIKED = 0.08, 0.4, 0.2
_KINDS = ("tthc",) * 75 + ("staff",) * 15 + ("other",) * 10


@dataclass(slots=True)
class Petition:
    """`events`: (moment, field of the message), in order; "likes" is the moment at which likes and dislikes were
    counted. `late_from`: since when one can say that a limit was missed, None: never. Epoch seconds."""

    index: int
    code: str
    kind: str
    way: str
    unit: Unit
    events: list[tuple[int, str]]
    late_from: int | None
    likes: int
    dislikes: int
    dossier_code: str | None = None
    repeats: Petition | None = None
    repeated_by: list[Petition] = field(default_factory=list)

    @property
    def sent_at(self) -> int:
        return self.events[0][0]

    def at(self, name: str, when: int) -> int | None:
        """When an event happened, as far as it has by `when`."""
        return next((at for at, each in self.events if each == name and at <= when), None)

    def told(self, when: int) -> int:
        """How many events there are to tell of."""
        return sum(at <= when for at, _ in self.events)

    def unit_at(self, when: int) -> str:
        """The province has it until it hands it over."""
        handed = self.way == "transferred" and self.at("transferred_at", when) is None
        return PROVINCE if handed else self.unit.code

    def message(self, when: int) -> dict[str, object]:
        """As POST /v1/petitions takes it."""
        item: dict[str, object] = {
            "code": self.code,
            "kind": self.kind,
            "unit_code": self.unit_at(when),
            "dossier_code": self.dossier_code,
            "repeats_code": self.repeats.code if self.repeats else None,
        }
        item |= {name: iso(at) for at, name in self.events if at <= when and name != "likes"}
        counted = self.at("likes", when)
        if counted is not None:
            item |= {"likes": self.likes, "dislikes": self.dislikes, "updated_at": iso(counted)}
        return item

    def truth(self, when: int) -> dict[str, object]:
        """What must be found at `when`. A period counts it by `counted_at`; at the period's end it was late where
        `late_from` had come, repeated where `repeated_from` had."""
        repeated = [each.sent_at for each in self.repeated_by if each.sent_at <= when]
        return {
            "code": self.code,
            "kind": self.kind,
            "way": self.way,
            "unit_code": self.unit_at(when),
            "counted_at": iso(self.at("received_at", when) or self.sent_at),
            "late_from": iso(self.late_from),
            "repeated_from": iso(min(repeated)) if repeated else None,
            "disliked": self.at("likes", when) is not None and self.dislikes > self.likes,
        }


class Limits:
    """Working days: weekends that are worked in exchange for a day off are among them."""

    def __init__(self, first: date, last: date) -> None:
        off = holidays.country_holidays("VN", years=range(first.year, last.year + 1))
        self._midnights: list[int] = []
        day = first
        while day <= last:
            if day in off.weekend_workdays or (day.weekday() < 5 and day not in off):
                self._midnights.append(
                    int(datetime(day.year, day.month, day.day, tzinfo=UTC).timestamp()) - OFFSET
                )
            day += timedelta(days=1)

    def after(self, at: int, days: int) -> int:
        """The first moment after the `days`-th working day that follows the day of `at`."""
        return self._midnight(at, days) + DAY

    def on(self, at: int, days: int, rng: Random) -> int:
        """A moment in office hours of the `days`-th working day after the day of `at`."""
        return self._midnight(at, days) + 7 * 3600 + 1800 + int(rng.random() * 9 * 3600)

    def _midnight(self, at: int, days: int) -> int:
        return self._midnights[bisect_right(self._midnights, at) - 1 + days]


Life = tuple[list[tuple[int, str]], int | None]
"""What follows the sending, and since when it is late."""


def _prompt(sent: int, rng: Random, limits: Limits) -> Life:
    received = limits.on(sent, 1, rng)
    handled = limits.on(sent, rng.randint(3, HANDLE), rng)
    events = [(received, "received_at"), (handled, "handled_at")]
    return [*events, (limits.on(handled, rng.randint(1, PUBLISH), rng), "published_at")], None


def _slow(sent: int, rng: Random, limits: Limits) -> Life:
    received = limits.on(sent, 2, rng)
    handled = limits.on(sent, rng.randint(HANDLE + 1, HANDLE + 15), rng)
    events = [
        (received, "received_at"),
        (handled, "handled_at"),
        (limits.on(handled, 1, rng), "published_at"),
    ]
    return events, limits.after(sent, HANDLE)


def _hidden(sent: int, rng: Random, limits: Limits) -> Life:
    """Answered in time; the answer is published late or never."""
    handled = limits.on(sent, rng.randint(3, HANDLE), rng)
    events = [(limits.on(sent, 1, rng), "received_at"), (handled, "handled_at")]
    if rng.random() < 0.7:
        events.append((limits.on(handled, rng.randint(PUBLISH + 1, PUBLISH + 9), rng), "published_at"))
    return events, limits.after(handled, PUBLISH)


def _silent(sent: int, rng: Random, limits: Limits) -> Life:
    return [(limits.on(sent, 2, rng), "received_at")] if rng.random() < 0.5 else [], limits.after(
        sent, HANDLE
    )


def _refused(sent: int, rng: Random, limits: Limits) -> Life:
    return [(limits.on(sent, rng.randint(1, REFUSE), rng), "refused_at")], None


def _refused_late(sent: int, rng: Random, limits: Limits) -> Life:
    refused = limits.on(sent, rng.randint(REFUSE + 1, REFUSE + 6), rng)
    return [(refused, "refused_at")], refused


def _transferred(sent: int, rng: Random, limits: Limits) -> Life:
    handed = limits.on(sent, rng.randint(1, 8), rng)
    events, late_from = _prompt(handed, rng, limits)
    return [(handed, "transferred_at"), *events], late_from


def _asked(sent: int, rng: Random, limits: Limits) -> Life:
    asked, received = limits.on(sent, rng.randint(1, ASK_MORE), rng), limits.on(sent, ASK_MORE + 2, rng)
    handled = limits.on(sent, rng.randint(ASK_MORE + 3, HANDLE), rng)
    events = [(asked, "more_asked_at"), (received, "received_at"), (handled, "handled_at")]
    return [*events, (limits.on(handled, 1, rng), "published_at")], None


def _asked_late(sent: int, rng: Random, limits: Limits) -> Life:
    asked, received = limits.on(sent, ASK_MORE + 2, rng), limits.on(sent, ASK_MORE + 4, rng)
    return [(asked, "more_asked_at"), (received, "received_at")], asked


WAYS: dict[str, tuple[int, Callable[[int, Random, Limits], Life]]] = {
    "prompt": (45, _prompt),
    "slow": (14, _slow),
    "hidden": (8, _hidden),
    "silent": (7, _silent),
    "refused": (9, _refused),
    "refused_late": (4, _refused_late),
    "transferred": (7, _transferred),
    "asked": (3, _asked),
    "asked_late": (3, _asked_late),
}
"""Name → how often in a hundred, and what happens."""


def petitions(
    seed: int, dossiers: Sequence[Dossier], *, past: tuple[int, int], coming: tuple[int, int], size: int
) -> list[Petition]:
    """In order of sending. `past`, `coming`: from when to when the first and the later ones are sent; `size`: how many
    dossiers the world has in `past`."""
    limits = Limits(
        moment(past[0]).date() - timedelta(days=30), moment(coming[1]).date() + timedelta(days=120)
    )
    count = max(12, size // PER_DOSSIERS)
    later = round(count * (coming[1] - coming[0]) / (past[1] - past[0]))
    found: list[Petition] = []
    for index in range(count + later):
        rng = Random(seed * 15_485_863 + index)  # noqa: S311
        window = past if index < count else coming
        sent = window[0] + int(rng.random() * (window[1] - window[0]))
        found.append(_live(index, sent, rng, limits))
    found.sort(key=lambda each: (each.sent_at, each.index))
    for number, each in enumerate(found, 1):
        each.code = f"PAKN.{moment(each.sent_at):%Y%m%d}.{number:05d}"
    _relate(found, dossiers, seed)
    return found


def _live(index: int, sent: int, rng: Random, limits: Limits) -> Petition:
    departments = rng.random() < 0.25
    of_level = [unit for unit in units() if unit.level == ("2" if departments else "3")]
    unit = of_level[int(rng.random() * len(of_level))]
    way = rng.choices([*WAYS], [share for share, _ in WAYS.values()])[0]
    events, late_from = WAYS[way][1](sent, rng, limits)
    likes, dislikes = rng.randint(0, 3), rng.randint(0, 2)
    if rng.random() < DISLIKED:
        dislikes = likes + 1
    shown = next((at for at, name in events if name == "published_at"), None)
    if shown is not None and likes + dislikes:
        events.append((shown + 3600 + int(rng.random() * 5 * DAY), "likes"))
    kind = _KINDS[int(rng.random() * len(_KINDS))]
    return Petition(index, "", kind, way, unit, [(sent, "sent_at"), *events], late_from, likes, dislikes)


def _relate(found: Sequence[Petition], dossiers: Sequence[Dossier], seed: int) -> None:
    """Which dossier a petition complains of, and which earlier petition it repeats."""
    received: defaultdict[str, list[Dossier]] = defaultdict(list)
    for dossier in dossiers:
        if dossier.received_at is not None and dossier.kind not in ("national_only", "code_replaced"):
            received[dossier.unit.code].append(dossier)
    before: list[Petition] = []
    for each in found:
        rng = Random(seed * 32_452_843 + each.index)  # noqa: S311
        tried = [before[int(rng.random() * len(before))] for _ in range(5 * (len(before) > 0))]
        earlier = next((one for one in tried if one.at("handled_at", each.sent_at - 1)), None)
        if earlier is not None and rng.random() < REPEATED:
            each.repeats, each.unit, each.kind = earlier, earlier.unit, earlier.kind
            each.dossier_code = earlier.dossier_code
            earlier.repeated_by.append(each)
        elif each.kind == "tthc" and rng.random() < OF_A_DOSSIER:
            known = [one for one in received[each.unit.code] if (one.received_at or 0) < each.sent_at]
            if known:
                each.dossier_code = known[int(rng.random() * len(known))].code
        before.append(each)
