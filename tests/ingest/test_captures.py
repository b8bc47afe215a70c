"""Captures end to end: the sandbox's reporting API over a real socket; servers that block, break and fall silent."""

from __future__ import annotations

import asyncio
import zlib
from datetime import timedelta
from typing import Any

import httpx
import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from services.ingest import capture_circuit, pull, runs, sync_api
from services.ingest.capture_api import router as circuits
from services.ingest.portals.http import PortalAway, PortalBlocked, PortalRefused, Retry
from services.ingest.portals.reporting import PortalLimited
from services.ingest.portals.reporting_requests import Endpoint
from services.ingest.worker import Worker
from services.sandbox.reporting_bodies import department_id
from shared.db import session_scope
from shared.errors import Conflict
from shared.settings import Settings
from shared.vocabulary import Portal, Role, Subject
from tests import make
from tests.captures import NOW, answering, leading_to, plain, said
from tests.portals import ANCHOR, QUICK, Answer, Call, at, column, rows, serving, world
from tests.portals import sandbox as portals

CAPTURES = (Portal.NATIONAL, Subject.CAPTURES)
ALL = sorted(each.value for each in Endpoint)


async def capture(engine: AsyncEngine, settings: Settings, *periods: str, retry: Retry = QUICK) -> int:
    cursor = {"periods": list(periods)} if periods else None
    return await pull.run_one(engine, settings, *CAPTURES, cursor=cursor, retry=retry)


async def checks(engine: AsyncEngine, capture_id: int) -> dict[str, Any]:
    found = await rows(
        engine, "SELECT code, holds, failed, detail FROM capture_check WHERE capture_id = :id", id=capture_id
    )
    return {row.code: row for row in found}


async def test_a_day_of_the_sandbox(engine: AsyncEngine, settings: Settings) -> None:
    """All periods of a day: bodies, units, figures, checks; asked again, equal bodies are kept once."""
    with portals(settings, world(400)) as leading:
        given = leading_to(leading, leading.national_url.replace("/national", "/reporting"))  # type: ignore[union-attr]
        await pull.run_one(engine, given, Portal.NATIONAL, Subject.UNITS, retry=QUICK)
        first = await capture(engine, given)
        again = await capture(engine, given, "2026-10", "2026")
    heads = await rows(engine, "SELECT * FROM capture ORDER BY id")
    wanted = ["2026-10", "2026-11", "2026-Q3", "2026-Q4", "2026"]
    assert [head.period for head in heads] == [*wanted, "2026-10", "2026"], "2025 has nothing usable"
    assert {head.state for head in heads} == {"complete"}
    assert {(head.scope, str(head.root_id), tuple(head.missing)) for head in heads} == {
        ("H31", department_id("H31"), ())
    }
    assert {str(head.report_on) for head in heads} == {"2026-11-01"}
    assert [head.politeness["calls"] for head in heads] == [8] * 7
    runs_of = await rows(engine, "SELECT * FROM sync_run WHERE subject = 'captures' ORDER BY id")
    assert [(run.id, run.complete, run.items, run.accepted) for run in runs_of] == [
        (first, True, 40, 5),
        (again, True, 16, 2),
    ]
    contents = await rows(engine, "SELECT size, body, verified_at FROM capture_content")
    assert len(contents) == 40 - _repeated(await rows(engine, "SELECT digest FROM capture_body"), 56, 40)
    assert all(len(zlib.decompress(row.body)) == row.size for row in contents)
    assert sum(len(row.body) for row in contents) * 5 < sum(row.size for row in contents)
    units = await rows(engine, "SELECT * FROM captured_unit WHERE capture_id = :id", id=heads[0].id)
    ours = [unit for unit in units if unit.unit_code is not None]
    assert len(ours) == 117
    assert all(unit.department_code == unit.unit_code for unit in ours)
    (short,) = (unit for unit in ours if unit.missing)
    assert (short.unit_code, sorted(short.missing)) == (
        "H31.906",
        ["digitisation", "satisfaction", "transparency"],
    )
    found = await checks(engine, heads[0].id)
    assert {code for code, row in found.items() if row.holds is False} == {"inventory"}
    assert found["restated"].holds is None, "nothing came before it"
    assert (await checks(engine, heads[5].id))["restated"].holds is True
    (shown,) = await rows(
        engine,
        "SELECT f.* FROM captured_figure f JOIN captured_unit u USING (capture_id, department_id)"
        " WHERE f.capture_id = :id AND u.unit_code = 'H31' AND component = 'PROGRESS_ON_TIME'",
        id=heads[0].id,
    )
    assert shown.denominator > shown.numerator > 0
    assert shown.given == 31
    assert await column(
        engine, "SELECT DISTINCT unnest(codes) FROM change WHERE consumer = 'indicators'"
    ) == ["captures"]


