"""Nothing acknowledged is lost: pushes and a pull while the API, the workers and PostgreSQL are killed with -9 at
random (seeded) moments; a database that is paused, full or restarted; an API that is told to end during a stream.

CHISO_KILL_SECONDS: how long the killing goes on; CHISO_KILL_SEED: another order of it.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import signal
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import psutil  # type: ignore[import-untyped]
import pytest
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncEngine

from migrations import runner
from services.indicators import recount
from services.reconcile import worker as reconcile
from services.sandbox.server import create_app, serving
from shared import postgres, postgres_roles
from shared.db import create_engine, session_scope
from shared.vocabulary import Role
from tests import joined, make, portals, processes
from tests.conftest import Cluster
from tests.make import NOW, moment
from tests.portals import column, rows
from tests.processes import Process

SECONDS = float(os.environ.get("CHISO_KILL_SECONDS", "30"))
SEED = int(os.environ.get("CHISO_KILL_SEED", "766"))
PATIENCE = 150.0
"""Seconds for coming back to rest, on a machine that has other things to do; reached only where something is wrong."""
WORKERS = ("ingest", "reconcile", "indicators")
STORED = ("accepted", "unchanged", "stale")
CLIENTS, DOSSIERS = 4, 25
BASE = moment("2026-08-03 09:30")

AWAY = (DBAPIError, OSError, TimeoutError)


class Installation:
    """A PostgreSQL of its own, the API and the workers as processes, in one folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.server = postgres.start(folder / "data")
        self.cluster: Cluster
        self.processes: dict[str, Process] = {}
        self.url = ""

    async def prepare(self) -> None:
        made = await postgres_roles.provision(
            self.server.admin_url(), data_dir=self.server.data_dir, database="chiso"
        )
        await asyncio.to_thread(runner.run, made.owner_url)
        self.cluster = Cluster(self.server, made)

    async def run(self, database: str, **env: str) -> None:
        port = processes.free_port()
        self.url = f"http://127.0.0.1:{port}"
        told = {
            "DATABASE_URL": database,
            "CHISO_NOW": NOW.isoformat(),
            "SYNC_INTERVAL_SECONDS": "7200",
            **env,
        }
        self.processes = {"api": processes.api(told, self.folder, port)}
        self.processes |= {name: processes.worker(name, told, self.folder) for name in WORKERS}
        for process in self.processes.values():
            process.start()
        await processes.answering(self.processes["api"], self.url)

    def kill_postgres(self) -> None:
        os.kill(self.server.pid, signal.SIGKILL)
        self.server.stop()  # reaps it

    def start_postgres(self) -> None:
        self.server = self.cluster.server = postgres.start(self.folder / "data")

    def end(self) -> None:
        for process in self.processes.values():
            process.kill()
        self.processes = {}


@pytest.fixture(scope="module")
async def place() -> AsyncIterator[Installation]:
    with tempfile.TemporaryDirectory(prefix="chiso-test-") as folder:
        installation = Installation(Path(folder))
        try:
            await installation.prepare()
            yield installation
        finally:
            installation.end()
            installation.server.stop("immediate")


@pytest.fixture
async def base(place: Installation) -> AsyncIterator[tuple[AsyncEngine, str]]:
    """A database with the units, and its address."""
    url = place.cluster.app_url(await place.cluster.create())
    engine = create_engine(url)
    async with session_scope(engine) as session:
        await make.units(session)
        await make.procedure(session)
    try:
        yield engine, url
    finally:
        place.end()
        await engine.dispose()


async def until(true: Callable[[], Any], what: str, place: Installation | None = None) -> None:
    """Until an awaitable gives something that is true; a database that is away has not said so yet."""
    begun = time.monotonic()
    while True:
        try:
            if await true():
                return
        except AWAY:
            pass
        assert time.monotonic() - begun < PATIENCE, f"never came: {what}" + _logs(place)
        await asyncio.sleep(0.1)


def _logs(place: Installation | None) -> str:
    said = {name: process.said()[-2000:] for name, process in place.processes.items()} if place else {}
    return "".join(f"\n--- {name}\n{text}" for name, text in said.items())


