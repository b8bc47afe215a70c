"""Whatever comes in whatever order, the tally is what a recount gives, and what counting by hand gives."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from typing import Any, TypeVar

import hypothesis
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession

from services.indicators import queries, recount, worker
from services.indicators.copies import facts_of, unit_tree
from services.indicators.queries import Scope
from services.indicators.rules.assess import judge
from services.indicators.rules.measures import COLUMNS, MEASURES, SUMS, Measure, Part, added
from services.ingest import service as ingest
from services.ingest.normalise import Head, Step
from services.ingest.petition_messages import PetitionRow
from services.ingest.petitions import accept_petitions
from shared import queue
from shared.calendar import Period, period_of
from shared.db import create_engine, driver, session_scope
from shared.dossier_components import COUNTS, Count
from shared.vocabulary import Basis, Consumer, Fact, Portal, ProcedureFact
from tests import make
from tests.conftest import Cluster
from tests.make import moment

CODES = [f"H31.135-260803-{number:04}" for number in range(6)]
AGENCIES = ["H31.135", "H31.136", "H31.16", None]
START = moment("2026-08-03 08:00")
Result = TypeVar("Result")

# Near enough to each other that appointments pass while a dossier is worked on, and months end meanwhile.
hours = st.integers(0, 24 * 12)
states = st.sampled_from([1, 2, 4, 4, 4, 4, 5, 6, 9, 9, 10, 3, 7, 8])
supplements = st.lists(st.tuples(hours, st.none() | hours, st.booleans()), max_size=2)


def iso(at: datetime | None) -> str | None:
    return at.isoformat() if at else None


class Dossiers(RuleBasedStateMachine):
    """Arrivals, corrections, time, proofs, units, and workers that stop in the middle."""

    cluster: Cluster
    runner: asyncio.Runner

    def run(self, work: Coroutine[Any, Any, Result]) -> Result:
        return self.runner.run(work)

    @initialize()
    def begin(self) -> None:
        self.now = START
        self.name = self.run(self.cluster.create())
        self.engine: AsyncEngine = create_engine(self.cluster.app_url(self.name))
        self.run(self._base())
        # Drawn alone, few would ever be counted; these are, until something happens to them.
        received = START - timedelta(hours=1)
        for code, days in zip(CODES, (1, 5, 40), strict=False):
            due = START + timedelta(days=days)
            head = make.head(code, unit_name=None, received_at=received, due_at=due, version=received)
            self.run(self._accept(head, Portal.SENT))

    async def _base(self) -> None:
        async with session_scope(self.engine) as session:
            await make.units(session)
            await make.procedure(session)
            await make.procedure(session, "1.009999", max_duration=None, duration_unit=None)

    def teardown(self) -> None:
        if not hasattr(self, "engine"):
            return
        try:
            # Whatever happened: from here on by time alone, over appointments and over the ends of months.
            for days in (0, 4, 35, 70):
                self.now += timedelta(days=days)
                self.run(self._compare())
        finally:
            self.run(self.engine.dispose())
            self.run(self.cluster.drop(self.name))

    @asynccontextmanager
    async def _session(self) -> AsyncIterator[AsyncSession]:
        async with session_scope(self.engine) as session:
            yield session

    @rule(
        code=st.sampled_from(CODES),
        portal=st.sampled_from(Portal),
        agency=st.sampled_from(AGENCIES),
        status=states,
        received=st.none() | hours,
        due=st.none() | hours,
        finished=st.none() | hours,
        asked=supplements,
        procedure=st.sampled_from(["1.001612", "1.009999", None]),
        cancelled=st.sampled_from([False, False, False, True]),
        channel=st.sampled_from([None, 1, 2, 2]),
        facts=st.none() | st.integers(0, sum(Fact)),
    )
    def arrive(
        self,
        code: str,
        portal: Portal,
        agency: str | None,
        status: int,
        received: int | None,
        due: int | None,
        finished: int | None,
        asked: list[tuple[int, int | None, bool]],
        procedure: str | None,
        cancelled: bool,
        channel: int | None,
        facts: int | None,
    ) -> None:
        """Received up to 11 days ago or some hours ahead; everything else counts from there."""
        self.now += timedelta(seconds=1)  # so that each message is newer than the one before
        latest = self.now + timedelta(hours=20)

        def after(begin: datetime | None, later: int | None, most: datetime | None) -> datetime | None:
            if begin is None or later is None:
                return None
            at = begin + timedelta(hours=later)
            return at if most is None else min(at, most)

        begin = after(self.now - timedelta(hours=24 * 11), received, latest)
        texts = [
            {
                "requested_at": iso(after(begin, requested, latest)),
                "completed_at": iso(after(begin, completed, latest)),
                "due_before": None,
                "due_after": iso(begin) if moved else None,
            }
            for requested, completed, moved in asked
        ]
        head = make.head(
            code,
            agency_code=agency,
            unit_name=None,
            status=status,
            received_at=begin,
            due_at=after(begin, due, None),
            finished_at=after(begin, finished, latest),
            supplements=json.dumps(texts) if texts else None,
            procedure_code=procedure,
            cancelled=cancelled,
            channel=channel,
            facts=facts or 0,
            facts_known=0 if facts is None else int(sum(Fact)),
            version=self.now,
        )
        self.run(self._accept(head, portal))

    async def _accept(self, head: Head, portal: Portal) -> None:
        async with self._session() as session:
            await ingest.accept(
                session, portal=portal, via="push", door="test", sender="test", now=self.now, heads=[head]
            )

    @rule(code=st.sampled_from(CODES), portal=st.sampled_from(Portal), ago=hours, status=states)
    def step(self, code: str, portal: Portal, ago: int, status: int) -> None:
        at = self.now - timedelta(hours=ago)
        self.run(self._step(make.step(code)._replace(occurred_at=at, status=status), portal))

    async def _step(self, step: Step, portal: Portal) -> None:
        async with self._session() as session:
            await ingest.accept(
                session, portal=portal, via="push", door="test", sender="test", now=self.now, steps=[step]
            )

    @rule(
        petition=st.sampled_from(["P1", "P2", "P3"]),
        code=st.sampled_from([*CODES, None]),
        sent=st.integers(-20, 24 * 12),
        newer=st.booleans(),
        after_work=st.booleans(),
    )
    def petition(self, petition: str, code: str | None, sent: int, newer: bool, after_work: bool) -> None:
        """A petition names a dossier, another one, or none any more; before the dossier comes, or after it was judged;
        older news of it change nothing."""
        if after_work:
            self.run(self._work(len(CODES), 3))
        sent_at = self.now - timedelta(hours=sent)
        row = PetitionRow(
            **dict.fromkeys(PetitionRow._fields),  # type: ignore[arg-type]
        )._replace(
            code=petition,
            kind="tthc",
            dossier_code=code,
            sent_at=sent_at,
            likes=0,
            dislikes=0,
            version=self.now if newer else sent_at,
        )
        self.run(self._petition(row))

    async def _petition(self, row: PetitionRow) -> None:
        async with self._session() as session:
            await accept_petitions(session, [row], via="push", door="petitions", sender="test", now=self.now)

    @rule(code=st.sampled_from(CODES), found=st.sampled_from([True, False, None]))
    def look_up(self, code: str, found: bool | None) -> None:
        self.run(
            self._execute(
                [code],
                "INSERT INTO presence (code, portal, found, checked_at, via)"
                " VALUES (:code, 'national', :found, :now, 'lookup')"
                " ON CONFLICT (code, portal) DO UPDATE SET found = excluded.found",
                {"code": code, "found": found, "now": self.now},
            )
        )

    @rule(code=st.sampled_from(CODES))
    def vanish(self, code: str) -> None:
        self.run(
            self._execute(
                [code],
                "UPDATE dossier SET vanished_at = :now WHERE code = :code AND portal = 'national'",
                {"code": code, "now": self.now},
            )
        )

    @rule(
        code=st.sampled_from(["1.001612", "1.009999"]),
        facts=st.lists(st.sampled_from(ProcedureFact)).map(sum),
    )
    def a_procedure_changes(self, code: str, facts: int) -> None:
        """What the nation says of a procedure matters when a figure is read: no dossier is assessed again."""
        self.run(
            self._execute(
                [], "UPDATE procedure SET facts = :facts WHERE code = :code", {"facts": facts, "code": code}
            )
        )

    @rule(code=st.sampled_from(CODES))
    def remove(self, code: str) -> None:
        self.run(self._execute([code], "DELETE FROM dossier WHERE code = :code", {"code": code}))

    @rule(successor=st.sampled_from(["H31.16", None]))
    def end_a_unit(self, successor: str | None) -> None:
        """The tree changes; ingest queues the dossiers of a unit that does."""
        self.run(
            self._execute(
                CODES,
                "UPDATE unit SET valid_to = '2026-08-31', successor_code = :successor WHERE code = 'H31.135'",
                {"successor": successor},
            )
        )

    async def _execute(self, codes: list[str], statement: str, values: dict[str, Any]) -> None:
        async with self._session() as session:
            await session.execute(text(statement), values)
            await queue.enqueue(session, codes, consumers=[Consumer.INDICATORS], now=self.now)

    @rule(step=st.integers(1, 24 * 3) | st.integers(24 * 20, 24 * 100))
    def time_goes_on(self, step: int) -> None:
        self.now += timedelta(hours=step)

    @rule(limit=st.integers(1, 4), count=st.integers(1, 3))
    def work(self, limit: int, count: int) -> None:
        """A few takes, perhaps not all of them."""
        self.run(self._work(limit, count))

    async def _work(self, limit: int, count: int) -> None:
        await worker.tick(self.engine, self.now)
        for _ in range(count):
            await queue.work_once(
                self.engine, consumer=Consumer.INDICATORS, work=worker.work, now=self.now, limit=limit
            )

    @invariant()
    def the_tally_is_the_sum_of_its_dossiers(self) -> None:
        """At any moment, also between two takes."""
        if hasattr(self, "engine"):
            assert self.run(self._check()) == []

    async def _check(self) -> list[recount.Difference]:
        async with self._session() as session:
            return await recount.check(session)

    @rule()
    def worked_off_it_is_what_counting_by_hand_gives(self) -> None:
        self.run(self._compare())

    async def _compare(self) -> None:
        await worker.tick(self.engine, self.now)
        await queue.drain(self.engine, consumer=Consumer.INDICATORS, work=worker.work, now=self.now)
        before = await self._rows()
        async with self._session() as session:
            await recount.recount(session, now=self.now)
        assert await self._rows() == before, "a recount changes nothing"
        by_hand = await self._by_hand()
        for period in sorted({period for _, period, _ in by_hand} | {str(self.now.year)}):
            for basis in Basis:
                for unit in ("H31", "H31.135", "H31.136", "H31.16"):
                    scope = Scope(basis, Period.parse(period), unit)
                    expected: Counter[str] = Counter()
                    for (each_basis, each_period, each_unit), counts in by_hand.items():
                        inside = each_unit == unit or each_unit.startswith(unit + ".")
                        if (each_basis, each_period) == (basis, period) and inside:
                            expected.update(counts)
                    async with self._session() as session:
                        figures = await queries.figures(session, scope)
                        found = figures.counts
                        assert found == {column: expected[column] for column in COUNTS}
                        assert figures.measured == await self._measured(session, scope)
                        await self._items_are_the_figure(session, scope, figures.measured)
                        times = await queries.times(session, scope, after=None, limit=100)
                        assert sum(each.dossiers for each in times) == found["handled"]
                        for place, column in enumerate(SUMS):
                            assert sum(each.handling[place] for each in times) == expected[column]

    async def _measured(self, session: AsyncSession, scope: Scope) -> dict[Count, int]:
        """The measures' figures, dossier by dossier."""
        rows = await (await driver(session)).fetch("SELECT code, facts FROM procedure")
        procedures = dict(map(tuple, rows))
        counts = queries.MEASURED
        found: dict[Count, list[str]] = {count: [] for count in counts}
        for basis, period, unit, procedure, bits in self.judged:
            inside = unit == scope.unit or unit.startswith(scope.unit + ".")
            if (basis, period) == (scope.basis.value, scope.period.key) and inside:
                for count in counts:
                    if count.holds(bits, procedures.get(procedure, 0)):
                        found[count].append(procedure)
        return {count: len(set(each) if count.procedures else each) for count, each in found.items()}

    async def _items_are_the_figure(
        self, session: AsyncSession, scope: Scope, found: dict[Count, int]
    ) -> None:
        for measure in (each for each in MEASURES.values() if each.origin == "tally"):
            numerator = await self._pages(session, scope, measure, "numerator")
            shortfall = await self._pages(session, scope, measure, "shortfall")
            assert len(numerator) == found[measure.numerator]
            assert len(numerator) + len(shortfall) == found[measure.denominator]
            assert len(numerator | shortfall) == found[measure.denominator]

    async def _pages(self, session: AsyncSession, scope: Scope, measure: Measure, part: Part) -> set[str]:
        codes: list[str] = []
        if measure.subject == "procedure":
            while procedures := await queries.procedure_items(
                session, scope, measure, part, after=codes[-1] if codes else "", limit=2
            ):
                codes += [each.code for each in procedures]
        after = ("", "")
        while measure.subject == "dossier" and (
            page := await queries.items(session, scope, measure, part, after=after, limit=2)
        ):
            codes += [item.code for item in page]
            after = (page[-1].unit_code, page[-1].code)
        assert len(codes) == len(set(codes))
        return set(codes)

    async def _rows(self) -> list[tuple[Any, ...]]:
        async with self._session() as session:
            connection = await driver(session)
            columns = ", ".join(COLUMNS)
            periods = await connection.fetch("SELECT * FROM assessment_period ORDER BY code, basis, period")
            heads = await connection.fetch(
                "SELECT code, basis, source, open, wake_at FROM assessment ORDER BY code, basis"
            )
            tally = await connection.fetch(
                f"SELECT basis, period, unit_code, procedure_code, {columns} FROM tally"
                " WHERE dossiers > 0 ORDER BY 1, 2, 3, 4"
            )
            return [tuple(row) for rows in (periods, heads, tally) for row in rows]

    async def _by_hand(self) -> dict[tuple[str, str, str], Counter[str]]:
        """Every dossier in every period, one judgement at a time: no differences, no tables of ours."""
        found: dict[tuple[str, str, str], Counter[str]] = {}
        self.judged: list[tuple[str, str, str, str, int]] = []
        async with self._session() as session:
            connection = await driver(session)
            facts = await facts_of(connection, CODES)
            units = await unit_tree(connection)
        for basis, each in (pair for both in facts.values() for pair in zip(Basis, both, strict=True)):
            for period in self._periods():
                judged = judge(each, period, self.now)
                if judged is None or each.copy is None:
                    continue
                unit = units.standing_for(each.copy.unit_code, period.last_day)
                procedure = each.copy.procedure_code or ""
                self.judged.append((basis.value, period.key, unit, procedure, judged.bits))
                sums = judged.handled or (0, 0)
                counts = dict(zip(COLUMNS, added(int(judged.bits), *sums), strict=True))
                found.setdefault((basis.value, period.key, unit), Counter()).update(counts)
        return found

    def _periods(self) -> list[Period]:
        found = []
        for kind in ("month", "quarter", "year"):
            period = period_of(kind, START - timedelta(days=40))
            while period.start <= self.now:
                found.append(period)
                period = period.next()
        return found


def test_any_sequence_of_changes(cluster: Cluster) -> None:
    with asyncio.Runner() as runner:
        Dossiers.cluster, Dossiers.runner = cluster, runner
        run_state_machine_as_test(
            Dossiers,
            settings=hypothesis.settings(
                max_examples=25,
                stateful_step_count=25,
                deadline=None,
                suppress_health_check=list(hypothesis.HealthCheck),
            ),
        )
