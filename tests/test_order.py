"""Any order, repetition and split of messages with distinct versions ends in the same rows, findings and tally: over
all doors together, with workers, look-ups, names of units and time in between.

CHISO_ORDER_EXAMPLES: how many examples (few in `make check`).
"""

from __future__ import annotations

import asyncio
import csv
import io
import itertools
import json
import os
from collections import Counter
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import datetime, timedelta
from typing import Any, NamedTuple, TypeVar

import httpx
import hypothesis
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule, run_state_machine_as_test
from sqlalchemy import text

from services.indicators import recount
from services.indicators import worker as indicators
from services.indicators.rules.measures import COLUMNS
from services.ingest import pull
from services.reconcile import worker as reconcile
from services.reconcile.findings import values_of
from shared import queue
from shared.app import create_app
from shared.db import create_engine, session_scope
from shared.models import Record
from shared.settings import Settings
from shared.vocabulary import Consumer, Portal, Role, Subject
from tests import joined, make, portals
from tests.conftest import Cluster
from tests.make import moment
from tests.portals import Answer, Call, ok

EXAMPLES = int(os.environ.get("CHISO_ORDER_EXAMPLES", "12"))

START = moment("2026-08-03 08:00")
BEGIN = moment("2026-10-30 09:00")
"""The first delivery; the clock goes on over the end of a month."""
FINAL = BEGIN + timedelta(days=6)
APART = timedelta(hours=7)

CODES = ["H31.135-260803-0001", "H31.135-260803-0002", "HS-7"]
RECEIVED = [START - timedelta(days=2), START - timedelta(days=2, hours=3)]
"""Few, so that two codes may be halves of one dossier."""
ALIAS = "Bộ phận Một cửa số 7"
NAMES = ["UBND phường Phố Hiến", ALIAS, "Nơi không ai biết", None]
AGENCIES = ["H31.136", "X99", None]
PROCEDURES = ["1.001612", "1.009999", None]
OFFICERS = ["Trần Thị Mẫu", "Chuyên viên", None]
KEPT = {"api_key", "unit", "unit_alias", "procedure"}
WORKERS = {Consumer.RECONCILE: reconcile.work, Consumer.INDICATORS: indicators.work}

OWN, HEADS, STEPS, FILE, PROVINCE = "dossiers", "DongBoHoSoMC", "CapNhatTienDoHoSoMC", "imports", "pull"
DOORS = {
    (OWN, Portal.PROVINCIAL): 3,
    (OWN, Portal.SENT): 3,
    (OWN, Portal.NATIONAL): 2,
    (HEADS, Portal.SENT): 4,
    (STEPS, Portal.SENT): 3,
    (FILE, Portal.NATIONAL): 1,
    (FILE, Portal.PROVINCIAL): 1,
    (PROVINCE, Portal.PROVINCIAL): 4,
}
"""What a message comes through and which copy it tells of; how often."""

Door = tuple[str, Portal]
Result = TypeVar("Result")


class Told(NamedTuple):
    """What happened to a dossier, as one door tells it. `number`: its place in the order of what happened, from which
    its version comes, so that no two are equal."""

    number: int
    door: Door
    code: str
    status: int
    name: str | None
    agency: str | None
    procedure: str | None
    received: datetime | None
    officer: str | None
    flag: bool
    other: bool
    broken: int

    @property
    def at(self) -> datetime:
        return START + self.number * APART

    @property
    def due(self) -> datetime | None:
        return START + timedelta(days=2 if self.flag else 40) if self.other else None

    @property
    def finished(self) -> datetime | None:
        return self.at if self.flag else None


told = st.builds(
    Told,
    number=st.just(0),
    door=st.sampled_from([door for door, weight in DOORS.items() for _ in range(weight)]),
    code=st.sampled_from(CODES),
    status=st.sampled_from([1, 2, 4, 4, 4, 5, 9, 9, 10, 3, 7, 8]),
    name=st.sampled_from(NAMES),
    agency=st.sampled_from(AGENCIES),
    procedure=st.sampled_from(PROCEDURES),
    received=st.sampled_from([*RECEIVED, None]),
    officer=st.sampled_from(OFFICERS),
    flag=st.booleans(),
    other=st.booleans(),
    broken=st.sampled_from([0] * 8 + [1, 2]),
)


# --- one message as each door has it -------------------------------------------------------------------------------