class Client:
    """Sends versions of its own dossiers through one door, in small batches, and each again until it is
    acknowledged. `acknowledged`: the versions of each code that were; `sent` those that may have arrived."""

    def __init__(self, number: int, url: str, key: tuple[str, str], seed: int) -> None:
        self.random = random.Random(seed)
        self.url, (self.key_id, self.key) = url, key
        self.national = number % 2 == 0
        # Both doors tell of the same dossiers: two copies of each to compare.
        self.codes = [f"H31.135-260803-9{number // 2}{n:02d}" for n in range(DOSSIERS)]
        self.last = dict.fromkeys(self.codes, 0)
        self.acknowledged: dict[str, set[int]] = {code: set() for code in self.codes}
        self.session = ""
        self.repeated: Counter[str] = Counter()

    @property
    def portal(self) -> str:
        return "sent" if self.national else "provincial"

    async def push(self, stop: asyncio.Event) -> None:
        """Until `stop`, and then until all that was sent is acknowledged."""
        async with httpx.AsyncClient(base_url=self.url, trust_env=False, timeout=30) as http:
            while not stop.is_set():
                batch = [(code, self._next(code)) for code in self.random.choices(self.codes, k=12)]
                self.random.shuffle(batch)  # an older version of a dossier may come after a newer one
                begun = time.monotonic()
                while batch:
                    assert time.monotonic() - begun < PATIENCE, self.repeated
                    try:
                        done = await (self._integrate if self.national else self._post)(http, batch)
                    except httpx.TransportError as error:
                        self.repeated[type(error).__name__] += 1
                        done = set()
                    for code, version in done:
                        self.acknowledged[code].add(version)
                    batch = [item for item in batch if item not in done]
                    if batch:
                        await asyncio.sleep(0.2)
                await asyncio.sleep(0.02)

    def _next(self, code: str) -> int:
        self.last[code] += 1
        return self.last[code]

    async def _post(self, http: httpx.AsyncClient, batch: list[tuple[str, int]]) -> set[tuple[str, int]]:
        """As an array, or as a stream whose lines count as soon as they are read."""
        items = [own(code, version) for code, version in batch]
        stream = self.random.random() < 0.5
        kind = "application/x-ndjson" if stream else "application/json"
        body = "\n".join(map(json.dumps, items)) if stream else json.dumps(items)
        headers = {"X-API-Key": self.key, "Content-Type": kind}
        done: set[tuple[str, int]] = set()
        try:
            async with http.stream("POST", "/v1/dossiers", content=body.encode(), headers=headers) as answer:
                if answer.status_code == 503:
                    assert answer.headers["Retry-After"]
                    self.repeated["503"] += 1
                    return done
                assert answer.status_code == 200, await answer.aread()
                if not stream:
                    results = json.loads(await answer.aread())["items"]
                    return {batch[each["index"]] for each in results if self._stored(each)}
                async for line in answer.aiter_lines():
                    told = json.loads(line)
                    if "result" in told and self._stored(told):
                        done.add(batch[told["index"]])
                    self.repeated["stream stopped"] += "error" in told
        except httpx.TransportError as error:
            self.repeated[type(error).__name__] += 1
        return done

    def _stored(self, result: dict[str, Any]) -> bool:
        assert result["result"] in STORED, result
        return True

    async def _integrate(self, http: httpx.AsyncClient, batch: list[tuple[str, int]]) -> set[tuple[str, int]]:
        if not self.session:
            account = {"username": self.key_id, "password": self.key}
            answer = await http.post("/dvcqg/login", json=account)
            assert answer.status_code == 200, answer.text
            self.session = answer.json().get("session", "")
            if not self.session:
                self._again(answer.json())
                return set()
        data = [message(code, version) for code, version in batch]
        call = {"session": self.session, "service": "DongBoHoSoMC", "isUpdating": "True", "data": data}
        answer = await http.post("/dvcqg/integration", json=call)
        assert answer.status_code == 200, answer.text
        if str(answer.json()["error_code"]) == "0":
            return set(batch)
        self._again(answer.json())
        return set()

    def _again(self, said: dict[str, Any]) -> None:
        assert said["error_code"] == "-9", said
        self.repeated["-9"] += 1


