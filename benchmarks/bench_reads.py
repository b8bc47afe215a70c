"""Reads of figures: a year's scoreboard against the bare aggregate over the tally; a warm group read against a bare
FastAPI route that returns the same bytes, and a 304 against that read.

100,000 dossiers of a year in 104 communes are counted first. The board's figures are its query over the tally, the
whole answer is asked over HTTP by one client (cold: after a commit); the bare aggregate sums the same columns by unit.
The reads are asked by four clients over kept-alive connections, each route under a uvicorn of its own. Medians of
alternating runs.
"""

from __future__ import annotations

import argparse
import asyncio
import http.client
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

from benchmarks import lives
from benchmarks.bench_changes import fill
from benchmarks.stage import Stage, answering, api, stage
from services.indicators import boards
from shared.vocabulary import BOTH, Basis

CLIENTS = 4
READ = "/v1/indicators/progress?unit=H31.135&period=2026-08"
BOARD = "/v1/scoreboard?period=2026&level=commune"
_BARE = f"""
SELECT unit_code, {", ".join(f"sum({column})" for column in boards._COLUMNS)} FROM tally
 WHERE basis = ANY($1::text[]) AND period = $2 GROUP BY unit_code
"""

_COMMIT = "CREATE TABLE IF NOT EXISTS commits (n int); INSERT INTO commits VALUES (1)"
"""After it nothing is warm."""

_APPLICATION = """
from fastapi import FastAPI, Response
def create():
    app = FastAPI()
    body = open("answer", "rb").read()
    @app.get("/bare")
    async def bare() -> Response:
        return Response(body, media_type="application/json")
    @app.get("/health")
    async def health() -> dict[str, str]:
        return {}
    return app
"""


def ask(port: int, path: str, headers: dict[str, str], times: int) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    for _ in range(times):
        connection.request("GET", path, headers=headers)
        answer = connection.getresponse()
        answer.read()
        assert answer.status in (200, 304), answer.status
    connection.close()


def rate(port: int, path: str, headers: dict[str, str], times: int) -> float:
    """Answers a second."""
    with ThreadPoolExecutor(CLIENTS) as pool:
        started = time.perf_counter()
        for done in [pool.submit(ask, port, path, headers, times) for _ in range(CLIENTS)]:
            done.result()
        return CLIENTS * times / (time.perf_counter() - started)


def one(port: int, path: str, headers: dict[str, str]) -> tuple[float, bytes, str]:
    """Seconds, body and ETag of one answer."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    started = time.perf_counter()
    connection.request("GET", path, headers=headers)
    answer = connection.getresponse()
    body = answer.read()
    taken = time.perf_counter() - started
    connection.close()
    assert answer.status == 200, body[:300]
    return taken, body, answer.headers["ETag"]


async def from_the_tally(here: Stage) -> tuple[float, float]:
    """Seconds of the bare aggregate, and of the board's figures."""
    connection = await here.connect()
    bases, units = [Basis.COUNTED.value, BOTH], lives.UNITS
    taken = []
    for query, arguments in ((_BARE, (bases, "2026")), (boards._FIGURES, (bases, ["2026"], units))):
        await connection.fetch(query, *arguments)
        started = time.perf_counter()
        await connection.fetch(query, *arguments)
        taken.append(time.perf_counter() - started)
    await connection.close()
    return taken[0], taken[1]


@contextmanager
def bare_route(body: bytes) -> Iterator[int]:
    """A FastAPI application that returns these bytes, under uvicorn as ours is; yields its port."""
    with tempfile.TemporaryDirectory(prefix="chiso-bench-") as folder:
        (Path(folder) / "answer").write_bytes(body)
        (Path(folder) / "bare.py").write_text(_APPLICATION, encoding="utf-8")
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        argv = [sys.executable, "-m", "uvicorn", "--factory", "bare:create", "--port", str(port)]
        process = subprocess.Popen([*argv, "--no-access-log", "--log-level", "warning"], cwd=folder)
        try:
            answering(port)
            yield port
        finally:
            process.terminate()
            process.wait()


def main() -> None:
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--dossiers", type=int, default=100_000)
    arguments.add_argument("--reads", type=int, default=500, help="of each client in each run")
    arguments.add_argument("--runs", type=int, default=5)
    options = arguments.parse_args()
    with stage() as here, api(here, "services.indicators.main:create") as port:
        asyncio.run(fill(here, options.dossiers))
        headers = {"Authorization": f"Bearer {asyncio.run(here.key())}"}
        _, body, etag = one(port, READ, headers)
        with bare_route(body) as other:
            times: dict[str, list[float]] = {"bare aggregate": [], "board's figures": [], "whole answer": []}
            ways: dict[str, Callable[[], float]] = {
                "bare route": lambda: rate(other, "/bare", {}, options.reads),
                "group read": lambda: rate(port, READ, headers, options.reads),
                "304": lambda: rate(port, READ, {**headers, "If-None-Match": etag}, options.reads),
            }
            rates: dict[str, list[float]] = {name: [] for name in ways}
            for each in range(options.runs + 1):
                asyncio.run(here.execute(_COMMIT))
                taken = (*asyncio.run(from_the_tally(here)), one(port, BOARD, headers)[0])
                for name, seconds in zip(times, taken, strict=True):
                    times[name].append(seconds)
                for name, way in ways.items():
                    rates[name].append(way())
                if each == 0:
                    for found in (*times.values(), *rates.values()):
                        found.clear()
    print(f"{options.dossiers:,} dossiers of a year, 104 communes, median of {options.runs} runs")
    bare = statistics.median(times["bare aggregate"])
    for name, found in times.items():
        middle = statistics.median(found)
        print(f"{name:<20}{middle * 1000:>10.1f} ms{middle / bare:>8.2f} ×")
    bare = statistics.median(rates["bare route"])
    for name, found in rates.items():
        middle = statistics.median(found)
        print(f"{name:<20}{middle:>10,.0f}/s{middle / bare:>8.2f}")


if __name__ == "__main__":
    main()
