"""A full recount, against one bare GROUP BY unit, procedure, month over the copies that count.

The dossiers are those of benchmarks/lives.py: three copies each; one in a hundred has copies that differ, and is
judged by itself. Two recounts are timed: of assessments that are right already, as
`chiso recount` finds them (all is read, judged and held against what is stored, nothing is written), and from nothing
(all is written). The baseline is timed before each; medians.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import time

import asyncpg

from benchmarks import lives
from benchmarks.stage import NOW, Stage, stage
from services.indicators import recount
from services.indicators import worker as indicators
from shared.db import create_engine, session_scope

_BARE = """
SELECT unit_code, procedure_code, date_trunc('month', received_at, 'Asia/Ho_Chi_Minh') AS month, count(*)
FROM dossier WHERE portal = 'national' AND vanished_at IS NULL AND NOT cancelled GROUP BY 1, 2, 3
"""
_TABLES = ("assessment", "assessment_period", "tally", "change")


async def _seconds(connection: asyncpg.Connection) -> float:
    started = time.perf_counter()
    await connection.fetch(_BARE)
    return time.perf_counter() - started


async def measure(here: Stage, dossiers: int, runs: int) -> dict[str, list[float]]:
    owner, connection = await here.connect(owner=True), await here.connect()
    await lives.fill(owner, dossiers)
    engine = create_engine(here.app_url, pool_size=1)
    await indicators.tick(engine, NOW)
    times: dict[str, list[float]] = {"bare GROUP BY": []}

    async def run(name: str) -> None:
        times["bare GROUP BY"] += [await _seconds(connection) for _ in range(2)]
        started = time.perf_counter()
        async with session_scope(engine) as session:
            assert await recount.recount(session, now=NOW) == dossiers
        times.setdefault(name, []).append(time.perf_counter() - started)
        for table in _TABLES:
            await owner.execute(f"VACUUM (ANALYZE) {table}")

    await _seconds(connection)
    await run("recount from nothing")
    for _ in range(runs):
        await run("recount of what is right")
    async with session_scope(engine) as session:
        assert await recount.check(session) == []
    await engine.dispose()
    await connection.close()
    await owner.close()
    return times


def main() -> None:
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--dossiers", type=int, nargs="+", default=[1_000_000])
    arguments.add_argument("--runs", type=int, default=3)
    options = arguments.parse_args()
    for dossiers in options.dossiers:
        with stage() as here:
            times = asyncio.run(measure(here, dossiers, options.runs))
        bare = statistics.median(times["bare GROUP BY"])
        print(f"{dossiers:,} dossiers, three copies each, median of {options.runs} runs")
        for name, taken in times.items():
            middle = statistics.median(taken)
            print(f"{name:<28}{middle:>9.2f} s{middle / bare:>8.1f} ×")


if __name__ == "__main__":
    main()