def own(of: Told) -> dict[str, Any]:
    """Some fields are left out (unknown), some are null (known to be empty)."""
    item: dict[str, Any] = {"code": of.code, "portal": of.door[1].value, "updated_at": of.at.isoformat()}
    item |= {"status": of.status, "received_at": iso(of.received), "finished_at": iso(of.finished)}
    item |= {"unit_code": of.agency, "unit_name": of.name, "cancelled": of.flag and of.status == 7}
    if of.other:
        item |= {"due_at": iso(of.due), "procedure_code": of.procedure, "channel": "online"}
    if of.flag:
        requested = iso(of.at - timedelta(hours=2))
        item["supplements"] = [{"requested_at": requested, "completed_at": iso(of.at), "due_after": None}]
    else:
        item["supplements"] = []
    if of.officer:
        item["steps"] = [
            {
                "occurred_at": iso(of.at + timedelta(minutes=m)),
                "status": of.status or None,
                "officer": of.officer,
            }
            | ({"officer_title": "Công chức"} if of.flag else {})
            for m in (10, 20)
        ]
    broken: list[dict[str, Any]] = [{}, {"status": 99}, {"status": {"of": "another type"}}]
    return item | broken[of.broken]


def heads(of: Told) -> dict[str, Any]:
    """Its version is its newest event: the end, or a request for more papers."""
    item: dict[str, Any] = {"MaHoSo": of.code, "TrangThaiHoSo": str(of.status), "ChuHoSo": "NGUYỄN VĂN MẪU"}
    item |= {
        "NgayTiepNhan": wire(of.received),
        "NgayKetThucXuLy": wire(of.finished),
        "MaTTHC": of.procedure or "",
    }
    if of.other:
        item |= {"NgayHenTra": wire(of.due), "DonViXuLy": of.name or ""}
    item["DanhSachHoSoBoSung"] = (
        [] if of.flag else [{"NgayBoSung": wire(of.at), "NgayHenTraMoi": wire(of.due)}]
    )
    broken: list[dict[str, Any]] = [{}, {"TrangThaiHoSo": "99"}, {"TrangThaiHoSo": ["9"]}]
    return item | broken[of.broken]


def step(of: Told) -> dict[str, Any]:
    item: dict[str, Any] = {"MaHoSo": of.code, "ThoiDiemXuLy": wire(of.at), "TrangThai": str(of.status)}
    if of.other:
        item |= {"NguoiXuLy": of.officer or "", "NoiDungXuLy": "Ông Mẫu đã nộp"}
    if of.flag:
        item |= {"ChucDanh": "Công chức", "NgayBatDau": wire(of.received)}
    broken: list[dict[str, Any]] = [{}, {"ThoiDiemXuLy": ""}, {"TrangThai": 1.5}]
    return item | broken[of.broken]


FILE_HEADER: dict[str, Callable[[Told], str]] = {
    "Mã hồ sơ": lambda of: of.code,
    "Chủ hồ sơ": lambda of: "NGUYỄN VĂN MẪU",
    "Mã TTHC": lambda of: "sai" if of.broken == 2 else of.procedure or "",
    "Đơn vị xử lý": lambda of: of.name or "",
    "Trạng thái": lambda of: "Chưa biết" if of.broken == 1 else str(of.status),
    "Ngày tiếp nhận": lambda of: local(of.received),
    "Ngày hẹn trả": lambda of: local(of.due),
    "Ngày kết thúc xử lý": lambda of: local(of.finished),
    "Ngày cập nhật": lambda of: local(of.at),
}


def file(given: Sequence[Told]) -> bytes:
    out = io.StringIO()
    rows = csv.writer(out)
    rows.writerow(FILE_HEADER)
    rows.writerows([cell(of) for cell in FILE_HEADER.values()] for of in given)
    return out.getvalue().encode()


IGATE_STATES = {1: 0, 2: 9, 3: 8, 4: 2, 5: 1, 6: 6, 7: 7, 8: 3, 9: 4, 10: 5}


def row(of: Told) -> dict[str, Any]:
    """What iGate's search showed of the dossier then."""
    broken: list[dict[str, Any]] = [
        {},
        {"dossierStatus": {"id": 77}},
        {"completedDate": {"of": "another type"}},
    ]
    assignee = {"fullname": of.officer} if of.officer else None
    fields = {
        "procedure": {"code": of.procedure} if of.procedure else None,
        "agency": {"code": of.agency, "name": [{"languageId": 228, "name": of.name}] if of.name else []},
        "dossierStatus": {"id": IGATE_STATES[of.status]},
        "acceptedDate": iso(of.received),
        "appliedDate": iso(of.received),
        "appointmentDate": iso(of.due),
        "completedDate": iso(of.finished),
        "currentTask": [{"isCurrent": 1, "assignee": assignee}] if of.other else [],
    }
    return portals.igate(of.code, updated=of.at, **(fields | broken[of.broken]))


