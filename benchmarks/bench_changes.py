"""1,000 changed dossiers → findings and figures current, against the bare SQL that reads their copies by key.

A new end comes for 1,000 dossiers, on all copies but one in ten of the nation's; their queue rows are written; then
the clock starts and runs until both workers have committed. The workers are processes, as deployed: one after the
other (what the work costs) and side by side (when the last of them is done). The baseline fetches all columns of all
copies of the same 1,000 codes over one connection, decoded. Medians of alternating runs, for each number of dossiers.
"""

from __future__ import annotations

import argparse
import asyncio
import multiprocessing
import random
import statistics
import time
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection

from benchmarks import lives
from benchmarks.stage import NOW, Stage, stage
from services.indicators import recount
from services.indicators import worker as indicators
from services.reconcile import worker as reconcile
from shared import queue
from shared.db import create_engine, session_scope
from shared.vocabulary import Consumer

CHANGED = 1_000
_WORK = {Consumer.RECONCILE: reconcile.work, Consumer.INDICATORS: indicators.work}
_NEW_END = """
UPDATE dossier SET status = 9, step_status = CASE WHEN step_status IS NOT NULL THEN 9 END, version = $2, learnt_at = $2,
    finished_at = least(coalesce(finished_at, received_at) + interval '30 hours', $2::timestamptz - interval '1 hour')
WHERE code = ANY($1::text[]) AND (portal <> 'national' OR hashtext(code) % 10 <> 0)
"""
_BARE = "SELECT * FROM dossier WHERE code = ANY($1::text[])"


def _serve(url: str, consumer: Consumer, pipe: Connection) -> None:
    """A worker's process: drains its queue each time that it is told to."""

    async def serve() -> None:
        engine = create_engine(url, pool_size=1)
        while pipe.recv():
            pipe.send(await queue.drain(engine, consumer=consumer, work=_WORK[consumer], now=NOW))
        await engine.dispose()

    asyncio.run(serve())


@contextmanager
def workers(url: str) -> Iterator[dict[Consumer, Connection]]:
    context = multiprocessing.get_context("spawn")
    pipes = {}
    processes = []
    for consumer in _WORK:
        pipes[consumer], theirs = context.Pipe()
        processes.append(context.Process(target=_serve, args=(url, consumer, theirs)))
        processes[-1].start()
    try:
        yield pipes
    finally:
        for pipe in pipes.values():
            pipe.send(False)
        for process in processes:
            process.join()


async def bring_up_to_date(url: str) -> None:
    engine = create_engine(url)
    await indicators.tick(engine, NOW)
    async with session_scope(engine) as session:
        await recount.recount(session, now=NOW)
    await reconcile.full(engine, lambda: NOW)
    await engine.dispose()


async def measure(
    here: Stage, pipes: dict[Consumer, Connection], dossiers: int, runs: int
) -> dict[str, list[float]]:
    connection = await here.connect()
    owner = await here.connect(owner=True)
    engine = create_engine(here.app_url, pool_size=1)
    chosen = random.Random(766)
    times: dict[str, list[float]] = {}

    async def change() -> list[str]:
        codes = sorted({lives.code_of(n, dossiers) for n in chosen.sample(range(dossiers), CHANGED)})
        await owner.execute(_NEW_END, codes, NOW)
        async with session_scope(engine) as session:
            await queue.enqueue(session, codes, consumers=tuple(_WORK), now=NOW)
        return codes

    def run(name: str, *groups: tuple[Consumer, ...]) -> None:
        """The workers of one group side by side, the groups one after the other."""
        started = time.perf_counter()
        for group in groups:
            begun = time.perf_counter()
            for consumer in group:
                pipes[consumer].send(True)
            for consumer in group:
                assert pipes[consumer].recv() >= CHANGED
            if len(groups) > 1:
                times.setdefault(f"  {group[0].value}", []).append(time.perf_counter() - begun)
        times.setdefault(name, []).append(time.perf_counter() - started)

    for each in range(runs + 1):
        for name, groups in (
            ("both, one after the other", [(consumer,) for consumer in _WORK]),
            ("both, side by side", [tuple(_WORK)]),
        ):
            codes = await change()
            started = time.perf_counter()
            assert len(await connection.fetch(_BARE, codes)) == CHANGED * 3
            times.setdefault("bare read by key", []).append(time.perf_counter() - started)
            run(name, *groups)
        if each == 0:  # plans and caches are made in the first round
            times.clear()
    async with session_scope(engine) as session:
        assert await recount.check(session) == []
    await engine.dispose()
    await owner.close()
    await connection.close()
    return times


async def fill(here: Stage, dossiers: int) -> None:
    owner = await here.connect(owner=True)
    await lives.fill(owner, dossiers)
    await owner.close()
    await bring_up_to_date(here.app_url)
    await vacuum(here)


async def vacuum(here: Stage) -> None:
    owner = await here.connect(owner=True)
    for table in ("assessment", "assessment_period", "comparison", "finding", "tally", "change"):
        await owner.execute(f"VACUUM (ANALYZE) {table}")
    await owner.close()


def report(dossiers: int, runs: int, times: dict[str, list[float]]) -> None:
    bare = statistics.median(times["bare read by key"])
    print(f"{CHANGED} changed of {dossiers:,} dossiers, three copies each, median of {runs} runs")
    for name, taken in sorted(times.items(), key=lambda each: each[0].strip() not in ("bare read by key",)):
        middle = statistics.median(taken)
        print(f"{name:<28}{middle * 1000:>9.1f} ms{middle / bare:>8.1f} ×")


def main() -> None:
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--dossiers", type=int, nargs="+", default=[100_000, 1_000_000])
    arguments.add_argument("--runs", type=int, default=5)
    options = arguments.parse_args()
    for dossiers in options.dossiers:
        with stage() as here:
            asyncio.run(fill(here, dossiers))
            with workers(here.app_url) as pipes:
                report(dossiers, options.runs, asyncio.run(measure(here, pipes, dossiers, options.runs)))


if __name__ == "__main__":
    main()