def at(version: int) -> datetime:
    return BASE + timedelta(minutes=version)


def own(code: str, version: int) -> dict[str, Any]:
    return {
        "code": code,
        "procedure_code": "1.001612",
        "unit_code": "H31.135",
        "status": 9 if version % 3 else 4,
        "received_at": BASE.isoformat(),
        "due_at": (at(version) + timedelta(days=3)).isoformat(),
        "finished_at": at(version).isoformat() if version % 3 else None,
        "updated_at": at(version).isoformat(),
        "steps": [{"occurred_at": at(version).isoformat(), "status": 4, "officer": f"Cán bộ {version}"}],
    }


def message(code: str, version: int) -> dict[str, Any]:
    def wire(when: datetime) -> str:
        return f"{when:%Y%m%d%H%M%S}"

    return {
        "MaHoSo": code,
        "MaTTHC": "1.001612",
        "TrangThaiHoSo": "9",
        "DonViXuLy": "UBND phường Phố Hiến",
        "NgayTiepNhan": wire(BASE),
        "NgayHenTra": wire(at(version) + timedelta(days=3)),
        "NgayKetThucXuLy": wire(at(version)),
    }


async def kill_at_random(place: Installation, seconds: float, killed: Counter[str]) -> None:
    choice = random.Random(SEED)
    victims = ["api", "api", "postgres", "postgres", *WORKERS]
    begun = time.monotonic()
    while time.monotonic() - begun < seconds:
        await asyncio.sleep(choice.uniform(0.3, 2.5))
        victim = choice.choice(victims)
        killed[victim] += 1
        if victim == "postgres":
            await asyncio.to_thread(place.kill_postgres)
            await asyncio.sleep(choice.uniform(0, 0.5))
            await asyncio.to_thread(place.start_postgres)
        else:
            place.processes[victim].kill()
            place.processes[victim].start()
        for name, process in place.processes.items():
            assert process.alive, f"{name} ended by itself: {process.said()[-2000:]}"


# What waits for a look-up waits for the next pull of the nation.
DUE = "SELECT count(*) FROM change, unnest(codes) AS code WHERE wake_at <= :now AND consumer <> 'lookups'"


async def at_rest(place: Installation, engine: AsyncEngine) -> None:
    """Nothing due in the queue, no pull under way, every subject pulled."""

    async def quiet() -> bool:
        due = await column(engine, DUE, now=NOW)
        active = await column(engine, "SELECT count(*) FROM sync_run WHERE state IN ('queued', 'running')")
        done = await column(
            engine, "SELECT count(DISTINCT (portal, subject)) FROM sync_run WHERE state = 'done'"
        )
        return due == [0] and active == [0] and done == [5]

    await until(quiet, "an empty queue and pulls that have ended", place)


FINDINGS = (
    "SELECT subject, code, kind, key, state, unit_code, procedure_code, responsible, source_system, evidence::text"
    " FROM finding ORDER BY subject, code, kind, key"
)
JUDGED = (
    "SELECT (p.code, a.basis, p.basis, p.period, unit_code, procedure_code, bits, reason, end_at, deadline_at,"
    " elapsed_seconds, working_seconds, source, open)::text FROM assessment_period p"
    " JOIN assessment a ON a.code = p.code AND p.basis IN (a.basis, 'both') ORDER BY 1"
)
TWICE = {
    "dossier": "code, portal",
    "dossier_step": "code, portal, occurred_at, status",
    "presence": "code, portal",
    "finding": "subject, code, kind, key",
    "assessment": "code, basis",
    "assessment_period": "code, basis, period",
    "tally": "basis, period, unit_code, procedure_code",
}


