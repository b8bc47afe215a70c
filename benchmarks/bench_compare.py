"""Full comparison of all dossiers, findings stored, against the bare SQL that only counts the pairs that differ.

Two copies of each dossier (province, sent), one pair in a hundred differs, over six kinds; compared once before, so
that each has its comparison row, and the findings taken away before each run. The bare SQL is a FULL JOIN of the two
copies by code that counts the pairs with a difference in a compared column. reladiff's joindiff is given the same
columns in two tables with a bigint key, the only key it takes. Medians of alternating runs.

reladiff is no dependency of chiso. It needs an interpreter that has it, told by --reladiff or RELADIFF_PYTHON:
    python -m venv /somewhere && /somewhere/bin/pip install reladiff psycopg2-binary
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import statistics
import subprocess
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

from sqlalchemy.engine import make_url

from benchmarks.lives import PROCEDURES, UNITS
from benchmarks.stage import NOW, Stage, stage
from services.reconcile import worker as reconcile
from shared.db import create_engine
from shared.vocabulary import Known

LOADER = Path(__file__).with_name("reladiff_run.py")
BATCH = 20_000
COLUMNS = (
    "code", "portal", "code_known", "source_system", "known", "version", "procedure_code", "unit_name", "unit_code",
    "unit_via", "status", "cancelled", "received_at", "due_at", "finished_at", "officer", "officer_title", "officer_at",
    "step_status", "step_status_at", "via", "learnt_at",
)  # fmt: skip
COMPARED = (
    "procedure_code",
    "unit_code",
    "status",
    "step_status",
    "due_at",
    "finished_at",
    "officer",
    "officer_title",
)
ALL = sum(bit.value for bit in Known)
BARE = (
    "SELECT count(*) FROM (SELECT * FROM dossier WHERE portal = 'provincial') a"
    " FULL JOIN (SELECT * FROM dossier WHERE portal = 'sent') b ON a.code = b.code"
    " WHERE a.code IS NULL OR b.code IS NULL"
    f" OR {' OR '.join(f'a.{name} IS DISTINCT FROM b.{name}' for name in COMPARED)}"
)


def pair(n: int) -> Iterator[str]:
    """The two copies of one dossier as lines of COPY."""
    received = NOW - timedelta(days=400 - n % 350, seconds=n % 30_000)
    finished = received + timedelta(hours=20)
    unit = UNITS[n % len(UNITS)]
    usual = {
        "code": f"{unit}-{received:%y%m%d}-{n:07d}", "portal": "provincial", "code_known": "t",
        "source_system": "province", "known": str(ALL), "version": finished.isoformat(),
        "procedure_code": PROCEDURES[n % len(PROCEDURES)], "unit_name": f"UBND xã số {unit[4:]}", "unit_code": unit,
        "unit_via": "agency_code", "status": "9", "cancelled": "f", "received_at": received.isoformat(),
        "due_at": (received + timedelta(days=3)).isoformat(), "finished_at": finished.isoformat(),
        "officer": f"Trần Thị Mẫu {n % 3000}", "officer_title": "Công chức", "officer_at": finished.isoformat(),
        "step_status": "9", "step_status_at": finished.isoformat(), "via": "push",
        "learnt_at": (finished + timedelta(hours=8)).isoformat(),
    }  # fmt: skip
    sent = usual | {"portal": "sent"}
    if n % 100 == 17:
        sent |= (
            {"status": "4", "step_status": "4"},
            {"due_at": (received + timedelta(days=5)).isoformat()},
            {"due_at": "\\N"},
            {"finished_at": (finished + timedelta(hours=3)).isoformat()},
            {"procedure_code": PROCEDURES[(n + 1) % len(PROCEDURES)]},
            {"officer": "Cán bộ một cửa"},
        )[n // 100 % 6]
    for copy in (usual, sent):
        yield "\t".join(copy[name] for name in COLUMNS) + "\n"


async def fill(here: Stage, rows: int) -> None:
    async def lines(start: int) -> AsyncIterator[bytes]:
        yield "".join(
            line for n in range(start, min(start + BATCH, rows)) for line in sorted(pair(n))
        ).encode()

    connection = await here.connect(owner=True)
    for start in range(0, rows, BATCH):
        await connection.copy_to_table("dossier", source=lines(start), columns=COLUMNS, format="text")
    for name, portal in (("left_copy", "provincial"), ("right_copy", "sent")):
        await connection.execute(
            f"CREATE TABLE {name} AS SELECT row_number() OVER (ORDER BY code)::bigint AS id, {', '.join(COMPARED)}"
            f" FROM dossier WHERE portal = '{portal}'"
        )
        await connection.execute(f"ALTER TABLE {name} ADD PRIMARY KEY (id)")
    await connection.close()
    await settled(here)


async def settled(here: Stage) -> None:
    """No findings; nothing of the run before is left to be done while the next is timed."""
    await here.execute(
        "TRUNCATE finding, finding_event", "VACUUM (ANALYZE) dossier", "VACUUM (ANALYZE) comparison"
    )


async def bare(here: Stage) -> tuple[float, int]:
    connection = await here.connect()
    started = time.perf_counter()
    [[found]] = await connection.fetch(
        BARE
    )  # fetchval asks for one row, and gets it without parallel workers
    taken = time.perf_counter() - started
    await connection.close()
    return taken, found


async def full(here: Stage) -> tuple[float, int]:
    await settled(here)
    engine = create_engine(here.app_url, pool_size=2)
    started = time.perf_counter()
    told = await reconcile.full(engine, lambda: NOW)
    taken = time.perf_counter() - started
    await engine.dispose()
    return taken, told["opened"]


@contextmanager
def reladiff(interpreter: str, here: Stage) -> Iterator[subprocess.Popen[str] | None]:
    """The process that runs joindiff at each line, or None where the interpreter has no reladiff."""
    try:
        has = subprocess.run(
            [interpreter, "-c", "import reladiff, psycopg2"], capture_output=True, check=False
        )
        missing = has.returncode != 0
    except OSError:
        missing = True
    if missing:
        print("reladiff: skipped, no interpreter that has it (see --reladiff)")
        yield None
        return
    url = make_url(here.owner_url)
    place = [str(url.query["host"]), str(url.username), str(url.password), str(url.database)]
    argv = [interpreter, str(LOADER), *place, "left_copy", "right_copy", *COMPARED]
    process = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        yield process
    finally:
        process.communicate(timeout=60)


def joindiff(process: subprocess.Popen[str]) -> tuple[float, int]:
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write("\n")
    process.stdin.flush()
    told = json.loads(process.stdout.readline())
    return float(told["seconds"]), int(told["keys"])


def main() -> None:
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--rows", type=int, default=1_000_000)
    arguments.add_argument("--runs", type=int, default=3)
    arguments.add_argument(
        "--reladiff", default=os.environ.get("RELADIFF_PYTHON", ""), help="an interpreter that has reladiff"
    )
    options = arguments.parse_args()
    with stage() as here:
        asyncio.run(fill(here, options.rows))
        first, _ = asyncio.run(full(here))
        with reladiff(options.reladiff, here) as process:
            times: dict[str, list[float]] = {}
            for _ in range(options.runs):
                taken, differing = asyncio.run(bare(here))
                times.setdefault("bare FULL JOIN, counted", []).append(taken)
                taken, opened = asyncio.run(full(here))
                assert opened >= differing > 0, (opened, differing)
                times.setdefault("full comparison, findings stored", []).append(taken)
                if process is not None:
                    taken, keys = joindiff(process)
                    assert keys == differing, (keys, differing)
                    times.setdefault("reladiff joindiff", []).append(taken)
    print(
        f"{options.rows:,} × {options.rows:,} copies, {differing:,} pairs differ, {opened:,} findings stored"
    )
    print(
        f"median of {options.runs} runs; the very first, which also writes the comparison rows: {first:.1f} s"
    )
    middle = {name: statistics.median(taken) for name, taken in times.items()}
    for name, taken_ in middle.items():
        print(f"{name:<34}{taken_:>8.2f} s{taken_ / middle['bare FULL JOIN, counted']:>8.2f} × the bare join")


if __name__ == "__main__":
    main()