def iso(at: datetime | None) -> str | None:
    return at.isoformat() if at else None


def wire(at: datetime | None) -> str:
    return f"{at:%Y%m%d%H%M%S}" if at else ""


def local(at: datetime | None) -> str:
    return f"{at:%d/%m/%Y %H:%M:%S}" if at else ""


# --- a place to which they are delivered ---------------------------------------------------------------------------


class Outside:
    """Both portals: the province shows the rows that a test lays out; the nation knows the codes of `there`."""

    def __init__(self) -> None:
        self.shown: list[dict[str, Any]] = []
        self.there: set[str] = set()

    def __call__(self, call: Call) -> Answer:
        if call.path.endswith("/token"):
            return ok({"access_token": "t", "expires_in": 300})
        if call.path.endswith("/login"):
            return ok({"error_code": 0, "session": "s"})
        if call.path.startswith("/national"):
            code = call.json["mahoso"]
            return ok({"error_code": 0, "result": [{"MaHoSo": code}] if code in self.there else []})
        return ok({"content": self.shown, "totalElements": len(self.shown), "last": True})


class Place:
    """The application of all services on a database of its own, its workers, and the portals that it asks."""

    def __init__(self, url: str, outside: str, portal: Outside) -> None:
        self.engine = create_engine(url)
        self.portal = portal
        self.settings = portals.leading_to(
            Settings(_env_file=None, database_url=url, chiso_now=BEGIN), outside
        )
        self.app = create_app("test", *joined.ROUTERS, settings=self.settings)
        self.http: httpx.AsyncClient
        self.account: dict[str, str] = {}
        self.session = ""

    @classmethod
    @asynccontextmanager
    async def opened(cls, cluster: Cluster) -> AsyncIterator[Place]:
        name = await cluster.create()
        portal = Outside()
        try:
            async with portals.serving(portal) as outside:
                place = cls(cluster.app_url(name), outside, portal)
                try:
                    async with session_scope(place.engine) as session:
                        await make.units(session)
                        await make.procedure(session)
                    key_id, key = await joined.key(place.engine, Role.ADMIN)
                    async with joined.serve(place.app) as place.http:
                        place.http.headers.update(joined.bearer(key))
                        place.account = {"username": key_id, "password": key}
                        yield place
                finally:
                    await place.engine.dispose()
        finally:
            await cluster.drop(name)

    @property
    def now(self) -> datetime:
        return self.settings.now()

    @now.setter
    def now(self, to: datetime) -> None:
        self.settings = self.app.state.settings = portals.at(self.settings, to)

    async def reset(self) -> None:
        """As it was when it was opened, but for the clock of its tables of units."""
        self.now = BEGIN
        self.portal.shown, self.portal.there = [], set()
        async with session_scope(self.engine) as session:
            for table in Record.metadata.tables.keys() - KEPT:
                await session.execute(text(f"DELETE FROM {table}"))
            await session.execute(text("DELETE FROM unit_alias WHERE name = :name"), {"name": ALIAS})

    async def post(self, path: str, **body: Any) -> dict[str, Any]:
        answer = await self.http.post(path, **body)
        assert answer.status_code in (200, 202), answer.text
        content: dict[str, Any] = answer.json()
        return content

    async def deliver(self, door: Door, given: Sequence[Told], *, stream: bool = False) -> None:
        match door[0]:
            case "dossiers":
                await self._push([own(of) for of in given], [of.broken for of in given], stream)
            case "DongBoHoSoMC":
                await self._call(door[0], [heads(of) for of in given], any(of.broken for of in given))
            case "CapNhatTienDoHoSoMC":
                await self._call(door[0], [step(of) for of in given], any(of.broken for of in given))
            case "imports":
                await self._import(door[1], file(given))
            case _:
                self.portal.shown = [row(of) for of in given]
                await pull.run_one(self.engine, self.settings, Portal.PROVINCIAL, Subject.DOSSIERS)

    async def _push(self, items: list[dict[str, Any]], broken: list[int], stream: bool) -> None:
        if stream:
            answer = await self.http.post(
                "/v1/dossiers",
                content="\n".join(map(json.dumps, items)).encode(),
                headers={"Content-Type": "application/x-ndjson"},
            )
            lines = [json.loads(line) for line in answer.text.splitlines()]
            results = [line["result"] for line in lines if "result" in line]
        else:
            headers = {"Content-Type": "application/json"}
            content = await self.post("/v1/dossiers", content=json.dumps(items).encode(), headers=headers)
            results = [item["result"] for item in content["items"]]
        assert [result == "rejected" for result in results] == [bool(each) for each in broken], results

    async def _call(self, service: str, data: list[dict[str, Any]], broken: bool) -> None:
        answer = await self._integration(service=service, isUpdating="True", data=data)
        assert answer["error_code"] == ("-1" if broken else "0"), answer

    async def asked(self, code: str) -> bool:
        return bool((await self._integration(service="TraCuuHoSo", mahoso=code))["result"])

    async def _integration(self, **call: Any) -> dict[str, Any]:
        answer = await self.post("/dvcqg/integration", json={"session": self.session, **call})
        if answer["error_code"] != "-2":
            return answer
        # Sessions end after some hours.
        self.session = (await self.post("/dvcqg/login", json=self.account))["session"]
        return await self.post("/dvcqg/integration", json={"session": self.session, **call})

    async def _import(self, portal: Portal, content: bytes) -> None:
        given = {"kind": "dossiers", "portal": portal.value, "again": "true"}
        run = await self.post("/v1/imports", files={"file": ("x.csv", content)}, data=given)
        while run["state"] in ("queued", "running"):
            await asyncio.sleep(0.01)
            run = (await self.http.get(f"/v1/imports/{run['id']}")).json()
        assert run["state"] == "done", run

    async def name_unit(self) -> None:
        answer = await self.http.put(f"/v1/unit-aliases/{ALIAS}", json={"unit_code": "H31.136"})
        assert answer.status_code == 200, answer.text

    async def look_up(self) -> None:
        await pull.run_one(self.engine, self.settings, Portal.NATIONAL, Subject.LOOKUPS)

    async def work(self, consumer: Consumer, *, limit: int, takes: int) -> None:
        if consumer is Consumer.INDICATORS:
            await indicators.tick(self.engine, self.now)
        for _ in range(takes):
            await queue.work_once(
                self.engine, consumer=consumer, work=WORKERS[consumer], now=self.now, limit=limit
            )

    async def rest(self) -> dict[str, list[Any]]:
        """The last pulls and all workers at FINAL, and what stands in the tables then."""
        self.now = FINAL
        await self.deliver((PROVINCE, Portal.PROVINCIAL), [])
        await self.look_up()
        await indicators.tick(self.engine, FINAL)
        for consumer, work in WORKERS.items():
            await queue.drain(self.engine, consumer=consumer, work=work, now=FINAL)
        async with session_scope(self.engine) as session:
            assert await recount.check(session) == []
            found = {}
            for table, statement in TABLES.items():
                rows = (await session.execute(text(statement))).mappings()
                found[table] = [{key: values_of(value) for key, value in each.items()} for each in rows]
        return found


