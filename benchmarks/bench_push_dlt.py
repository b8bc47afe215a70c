"""Bulk push over HTTP against dlt, which loads the same NDJSON with merge; and stale replays against first arrivals.

Push: two clients, NDJSON (POST /v1/dossiers), batches of 2,000, to committed rows with their changes recorded. dlt: the
same lines from a file, write_disposition "merge" on (code, portal), into the same server: as it comes, with two
normalising processes, and with these and CSV (COPY) instead of INSERT. Stale replays: the same lines again after a
newer version of each dossier has come. Alternating runs; the medians and their ratios.

dlt is no dependency of chiso. It needs an interpreter that has it, told by --dlt or DLT_PYTHON:
    python -m venv /somewhere && /somewhere/bin/pip install 'dlt[postgres]'
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import statistics
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path

import asyncpg
from sqlalchemy.engine import make_url

from benchmarks.bench_push import BATCH, CLIENTS, all_accepted, in_threads, own, post, shares
from benchmarks.stage import NOW, Stage, api, stage
from shared.vocabulary import Role

LOADER = Path(__file__).with_name("dlt_load.py")
FORMS = {"plain": "dlt, as it comes", "insert": "dlt, two processes", "csv": "dlt, two, by COPY"}


def newer(n: int) -> dict[str, object]:
    return own(n) | {"status": 10, "updated_at": NOW.replace(month=10).isoformat()}


def all_stale(answer: bytes) -> None:
    counts = json.loads(answer.splitlines()[-1])["counts"]
    assert counts["stale"] == sum(counts.values()) > 0, counts


@contextmanager
def dlt(interpreter: str, here: Stage, file: Path, form: str, rows: int) -> Iterator[Callable[[], float]]:
    """What loads the file once and says how many seconds that took."""
    url = make_url(here.owner_url)
    argv = [str(url.query["host"]), str(url.username), str(url.password), str(url.database), str(file), form]
    pipe = subprocess.PIPE
    process = subprocess.Popen([interpreter, str(LOADER), *argv], stdin=pipe, stdout=pipe, text=True)
    assert process.stdin is not None
    assert process.stdout is not None

    def load() -> float:
        assert process.stdin is not None
        assert process.stdout is not None
        asyncio.run(settled(here))
        process.stdin.write("\n")
        process.stdin.flush()
        told = json.loads(process.stdout.readline())
        assert told["rows"] == rows, told
        return float(told["seconds"])

    try:
        yield load
    finally:
        process.communicate(timeout=60)


async def settled(here: Stage) -> None:
    """Nothing of the run before is left to be done while the next one is timed: no vacuum, no checkpoint."""
    url = make_url(here.server.admin_url(str(make_url(here.owner_url).database)))
    connection = await asyncpg.connect(
        host=str(url.query["host"]), user=url.username, password=url.password, database=url.database
    )
    await connection.execute("VACUUM ANALYZE")
    await connection.execute("CHECKPOINT")
    await connection.close()


def has_dlt(interpreter: str) -> bool:
    try:
        found = subprocess.run([interpreter, "-c", "import dlt, psycopg2"], capture_output=True, check=False)
    except OSError:
        return False
    return found.returncode == 0


def main() -> None:
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--rows", type=int, default=40_000)
    arguments.add_argument("--runs", type=int, default=5)
    arguments.add_argument(
        "--dlt", default=os.environ.get("DLT_PYTHON", ""), help="an interpreter that has dlt"
    )
    options = arguments.parse_args()
    parts = shares(options.rows)

    def lines(message: Callable[[int], dict[str, object]]) -> list[bytes]:
        return [
            b"".join(
                json.dumps(message(n), ensure_ascii=False).encode() + b"\n" for batch in part for n in batch
            )
            for part in parts
        ]

    first, second = lines(own), lines(newer)
    with ExitStack() as stack:
        here = stack.enter_context(stage())
        port = stack.enter_context(api(here, "services.ingest.main:create"))
        key = asyncio.run(here.key(Role.INTEGRATOR))
        headers = {"Authorization": f"Bearer {key}", "Content-Type": "application/x-ndjson"}

        def push(bodies: list[bytes], check: Callable[[bytes], None]) -> float:
            return in_threads(
                [partial(post, port, "/v1/dossiers", [body], headers, check) for body in bodies]
            )

        def empty() -> None:
            asyncio.run(here.execute("TRUNCATE dossier, change, presence, quarantine"))

        def arrivals() -> float:
            empty()
            asyncio.run(settled(here))
            return push(first, all_accepted)

        def replays() -> float:
            empty()
            push(second, all_accepted)
            asyncio.run(settled(here))
            return push(first, all_stale)

        ways: dict[str, Callable[[], float]] = {
            "push, first arrivals": arrivals,
            "push, stale replays": replays,
        }
        if has_dlt(options.dlt):
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="chiso-bench-")))
            file = folder / "dossiers.ndjson"
            file.write_bytes(b"".join(first))
            for form, name in FORMS.items():
                ways[name] = stack.enter_context(dlt(options.dlt, here, file, form, options.rows))
        else:
            print(
                "dlt is not measured: no interpreter that has it was told (--dlt or DLT_PYTHON):"
                " make a virtual environment and `pip install 'dlt[postgres]'` in it"
            )
        arrivals()
        times: dict[str, list[float]] = {name: [] for name in ways}
        for _ in range(options.runs):
            for name, way in ways.items():
                times[name].append(way())
    medians = {name: statistics.median(taken) for name, taken in times.items()}
    base = medians["push, first arrivals"]
    print(
        f"{options.rows} dossiers; push: {CLIENTS} clients, batches of {BATCH}; median of {options.runs} runs"
    )
    print(f"{'':<26}{'dossiers/s':>12}   push of first arrivals is so many times as fast")
    for name, seconds in medians.items():
        print(f"{name:<26}{options.rows / seconds:>12,.0f}   {seconds / base:.2f}")


if __name__ == "__main__":
    main()
