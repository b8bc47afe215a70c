"""The world: all dossiers, the clock, and the three copies of a dossier as of a moment."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterator
from datetime import date, datetime, timedelta
from functools import cached_property
from random import Random

from services.sandbox import defects, papers
from services.sandbox.decisions import injected
from services.sandbox.dossier import Copy, Defect, Dossier, copy_after
from services.sandbox.facts import Procedure, Unit, offered, units
from services.sandbox.petitions import Petition, petitions
from services.sandbox.publication import publications
from services.sandbox.ratings import ended_months
from services.sandbox.timeline import live
from services.sandbox.workdays import DAY, Workdays, epoch, iso, moment

PAST_DAYS, FUTURE_DAYS = 120, 60
COMMUNE_SHARE = 0.75  # of the dossiers are received in communes


class ClockRefused(ValueError):
    """The clock was to go back, or past what it may reach."""


class World:
    """Deterministic from (seed, size, anchor). `size` dossiers received in the 120 days before the anchor,
    arrivals at the same daily rate for 60 days after it. The clock starts at the anchor and moves only by
    `move`; `until` (a moment, or a function that gives one, such as the real time) is its limit. `only`: units that
    receive dossiers, with a commune and a department at least; none named: all."""

    def __init__(
        self,
        *,
        seed: int = 766,
        size: int = 20_000,
        anchor: datetime,
        until: datetime | Callable[[], datetime] | None = None,
        only: Collection[str] = (),
    ) -> None:
        self.seed, self.size = seed, size
        self.anchor = self.now = epoch(anchor)
        self._until = until
        self.dossiers = _populate(seed, size, self.anchor, only)
        self.by_code = {dossier.code: dossier for dossier in self.dossiers}
        self.by_national_code = {defects.national_code(dossier): dossier for dossier in self.dossiers}
        self._listed: tuple[int, list[tuple[int, int, int]]] = (-1, [])

    @cached_property
    def petitions(self) -> list[Petition]:
        """Those of the same days as the dossiers, in order of sending."""
        begin, end = self.anchor - PAST_DAYS * DAY, self.anchor + FUTURE_DAYS * DAY
        past, coming = (begin, self.anchor), (self.anchor, end)
        return petitions(self.seed, self.dossiers, past=past, coming=coming, size=self.size)

    def ended_months(self) -> list[tuple[int, int]]:
        """(year, month) of the world's months that have ended at the clock."""
        return ended_months(self.anchor - PAST_DAYS * DAY, self.now)

    @property
    def clock(self) -> datetime:
        return moment(self.now)

    @property
    def until(self) -> datetime | None:
        return self._until() if callable(self._until) else self._until

    def move(self, to: datetime) -> None:
        """Moves the clock. ClockRefused when it would go back or past `until`."""
        wanted, limit = epoch(to), self.until
        if wanted < self.now:
            raise ClockRefused(f"the clock stands at {iso(self.now)} and does not go back to {iso(wanted)}")
        if limit is not None and wanted > max(epoch(limit), self.anchor):
            raise ClockRefused(f"the clock may not pass {iso(epoch(limit))}; {iso(wanted)} was asked for")
        self.now = wanted

    # --- copies: None where a system does not hold the dossier at that moment (epoch seconds)

    def provincial_count(self, dossier: Dossier, at: int) -> int:
        return 0 if dossier.kind == "national_only" else dossier.happened(at - dossier.save_delay)

    def provincial(self, dossier: Dossier, at: int) -> Copy | None:
        count = self.provincial_count(dossier, at)
        return self._held(dossier, count) if count else None

    def _held(self, dossier: Dossier, count: int) -> Copy:
        return defects.as_held(dossier, copy_after(dossier, count))

    def sent_count(self, dossier: Dossier, at: int) -> int:
        """How many events the nation was told of; only received dossiers are sent."""
        if dossier.kind in ("national_only", "lost_before_send"):
            return 0
        return self._told(dossier, at)

    def _told(self, dossier: Dossier, at: int) -> int:
        count = dossier.happened(at - dossier.send_lag)
        if count < 2 or dossier.received_at is None:
            return 0
        return defects.held_back(dossier, count)

    def sent(self, dossier: Dossier, at: int) -> Copy | None:
        count = self.sent_count(dossier, at)
        return defects.as_sent(dossier, count, self._held(dossier, count)) if count else None

    def on_national(self, dossier: Dossier, at: int) -> bool:
        if dossier.kind in ("lost_before_send", "lost_after_send") or dossier.received_at is None:
            return False
        return dossier.received_at + dossier.send_lag + dossier.show_lag <= at

    def national(self, dossier: Dossier, at: int) -> Copy | None:
        if not self.on_national(dossier, at):
            return None
        count = self._told(dossier, at - dossier.show_lag)
        return defects.as_shown(dossier, defects.as_sent(dossier, count, self._held(dossier, count)))

    def copies(self, code: str, at: datetime | None = None) -> dict[str, Copy | None]:
        """The provincial, the sent and the national copy of a code at a moment (default: the clock's)."""
        dossier, when = self.by_code[code], self.now if at is None else epoch(at)
        return {
            "provincial": self.provincial(dossier, when),
            "sent": self.sent(dossier, when),
            "national": self.national(dossier, when),
        }

    def listed(self) -> list[tuple[int, int, int]]:
        """What the provincial search lists at the clock: (updated_at, index, events so far), newest first."""
        at, rows = self._listed
        if at != self.now:
            rows = []
            for dossier in self.dossiers:
                count = self.provincial_count(dossier, self.now)
                if count:
                    rows.append((dossier.times[count - 1] + dossier.save_delay, dossier.index, count))
            rows.sort(reverse=True)
            self._listed = (self.now, rows)
        return rows

    # --- truth

    def truth(self, at: datetime | None = None) -> dict[str, object]:
        """Every injected defect that shows at a moment (default: the clock's), by dossier, procedure and unit; and what
        is true of every petition that has been sent by then, and of the publication of the province's own procedures.

        `values` holds the field concerned in each copy; `expected_at` (lost ones) is since when the nation
        should know; `updated_at` the newest event in the province, from which a grace time counts.
        """
        when = self.now if at is None else epoch(at)
        told = [each.truth(when) for each in self.petitions if each.sent_at <= when]
        return {
            "at": iso(when),
            "dossiers": list(self._manifest(when)),
            "procedures": injected(),
            "units": list(self._told_falsely(when)),
            "petitions": told,
            "publications": [each.truth() for each in publications()],
        }

    def _told_falsely(self, when: int) -> Iterator[dict[str, object]]:
        """What the adapter of a unit tells falsely of all its dossiers, by month of receipt, with the numbers that show
        it: `dossiers` that the nation was told of; of them with a fee paid (`paid`), and so in person (`in_person`)."""
        counts: dict[tuple[str, str], Counter[str]] = {}
        for dossier in self.dossiers:
            if dossier.unit.code not in papers.TOLD_FALSELY:
                continue
            copy = self.national(dossier, when) or self.sent(dossier, when)
            if copy is None or copy.received_at is None:
                continue
            paid = bool(copy.papers.paid) and not copy.papers.free and copy.status != 6
            of = counts.setdefault((dossier.unit.code, f"{moment(copy.received_at):%Y-%m}"), Counter())
            of.update(dossiers=1, paid=paid, in_person=paid and dossier.channel == 1)
        for (unit_code, month), told in sorted(counts.items()):
            yield {"unit_code": unit_code, "month": month, "defect": papers.TOLD_FALSELY[unit_code], **told}

    def _manifest(self, when: int) -> Iterator[dict[str, object]]:
        for dossier in self.dossiers:
            since = defects.manifest(dossier, when)
            if since is None:
                continue
            assert dossier.defect is not None
            copies = self.copies(dossier.code, moment(when))
            provincial = copies["provincial"]
            row: dict[str, object] = {
                "code": dossier.code,
                "defect": dossier.defect.kind,
                "where": dossier.defect.where,
                "manifest_since": iso(since),
                "received_at": iso(dossier.received_at),
                "updated_at": iso(provincial.updated_at) if provincial else None,
                "unit_code": dossier.unit.code,
                "values": defects.values(dossier.defect.kind, copies),
            }
            if dossier.defect.kind.startswith("lost_"):
                row["expected_at"] = iso(dossier.received_at)
            yield row