# Without ids, when and by which way something was learnt, and without what only history can tell: a finding that has
# been resolved is none, a cell without a count is none.
TABLES = {
    "dossier": "SELECT (to_jsonb(d) - 'via' - 'learnt_at') AS d FROM dossier d ORDER BY code, portal",
    "dossier_step": "SELECT (to_jsonb(s) - 'learnt_at') AS s FROM dossier_step s"
    " ORDER BY code, portal, occurred_at, status",
    "quarantine": "SELECT door, portal, code, field, reason, digest, content, dropped FROM quarantine"
    " ORDER BY digest, door, field",
    "presence": "SELECT code, portal, found FROM presence p WHERE portal = 'provincial' OR NOT EXISTS"
    " (SELECT FROM dossier d WHERE d.code = p.code AND d.portal = 'national' AND d.version IS NOT NULL)"
    " ORDER BY code, portal",
    "finding": "SELECT subject, code, kind, key, unit_code, procedure_code, responsible, source_system, evidence"
    " FROM finding WHERE state = 'open' ORDER BY subject, code, kind, key",
    "comparison": "SELECT (to_jsonb(c) - 'compared_at') AS c FROM comparison c ORDER BY code",
    "assessment": "SELECT code, basis, source, open, wake_at FROM assessment ORDER BY code, basis",
    "assessment_period": "SELECT * FROM assessment_period ORDER BY code, basis, period",
    "tally": f"SELECT basis, period, unit_code, procedure_code, {', '.join(COLUMNS)} FROM tally"
    f" WHERE ({', '.join(COLUMNS)}) <> ({', '.join('0' for _ in COLUMNS)}) ORDER BY 1, 2, 3, 4",
}


# --- in any order --------------------------------------------------------------------------------------------------