def _repeated(digests: list[Any], bodies: int, first: int) -> int:
    """How many of the first capture's bodies were alike among themselves; the second brought nothing new."""
    assert len(digests) == bodies
    return first - len({row.digest for row in digests})


HTML = (200, {"Content-Type": "text/html"}, b"<html><body>Request Rejected. Support ID: 1</body></html>")


async def state(engine: AsyncEngine) -> Any:
    (head,) = await rows(engine, "SELECT * FROM capture")
    return head


async def test_the_requests_are_those_of_the_reference(engine: AsyncEngine, settings: Settings) -> None:
    """A key with a typo would ask for another population, and nobody would tell (§3)."""
    sent: dict[str, dict[str, Any]] = {}

    def look(last: str, call: Call) -> str:
        sent[last + ("" if "rootDepartmentId" in call.json else "*")] = call.json
        assert call.method == "POST"
        assert call.headers["content-type"] == "application/json"
        assert call.headers["user-agent"].startswith("chiso/")
        assert "cookie" not in call.headers
        return ""

    async with serving(answering(look)) as url:
        await capture(engine, leading_to(settings, url), "2026-Q3")
    root = department_id("H31")
    quarter = {"timeType": "quarter", "year": 2026, "quarter": 3}
    assert sent == {
        "service-results*": quarter | {"departmentType": "ADMINISTRATIVE_UNIT"},
        "service-results": quarter | {"rootDepartmentId": root, "currentPage": 1, "pageSize": 300},
        "transparency": quarter | {"rootDepartmentId": root, "currentPage": 1, "pageSize": 200},
        "dvc-progress-tree": quarter | {"rootDepartmentId": root, "pageSize": 100},
        "provide-online-tree": quarter | {"rootDepartmentId": root, "pageSize": 200},
        "formality-online-payment-tree": quarter | {"rootDepartmentId": root, "pageSize": 100},
        "dossier-digitized": quarter | {"rootDepartmentId": root, "currentPage": 1, "pageSize": 200},
        "handling-satisfaction": {
            "fromDate": "2026-07-01",
            "toDate": "2026-09-30",
            "rootDepartmentId": root,
            "currentPage": 1,
            "pageSize": 200,
        },
    }
    assert (await state(engine)).state == "complete"


@pytest.mark.parametrize(
    ("broken", "error"),
    [
        (said({"code": "OK", "data": {"overview": {}, "evaluation": []}}), "ReportInvalid: shape $.overview"),
        (said({"code": "ERROR", "data": None}), "ReportInvalid: not_ok code"),
        (said({"code": "OK"}), "ReportInvalid: envelope $"),
        ((201, {"Content-Type": "application/json"}, b'{"code": "OK", "da'), "ReportInvalid: not_json"),
        ((201, {"Content-Type": "text/plain"}, b"later"), "PortalAnswerInvalid"),
    ],
)
async def test_a_body_that_is_not_understood_makes_the_capture_partial(
    engine: AsyncEngine, settings: Settings, broken: Answer, error: str
) -> None:
    async with serving(answering(lambda last, call: broken if last == "transparency" else "")) as url:
        run = await capture(engine, leading_to(settings, url), "2026-10")
    head = await state(engine)
    assert (head.state, head.missing) == ("partial", ["transparency"])
    (done,) = await rows(engine, "SELECT * FROM sync_run WHERE id = :id", id=run)
    assert (done.state, done.complete, done.rejected) == ("done", False, 1)
    assert "2026-10: transparency" in done.error
    bodies = {row.endpoint: row for row in await rows(engine, "SELECT * FROM capture_body")}
    assert bodies["transparency"].error.startswith(error)
    assert (bodies["transparency"].digest is None) == error.startswith("Portal"), "what was JSON is kept"
    assert {row.error for row in bodies.values()} - {bodies["transparency"].error} == {None}
    groups = await column(engine, "SELECT DISTINCT endpoint FROM captured_figure ORDER BY 1")
    assert groups == [each for each in ALL if each != "transparency"]