async def consistent(engine: AsyncEngine) -> None:
    """What the workers made of it is what full passes make of it; no identity has two rows."""
    for table, key in TWICE.items():
        # Through a sort of the rows themselves: an index that a crash had broken would hide its own fault.
        found = await rows(
            engine,
            f"SELECT {key} FROM (SELECT * FROM {table} OFFSET 0) t GROUP BY {key} HAVING count(*) > 1",
        )
        assert found == [], table
    async with session_scope(engine) as session:
        assert await recount.check(session) == []
    before = [tuple(row) for row in await rows(engine, FINDINGS)], await column(engine, JUDGED)
    assert before[1], "there is something to compare"
    await reconcile.full(engine, lambda: NOW)
    async with session_scope(engine) as session:
        await recount.recount(session, now=NOW)
        assert await recount.check(session) == []
    after = [tuple(row) for row in await rows(engine, FINDINGS)], await column(engine, JUDGED)
    assert after[0] == before[0], "the findings are those of a full comparison"
    assert after[1] == before[1], "the assessments are those of a full recount"


async def test_killed_at_random_nothing_acknowledged_is_lost(
    place: Installation, base: tuple[AsyncEngine, str], record_property: Callable[[str, object], None]
) -> None:
    engine, database = base
    key = await joined.key(engine, Role.INTEGRATOR)
    world = portals.world(1500)
    sandbox = create_app(world)
    with serving(sandbox) as portal:
        async with httpx.AsyncClient(base_url=portal, trust_env=False) as http:
            # So that the pull lasts: small pages, each after a while.
            slow = {"portal": "provincial", "service": "search", "every": 1}
            faults = [slow | {"kind": "latency", "seconds": 0.3}, slow | {"kind": "small_pages", "size": 40}]
            answer = await http.post("/_sandbox/faults", json=faults)
            assert answer.status_code == 200, answer.text
        await place.run(
            database,
            NATIONAL_URL=f"{portal}/national",
            NATIONAL_USERNAME="H31",
            NATIONAL_PASSWORD="sandbox",
            PROVINCIAL_URL=f"{portal}/provincial",
            PROVINCIAL_CLIENT_ID="chiso",
            PROVINCIAL_CLIENT_SECRET="sandbox",
            LOOKUPS_PER_SECOND="5000",
        )
        clients = [Client(n, place.url, key, SEED + n) for n in range(CLIENTS)]
        stop, killed = asyncio.Event(), Counter[str]()
        async with asyncio.TaskGroup() as tasks:
            for client in clients:
                tasks.create_task(client.push(stop))
            await kill_at_random(place, SECONDS, killed)
            stop.set()
        await at_rest(place, engine)
        crashes = {name: process.said().count("crash") for name, process in place.processes.items()}
        place.end()  # what they have not done by now they never would have

    stored = {
        (code, portal): (version, due)
        for code, portal, version, due in await rows(
            engine, "SELECT code, portal, version, due_at FROM dossier WHERE code LIKE 'H31.135-260803-9___'"
        )
    }
    updates = 0
    for client in clients:
        for code, versions in client.acknowledged.items():
            if versions:
                newest = at(max(versions))
                assert versions == set(range(1, client.last[code] + 1)), (
                    "each was sent until it was acknowledged"
                )
                assert stored[code, client.portal] == (newest, newest + timedelta(days=3)), (
                    code,
                    client.portal,
                )
                updates += len(versions)
        if not client.national:
            told = Counter(
                await column(
                    engine,
                    "SELECT code FROM dossier_step WHERE portal = 'provincial' AND code = ANY(:codes)",
                    codes=client.codes,
                )
            )
            assert told == {code: len(versions) for code, versions in client.acknowledged.items() if versions}
    runs = await rows(engine, "SELECT portal, subject, state, complete, attempts FROM sync_run ORDER BY id")
    assert {run.state for run in runs} == {"done"}, runs
    expected = {
        dossier.code for dossier in world.dossiers if world.copies(dossier.code)["provincial"] is not None
    }
    pulled = set(
        await column(engine, "SELECT code FROM dossier WHERE portal = 'provincial' AND via = 'pull'")
    )
    assert len(expected - pulled) == 0, "the pull has got all that the province shows"
    assert await rows(engine, FINDINGS), "there are findings to compare"
    await consistent(engine)
    repeated = sum((client.repeated for client in clients), Counter[str]())
    record_property(
        "printed", f"{updates} updates; killed: {dict(killed)}; {dict(repeated)}; crashes {crashes}; {runs}"
    )
    assert killed["postgres"]
    assert killed["api"]
    assert max(run.attempts for run in runs) > 1 or SECONDS < 20, "the pull was interrupted and gone on with"