def _populate(seed: int, size: int, anchor: int, only: Collection[str]) -> list[Dossier]:
    today = moment(anchor).date()
    calendar = Workdays(date(today.year - 1, 1, 1), date(today.year + 3, 12, 31))
    begin, middle = calendar.to_work(anchor - PAST_DAYS * DAY), calendar.to_work(anchor)
    end = calendar.to_work(anchor + FUTURE_DAYS * DAY)
    coming = round(size * (end - middle) / (middle - begin))
    unknown, unknown_coming = (
        max(2, round(defects.NATIONAL_ONLY * size)),
        round(defects.NATIONAL_ONLY * coming),
    )
    communes, departments = _counters("3", only), _counters("2", only)
    dossiers: list[Dossier] = []
    for index in range(size + coming + unknown + unknown_coming):
        rng = Random(seed * 10_000_019 + index)  # noqa: S311
        past = index < size or size + coming <= index < size + coming + unknown
        window = (begin, middle) if past else (middle, end)
        group = communes if rng.random() < COMMUNE_SHARE else departments
        unit, choice = group[int(rng.random() * len(group))]
        procedure, life = live(rng, unit, choice, *window, calendar)
        save, send, show = (
            1 + int(rng.random() * 20),
            300 + int(rng.random() * 6900),
            300 + int(rng.random() * 3300),
        )
        times = [event.at for event in life.events]
        dossier = Dossier(
            index, unit, procedure, life.channel, life.ministry_system, life.events, times, save, send, show
        )
        dossier.papers = papers.draw(rng, seed, unit, procedure)
        if index >= size + coming:
            dossier.defect = Defect("national_only", defects.NATION, None)
        dossiers.append(dossier)
    _number(dossiers)
    defects.assign(dossiers[: size + coming], anchor, seed)
    return dossiers


def _counters(level: str, only: Collection[str]) -> list[tuple[Unit, list[Procedure]]]:
    return [
        (unit, [procedure for procedure in offered(unit.code) for _ in range(procedure.weight)])
        for unit in units()
        if unit.level == level and (not only or unit.code in only)
    ]


def _number(dossiers: list[Dossier]) -> None:
    """Codes as the counters give them: a serial per unit and day, in order of submission (portals.md §5)."""
    serials: defaultdict[tuple[str, int], int] = defaultdict(int)
    for dossier in sorted(dossiers, key=lambda each: (each.times[0], each.index)):
        unit = dossier.unit.code
        day = moment(dossier.times[0]).date()
        serials[unit, day.toordinal()] += 1
        serial = serials[unit, day.toordinal()]
        tail = f"{day:%Y%m%d}-{serial:07d}" if dossier.ministry_system else f"{day:%y%m%d}-{serial:04d}"
        dossier.code = f"{unit}-{tail}"
        dossier.local_code = f"000.00.{unit.removeprefix('H31.')}.H31-{tail}"


def default_anchor(now: datetime) -> datetime:
    """The first moment of today, in Việt Nam."""
    local = moment(epoch(now))
    return local - timedelta(hours=local.hour, minutes=local.minute, seconds=local.second)