@pytest.mark.parametrize(
    ("blocking", "status"),
    [(HTML, 200), ((403, {}, b""), 403), ((401, {}, b""), 401), ((406, {}, b""), 406)],
)
async def test_a_block_stops_the_run_until_a_person_closes_the_circuit(
    engine: AsyncEngine, settings: Settings, blocking: Answer, status: int
) -> None:
    calls: list[str] = []
    is_blocking = True

    def look(last: str, call: Call) -> Answer | str:
        calls.append(last)
        return blocking if is_blocking and last == "dvc-progress-tree" else ""

    async with serving(answering(look)) as url:
        given = leading_to(settings, url)
        with pytest.raises(PortalBlocked):
            await capture(engine, given, "2026-10", "2026")
        assert calls == ["service-results", "service-results", "transparency", "dvc-progress-tree"], (
            "no retry"
        )
        head = await state(engine)
        assert (head.state, len(head.missing)) == ("partial", 5)
        with pytest.raises(capture_circuit.CircuitOpen):
            await capture(engine, given, "2026-10")
        is_blocking = False
        async with make.client(engine, given, sync_api.router, circuits, role=Role.CENTRE) as http:
            refused = await http.post("/v1/sync-runs", json={"portal": "national", "subject": "captures"})
            assert (refused.status_code, refused.json()["circuit"]) == (409, "reporting")
            (shown,) = (await http.get("/v1/circuits")).json()["items"]
            assert (shown["status"], shown["closed_at"]) == (status, None)
            assert len(calls) == 4, "nobody asked meanwhile"
            closed = await http.delete("/v1/circuits/reporting")
            assert closed.status_code == 200
            assert closed.json()["closed_by"].startswith("k")
            assert (await http.delete("/v1/circuits/reporting")).status_code == 409
        await capture(engine, given, "2026-10")
    assert await column(engine, "SELECT state FROM capture ORDER BY id") == ["partial", "complete"]


async def test_too_many_calls_and_a_bad_body_end_the_run_at_once(
    engine: AsyncEngine, settings: Settings
) -> None:
    for status, error in ((429, PortalLimited), (400, PortalRefused), (302, PortalRefused)):
        calls: list[str] = []

        def look(last: str, call: Call, status: int = status, calls: list[str] = calls) -> Answer | str:
            calls.append(last)
            return (status, {}, b"") if last == "transparency" else ""

        async with serving(answering(look)) as url:
            with pytest.raises(error):
                await capture(engine, leading_to(settings, url), "2026-10")
        assert len(calls) == 3
        async with session_scope(engine) as session:
            assert not await capture_circuit.is_open(session)


async def test_silence_is_tried_four_times_and_opens_the_circuit_on_the_third_morning(
    engine: AsyncEngine, settings: Settings
) -> None:
    calls: list[str] = []

    def look(last: str, call: Call) -> Answer | str:
        calls.append(last)
        return (503, {}, b"") if last == "transparency" and len(calls) % 2 else None

    async with serving(answering(look)) as url:
        given = leading_to(settings, url)
        for turn in range(1, 4):
            async with session_scope(engine) as session:
                assert not await capture_circuit.is_open(session)
            with pytest.raises(PortalAway):
                await capture(engine, given, "2026-10", retry=Retry(attempts=4, first=0, longest=0, jitter=0))
            assert len(calls) == 4 * turn
    async with session_scope(engine) as session:
        assert await capture_circuit.is_open(session)
        await capture_circuit.close(session, by="test", now=NOW)
        with pytest.raises(Conflict):
            await capture_circuit.close(session, by="test", now=NOW)
    (failed,) = await rows(engine, "SELECT attempts, digest, error FROM capture_body WHERE capture_id = 1")
    assert (failed.digest, failed.error.partition(":")[0]) == (None, "PortalAway")