class Answers:
    """Asks one thing after the other through a time of trouble and keeps what is said. A request either succeeds or is
    told to come again; 500, a refusal or a cut connection are faults."""

    def __init__(self, http: httpx.AsyncClient, key: tuple[str, str]) -> None:
        self.http, (self.key_id, self.key) = http, key
        self.version = 0
        self.kept: set[str] = set()
        self.count: Counter[str] = Counter()
        self.session = ""

    async def log_in(self) -> None:
        answer = await self.http.post("/dvcqg/login", json={"username": self.key_id, "password": self.key})
        self.session = answer.json()["session"]

    async def once(self) -> set[str]:
        """One of each; which of them succeeded."""
        self.version += 1
        code = f"H31.135-260803-8{self.version:03d}"
        headers = {"X-API-Key": self.key}
        good = set()
        for name, asked in {
            "read": self.http.get("/v1/findings", headers=headers),
            "push": self.http.post("/v1/dossiers", json=[own(code, 1)], headers=headers),
        }.items():
            answer = await asked
            self.count[f"{name} {answer.status_code}"] += 1
            if answer.status_code == 503:
                assert answer.headers["Content-Type"] == "application/problem+json"
                assert int(answer.headers["Retry-After"]) > 0
                assert answer.json()["detail_vi"]
            else:
                assert answer.status_code == 200, answer.text
                good.add(name)
                if name == "push":
                    self.kept.add(code)
        call = {
            "session": self.session,
            "service": "DongBoHoSoMC",
            "data": [message(code, 2)],
        }  # the copies differ
        answer = await self.http.post("/dvcqg/integration", json=call)
        said = answer.json()["error_code"]
        self.count[f"dvcqg {said}"] += 1
        assert answer.status_code == 200
        assert said in ("0", "-9"), answer.text
        if said == "0":
            good.add("dvcqg")
            self.kept.add(code)
        answer = await self.http.get("/health")
        assert answer.status_code == 200, "the process lives, whatever the database does"
        return good

    async def well(self) -> bool:
        return len(await self.once()) == 3

    async def refused(self) -> bool:
        return not await self.once()