class Deliveries(RuleBasedStateMachine):
    """The same messages in whatever order, again and again, in whatever batches. At the end all have come, and it is
    compared with a place that got each once and in order."""

    place: Place
    reference: Place
    runner: asyncio.Runner
    compared: Counter[str]

    def run(self, work: Coroutine[Any, Any, Result]) -> Result:
        return self.runner.run(work)

    @initialize(given=st.lists(told, min_size=4, max_size=18), there=st.sets(st.sampled_from(CODES)))
    def begin(self, given: list[Told], there: set[str]) -> None:
        self.messages = [of._replace(number=number) for number, of in enumerate(given)]
        self.there = there
        self.came: set[int] = set()
        self.run(self.place.reset())
        self.well = True

    def deliver_all(self, given: Sequence[Told], stream: bool) -> None:
        """Side by side through their doors, the first named first."""
        for door in dict.fromkeys(of.door for of in given):
            self.run(self.place.deliver(door, [of for of in given if of.door == door], stream=stream))
        self.came |= {of.number for of in given}

    @rule(
        picks=st.lists(st.integers(0, 17), min_size=1, max_size=8),
        stream=st.booleans(),
        hours=st.integers(0, 20),
        workers=st.sets(st.sampled_from(list(WORKERS))),
    )
    def deliver(self, picks: list[int], stream: bool, hours: int, workers: set[Consumer]) -> None:
        """And let some workers come to the end of what there is."""
        self.well = False
        self.time_goes_on(hours)
        self.deliver_all([self.messages[pick % len(self.messages)] for pick in picks], stream)
        for consumer in sorted(workers):
            self.run(self.place.work(consumer, limit=100, takes=5))
        self.well = True

    @rule(
        consumer=st.sampled_from(list(WORKERS)),
        limit=st.integers(1, 3),
        takes=st.integers(1, 3),
    )
    def work(self, consumer: Consumer, limit: int, takes: int) -> None:
        self.run(self.place.work(consumer, limit=limit, takes=takes))

    def time_goes_on(self, hours: int) -> None:
        self.place.now = min(self.place.now + timedelta(hours=hours), FINAL - timedelta(hours=1))

    @rule(codes=st.sets(st.sampled_from(CODES)))
    def look_up(self, codes: set[str]) -> None:
        """Perhaps after the nation got more of the dossiers that it has at the end."""
        self.place.portal.there |= self.there & codes
        self.run(self.place.look_up())

    @rule(code=st.sampled_from(CODES))
    def name_unit_and_ask(self, code: str) -> None:
        """TraCuuHoSo tells of heads that were sent."""
        self.run(self.place.name_unit())
        sent = {
            of.code
            for of in self.messages
            if of.number in self.came and of.door[1] is Portal.SENT and of.door[0] != STEPS and not of.broken
        }
        assert self.run(self.place.asked(code)) is (code in sent)

    def teardown(self) -> None:
        if getattr(self, "well", False):
            self.deliver_all([of for of in self.messages[::-1] if of.number not in self.came], stream=True)
            self.run(self.compare())

    async def compare(self) -> None:
        await self.reference.reset()
        for place in (self.place, self.reference):
            place.portal.there = self.there
            await place.name_unit()
        for door, given in itertools.groupby(self.messages, key=lambda of: of.door):
            await self.reference.deliver(door, list(given))
        found, expected = await self.place.rest(), await self.reference.rest()
        for table in TABLES:
            only_here = [each for each in found[table] if each not in expected[table]]
            missing = [each for each in expected[table] if each not in found[table]]
            assert (only_here, missing) == ([], []), f"{table}: {only_here} instead of {missing}"
            assert len(found[table]) == len(expected[table])
            self.compared[table] += len(found[table])


async def _opened(cluster: Cluster, stack: AsyncExitStack) -> list[Place]:
    return [await stack.enter_async_context(Place.opened(cluster)) for _ in range(2)]


def test_any_order_repetition_and_split_end_in_the_same(
    cluster: Cluster, record_property: Callable[[str, object], None]
) -> None:
    with asyncio.Runner() as runner:
        stack = AsyncExitStack()
        try:
            Deliveries.place, Deliveries.reference = runner.run(_opened(cluster, stack))
            Deliveries.runner, Deliveries.compared = runner, Counter()
            run_state_machine_as_test(
                Deliveries,
                settings=hypothesis.settings(
                    max_examples=EXAMPLES,
                    stateful_step_count=12,
                    deadline=None,
                    suppress_health_check=list(hypothesis.HealthCheck),
                ),
            )
            assert Deliveries.compared.keys() == TABLES.keys(), "there was something to compare"
            assert min(Deliveries.compared.values()) > 0
            record_property("printed", dict(Deliveries.compared))
        finally:
            runner.run(stack.aclose())