async def test_a_killed_run_goes_on_with_the_bodies_that_it_lacks(
    engine: AsyncEngine, settings: Settings
) -> None:
    """Killed between two bodies: what came is committed, and is not asked for again while the window is open."""
    calls: list[str] = []

    class Killed(BaseException):
        pass

    def look(last: str, call: Call) -> str:
        calls.append(last)
        return ""

    def kill(run: runs.Run) -> None:
        if len(calls) == 4:
            raise Killed

    async with serving(answering(look)) as url:
        given = leading_to(settings, url)
        with pytest.raises(Killed):
            await pull.run_one(engine, given, *CAPTURES, kill, cursor={"periods": ["2026-10"]}, retry=QUICK)
        assert (await state(engine)).state == "open"
        run = await capture(engine, given)
        assert len(calls) == 8
        assert (await state(engine)).state == "complete"
        (done,) = await rows(engine, "SELECT attempts, items, state FROM sync_run WHERE id = :id", id=run)
        assert tuple(done) == (2, 8, "done")
        # Another that was killed, taken up when its window has closed: two observations, not one.
        calls.clear()
        with pytest.raises(Killed):
            await pull.run_one(engine, given, *CAPTURES, kill, cursor={"periods": ["2026-10"]}, retry=QUICK)
        await capture(engine, at(given, NOW + timedelta(hours=2)))
    found = await rows(engine, "SELECT state, cardinality(missing) AS missing FROM capture ORDER BY id")
    assert [tuple(row) for row in found] == [("complete", 0), ("partial", 4), ("complete", 0)]


async def test_what_is_restated_is_said(engine: AsyncEngine, settings: Settings) -> None:
    """An ended month is held against the first complete capture after its end."""
    scores = [10.0, 11.0, 10.0]

    def look(last: str, call: Call) -> Answer | str:
        status, headers, body = plain(last, call.json)  # type: ignore[misc]
        return status, headers, body.replace(b"10.0", str(scores[0]).encode())

    async with serving(answering(look)) as url:
        given = leading_to(settings, url)
        while scores:
            await capture(engine, given, "2026-10")
            del scores[0]
    ids = await column(engine, "SELECT id FROM capture ORDER BY id")
    found = [(await checks(engine, each))["restated"] for each in ids]
    assert [row.holds for row in found] == [None, False, True]
    assert found[1].detail[0]["expected"] == "–/– → 10"
    assert found[1].detail[0]["found"] == "–/– → 11"


async def test_the_worker_asks_once_a_day_after_five(engine: AsyncEngine, settings: Settings) -> None:
    async def turn(now: Any, **others: Any) -> list[str]:
        """One turn of a fresh worker that has nothing but captures to ask for."""
        given = at(settings.model_copy(update={"reporting_url": "http://127.0.0.1:9", **others}), now)
        worker = Worker(engine, given, asyncio.Event(), asyncio.Event(), QUICK)
        await worker.turn()
        await worker.end()
        return await column(engine, "SELECT state FROM sync_run WHERE subject = 'captures' ORDER BY id")

    night, morning = ANCHOR + timedelta(hours=4, minutes=45), ANCHOR + timedelta(hours=5, minutes=15)
    assert await turn(morning, reporting_url=None) == [], "off by default"
    assert await turn(night) == []
    assert await turn(morning) == ["failed"], "nobody listens there"
    assert await turn(morning + timedelta(minutes=30)) == ["failed"]
    assert await turn(morning + timedelta(hours=1)) == ["failed", "failed"]
    assert await turn(morning + timedelta(hours=2)) == ["failed"] * 3
    async with session_scope(engine) as session:
        assert await capture_circuit.is_open(session), "three in a row"
    assert await turn(morning + timedelta(days=1)) == ["failed"] * 3


async def test_one_period_can_be_asked_for(engine: AsyncEngine, settings: Settings) -> None:
    given = leading_to(settings, "http://127.0.0.1:9")
    async with make.client(engine, given, sync_api.router, role=Role.CENTRE) as http:

        async def post(**body: Any) -> httpx.Response:
            return await http.post("/v1/sync-runs", json={"portal": "national", "subject": "captures"} | body)

        for wrong in ("2025", "2027", "2026-13", "2026-12"):
            answer = await post(period=wrong)
            assert (answer.status_code, answer.json()["field"]) == (422, "period"), wrong
        assert (await post(subject="units", period="2026-10")).json()["field"] == "period"
        assert (await post(period="2026-10")).status_code == 202
    assert await column(engine, "SELECT cursor FROM sync_run") == [{"periods": ["2026-10"]}]
    async with make.client(engine, settings, sync_api.router, role=Role.CENTRE) as http:
        off = await http.post("/v1/sync-runs", json={"portal": "national", "subject": "captures"})
        assert off.status_code == 409
        assert "REPORTING_URL" in off.json()["detail"]