async def test_a_database_in_trouble_is_waited_for(
    place: Installation, base: tuple[AsyncEngine, str], record_property: Callable[[str, object], None]
) -> None:
    engine, database = base
    key = await joined.key(engine, Role.ADMIN)
    with serving(create_app(portals.world(20))) as portal:
        await place.run(
            database,
            PROVINCIAL_URL=f"{portal}/provincial",
            PROVINCIAL_CLIENT_ID="chiso",
            PROVINCIAL_CLIENT_SECRET="sandbox",
        )
        started = {name: process.child for name, process in place.processes.items()}
        async with httpx.AsyncClient(base_url=place.url, trust_env=False, timeout=60) as http:
            ask = Answers(http, key)
            await ask.log_in()
            assert await ask.well()

            # Paused: what is asked meanwhile waits, or is told to come again.
            paused = [place.server.pid, *(each.pid for each in _children(place.server.pid))]
            _signal(paused, signal.SIGSTOP)
            waiting = [asyncio.create_task(ask.once()) for _ in range(5)]
            await asyncio.sleep(3)
            _signal(paused, signal.SIGCONT)
            await asyncio.gather(*waiting)
            await until(ask.well, "recovery from a pause")

            # No connection to be had.
            await place.cluster.statement("ALTER ROLE chiso_app CONNECTION LIMIT 0")
            await place.cluster.statement(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'chiso_app'"
            )
            await until(ask.refused, "503 without connections")
            await asyncio.gather(*(ask.once() for _ in range(30)))
            await place.cluster.statement("ALTER ROLE chiso_app CONNECTION LIMIT -1")
            await until(ask.well, "recovery from too many connections")

            # Gone for a while, and back.
            await asyncio.to_thread(place.server.stop)
            await until(ask.refused, "503 without a server")
            ready = await http.get("/ready")
            assert ready.status_code == 503
            await asyncio.to_thread(place.start_postgres)
            await until(ask.well, "recovery from a restart")

            # The workers work again, without anybody's help.
            before = await column(engine, "SELECT coalesce(max(id), 0) FROM sync_run")
            asked = {"portal": "provincial", "subject": "dossiers"}

            async def pulled() -> bool:
                await http.post("/v1/sync-runs", json=asked, headers={"X-API-Key": ask.key})
                done = "SELECT count(*) FROM sync_run WHERE state = 'done' AND id > :before"
                return (await column(engine, done, before=before[0])) != [0]

            await until(pulled, "a pull")

            async def quiet() -> bool:
                return await column(engine, DUE, now=NOW) == [0]

            await until(quiet, "an empty queue", place)
        assert {name: process.child for name, process in place.processes.items()} == started
        assert all(process.alive for process in place.processes.values()), "none was started again"
        place.end()
    stored = set(await column(engine, "SELECT code FROM dossier WHERE code LIKE 'H31.135-260803-8___'"))
    assert ask.kept <= stored
    assert ask.kept <= set(await column(engine, "SELECT code FROM assessment"))
    assert ask.kept <= set(await column(engine, "SELECT code FROM comparison"))
    await consistent(engine)
    record_property("printed", dict(ask.count))


def _children(pid: int) -> list[psutil.Process]:
    found: list[psutil.Process] = psutil.Process(pid).children(recursive=True)
    return found


def _signal(pids: list[int], number: int) -> None:
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, number)


async def test_told_to_end_during_a_stream_it_finishes_what_it_acknowledged(
    place: Installation, base: tuple[AsyncEngine, str]
) -> None:
    engine, database = base
    _, key = await joined.key(engine, Role.INTEGRATOR)
    await place.run(database)
    api = place.processes["api"]
    host, _, port = place.url.removeprefix("http://").partition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    head = f"POST /v1/dossiers HTTP/1.1\r\nHost: x\r\nX-API-Key: {key}\r\nTransfer-Encoding: chunked\r\n"
    writer.write(f"{head}Content-Type: application/x-ndjson\r\n\r\n".encode())
    codes = [f"H31.135-260803-7{n:03d}" for n in range(30)]
    answered = ""

    async def send(some: list[str]) -> None:
        lines = "".join(json.dumps(own(code, 1)) + "\n" for code in some).encode()
        writer.write(f"{len(lines):x}\r\n".encode() + lines + b"\r\n")
        await writer.drain()

    async def receive(until_said: str) -> None:
        nonlocal answered
        while until_said not in answered:
            more = await asyncio.wait_for(reader.read(65_536), PATIENCE)
            assert more, answered
            answered += more.decode()

    await send(codes[:10])
    await receive('"receipt"')  # the sender has paused: its first lines are written and acknowledged
    api.signal(signal.SIGTERM)
    await send(codes[10:])
    writer.write(b"0\r\n\r\n")
    await receive('"counts"')
    writer.close()
    await writer.wait_closed()
    ended = await asyncio.to_thread(api.wait)
    assert ended in (0, -signal.SIGTERM), api.said()
    told = [json.loads(line) for line in answered.splitlines() if line.startswith('{"')]
    acknowledged = {line["code"] for line in told if line.get("result") == "accepted"}
    assert acknowledged == set(codes), "a stream that has begun is worked off to its end"
    assert told[-1]["counts"]["accepted"] == len(codes)
    assert set(await column(engine, "SELECT code FROM dossier")) == set(codes)
    assert "Traceback" not in api.said()
