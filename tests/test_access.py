"""Every route, walked with keys that must not get through. A route without an expectation fails the walk, so a new
one is covered or noticed."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import httpx
import pytest
from fastapi.routing import APIRoute
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from services.ingest.dvcqg import router as dvcqg
from shared import access
from shared.db import session_scope
from shared.settings import Settings
from shared.vocabulary import Role
from tests import captures, joined
from tests.conftest import Cluster
from tests.joined import bearer
from tests.make import NOW

OPEN = {"/health", "/ready", "/metrics", "/docs", "/docs/problems", "/docs/oauth2-redirect", "/openapi.json"}
MINE, FOREIGN = "H31.135", "H31.136"
DOSSIER = "H31.135-260803-0001"


@dataclass(frozen=True)
class Expected:
    """How a route is called so that only the key decides. `of_unit`: its path names something of H31.135.
    `everybody`: what it tells is not one unit's (every key that reads may). `readers`: what it tells is no unit's
    figures; these roles and the admin's may read it, nobody else."""

    path: Mapping[str, str] = field(default_factory=dict)
    query: Mapping[str, str] = field(default_factory=dict)
    json: Any = None
    form: Mapping[str, str] | None = None
    file: bytes | None = None
    of_unit: bool = False
    everybody: bool = False
    readers: frozenset[Role] | None = None


PUSHING = frozenset({Role.CENTRE, Role.INTEGRATOR})

EXPECTED: dict[tuple[str, str], Expected] = {
    ("POST", "/v1/dossiers"): Expected(json=[]),
    ("POST", "/v1/petitions"): Expected(json=[]),
    ("POST", "/v1/reporting-counts"): Expected(
        json={"unit": MINE, "period": "2026-08", "count": 4128, "source": "screen"}
    ),
    ("GET", "/v1/reporting-counts"): Expected(),
    ("GET", "/v1/dossiers/{code}"): Expected(path={"code": DOSSIER}, of_unit=True),
    ("GET", "/v1/dossiers/{code}/assessment"): Expected(path={"code": DOSSIER}, of_unit=True),
    ("POST", "/v1/sync-runs"): Expected(json={"portal": "provincial", "subject": "dossiers"}),
    ("GET", "/v1/sync-runs"): Expected(everybody=True),
    ("GET", "/v1/sync-runs/{run_id}"): Expected(path={"run_id": "<run>"}, everybody=True),
    ("GET", "/v1/circuits"): Expected(everybody=True),
    ("DELETE", "/v1/circuits/{name}"): Expected(path={"name": "reporting"}),
    ("POST", "/v1/imports"): Expected(form={"kind": "procedures"}, file=joined.FILE),
    ("GET", "/v1/imports"): Expected(readers=frozenset({Role.CENTRE})),
    ("GET", "/v1/imports/{import_id}"): Expected(
        path={"import_id": "<import>"}, readers=frozenset({Role.CENTRE})
    ),
    ("GET", "/v1/units"): Expected(),
    ("GET", "/v1/coverage"): Expected(),
    ("GET", "/v1/quarantine"): Expected(readers=PUSHING),
    ("POST", "/v1/quarantine/{refusal_id}/replay"): Expected(path={"refusal_id": "<refusal>"}),
    ("GET", "/v1/pushes"): Expected(readers=PUSHING),
    ("GET", "/v1/pushes/{receipt_id}"): Expected(path={"receipt_id": "<receipt>"}, readers=PUSHING),
    ("GET", "/v1/unit-aliases"): Expected(),
    ("PUT", "/v1/unit-aliases/{name}"): Expected(path={"name": "một nơi"}, json={"unit_code": MINE}),
    ("DELETE", "/v1/unit-aliases/{name}"): Expected(path={"name": "một nơi"}),
    ("GET", "/v1/findings"): Expected(query={"state": "all"}),
    ("GET", "/v1/findings/{finding_id}"): Expected(path={"finding_id": "<finding>"}, of_unit=True),
    ("GET", "/v1/reconciliation/dossiers"): Expected(),
    ("POST", "/v1/decisions"): Expected(json=joined.DECISION),
    ("GET", "/v1/decisions"): Expected(everybody=True),
    ("GET", "/v1/decisions/{decision_id}"): Expected(path={"decision_id": "<decision>"}, everybody=True),
    ("GET", "/v1/catalogue"): Expected(),
    ("GET", "/v1/reconciliation/procedures"): Expected(),
    ("GET", "/v1/captures"): Expected(everybody=True),
    ("GET", "/v1/captures/{capture_id}"): Expected(path={"capture_id": "<capture>"}),
    ("GET", "/v1/captures/compare"): Expected(query={"a": "1", "b": "1"}),
    ("GET", "/v1/comparison"): Expected(query={"period": "2026-10"}),
    ("GET", "/v1/indicators"): Expected(everybody=True),
    ("GET", "/v1/trends"): Expected(query={"from": "2026-08", "to": "2026-08"}),
    ("GET", "/v1/opportunities"): Expected(query={"period": "2026-08"}),
    ("GET", "/v1/near-due"): Expected(),
    ("GET", "/v1/changes"): Expected(),
    ("GET", "/v1/scoreboard"): Expected(query={"period": "2026-08"}),
    ("GET", "/v1/indicators/{group}"): Expected(path={"group": "progress"}, query={"period": "2026-08"}),
    ("GET", "/v1/indicators/{group}/{component}/procedures"): Expected(
        path={"group": "progress", "component": "2.2"}, query={"period": "2026-08"}
    ),
    ("GET", "/v1/indicators/{group}/{component}/items"): Expected(
        path={"group": "progress", "component": "2.1"}, query={"period": "2026-08", "part": "numerator"}
    ),
}
WRITERS = {
    "/v1/quarantine/{refusal_id}/replay": {Role.ADMIN, *PUSHING},
    "/v1/unit-aliases/{name}": {Role.ADMIN, Role.CENTRE},
    "/v1/petitions": {Role.ADMIN, Role.CENTRE, Role.INTEGRATOR},
    "/v1/reporting-counts": {Role.ADMIN, Role.CENTRE},
    "/v1/dossiers": {Role.ADMIN, Role.CENTRE, Role.INTEGRATOR},
    "/v1/sync-runs": {Role.ADMIN, Role.CENTRE},
    "/v1/circuits/{name}": {Role.ADMIN, Role.CENTRE},
    "/v1/imports": {Role.ADMIN, Role.CENTRE},
    "/v1/decisions": {Role.ADMIN, Role.CENTRE},
}


class Walk:
    """The joined application, keys of every kind, and each route ready to be called."""

    def __init__(self, http: httpx.AsyncClient, keys: dict[str, str], ids: dict[str, str]) -> None:
        self.http, self.keys, self.ids = http, keys, ids

    async def call(
        self, route: tuple[str, str], key: str | None, headers: Mapping[str, str] = {}, **query: Any
    ) -> httpx.Response:
        method, path = route
        expected = EXPECTED[route]
        values = {name: self.ids.get(value, value) for name, value in expected.path.items()}
        sent = dict(headers) | (bearer(self.keys.get(key, key)) if key is not None else {})
        return await self.http.request(
            method,
            path.format(**values),
            params={**expected.query, **query},
            json=expected.json,
            data=expected.form,
            files=expected.file and {"file": expected.file},
            headers=sent,
        )


@pytest.fixture(scope="module")
async def walk(cluster: Cluster) -> AsyncIterator[Walk]:
    async with joined.own_database(cluster) as (engine, settings), _walk(engine, settings) as made:
        yield made


@asynccontextmanager
async def _walk(engine: AsyncEngine, settings: Settings) -> AsyncIterator[Walk]:
    await joined.province(engine)
    keys = {}
    for name, role, unit in (
        ("admin", Role.ADMIN, "H31"),
        ("centre", Role.CENTRE, "H31"),
        ("integrator", Role.INTEGRATOR, "H31"),
        ("reader", Role.READER, "H31"),
        ("unit", Role.UNIT, MINE),
        ("foreign unit", Role.UNIT, FOREIGN),
        ("foreign reader", Role.READER, FOREIGN),
        ("revoked", Role.ADMIN, "H31"),
    ):
        key_id, keys[name] = await joined.key(engine, role, unit)
    async with session_scope(engine) as session:
        await access.revoke_key(session, key_id, now=NOW)
    async with joined.serve(joined.joined(settings)) as http:
        centre = bearer(keys["centre"])
        decision = await http.post("/v1/decisions", json=joined.DECISION, headers=centre)
        run = await http.post(
            "/v1/sync-runs", json={"portal": "national", "subject": "units"}, headers=centre
        )
        pushed = await http.post("/v1/dossiers", json=[joined.PUSHED], headers=bearer(keys["integrator"]))
        imported = await http.post(
            "/v1/imports", data={"kind": "procedures"}, files={"file": joined.FILE}, headers=centre
        )
        await joined.work(engine)
        async with session_scope(engine) as session:
            finding = await session.scalar(
                text("SELECT id FROM finding WHERE code = :code LIMIT 1"), {"code": DOSSIER}
            )
        assert finding is not None
        ids = {"<decision>": decision.json()["id"], "<run>": run.json()["id"], "<finding>": finding}
        refused = await http.get("/v1/quarantine", headers=bearer(keys["integrator"]))
        ids["<refusal>"] = refused.json()["items"][0]["id"]
        ids["<import>"] = imported.json()["id"]
        ids["<capture>"] = await captures.kept(engine, settings)
        ids["<receipt>"] = pushed.json()["receipt"]
        yield Walk(http, keys, {name: str(value) for name, value in ids.items()})


def walked(settings: Settings) -> dict[tuple[str, str], APIRoute]:
    found = {}
    theirs = {getattr(route, "path", "") for route in dvcqg.routes}
    for method, path, route in joined.routes(joined.joined(settings)):
        if path in OPEN or path in theirs:
            continue
        assert isinstance(route, APIRoute), f"{path} is no API route: how is it guarded?"
        found[method, path.replace(":path}", "}")] = route
    return found


def takes_unit(route: APIRoute) -> bool:
    return any(param.alias == "unit" for param in route.dependant.query_params)


READS = [route for route in EXPECTED if route[0] == "GET"]
WRITES = [route for route in EXPECTED if route[0] != "GET"]


def test_every_route_has_an_expectation(settings: Settings) -> None:
    found = walked(settings)
    assert found.keys() - EXPECTED.keys() == set(), "say here who may call the new route"
    assert EXPECTED.keys() - found.keys() == set(), "a route is gone"
    documented = {
        (method.upper(), path)
        for path, operations in joined.joined(settings).openapi()["paths"].items()
        for method in operations
    }
    served = joined.routes(joined.joined(settings))
    assert documented <= {(method, path.replace(":path}", "}")) for method, path, _ in served}
    assert {path for _, path in WRITES} == WRITERS.keys()
    for route, expected in EXPECTED.items():
        if route[0] == "GET":
            covered = (
                expected.of_unit + expected.everybody + takes_unit(found[route]) + bool(expected.readers)
            )
            assert covered == 1, f"{route}: it takes a unit, names a unit's, is everybody's or some roles'"


async def test_without_a_key_or_with_one_that_no_longer_works(walk: Walk) -> None:
    key_id = walk.keys["admin"].partition(".")[0]
    for route in EXPECTED:
        for wrong in (None, "revoked", "x", "", f"{key_id}.{'A' * 43}", key_id, walk.keys["admin"] + "x"):
            answer = await walk.call(route, wrong)
            assert answer.status_code == 401, (route, wrong, answer.text)
            assert answer.headers["content-type"] == "application/problem+json"
            assert answer.headers["www-authenticate"] == "Bearer"
        for header in ("\x80é".encode("latin-1"), b"k\x00", b"k" * 5000):
            answer = await walk.call(route, None, headers={"X-API-Key": header})
            assert answer.status_code in (400, 401), (route, header)


async def test_a_key_in_either_header(walk: Walk) -> None:
    for route in READS:
        answer = await walk.call(route, None, headers={"X-API-Key": walk.keys["admin"]})
        assert answer.status_code == 200, (route, answer.text)


async def test_another_unit_cannot_be_asked_for(walk: Walk, settings: Settings) -> None:
    found = walked(settings)
    of_units = [route for route in EXPECTED if takes_unit(found[route])]
    assert of_units
    for route in of_units:
        for name in ("foreign unit", "foreign reader"):
            for unit in (MINE, "H31", "h31.135", " H31.135 ", "000.00.135.H31", "H31.16"):
                answer = await walk.call(route, name, unit=unit)
                assert answer.status_code == 403, (route, name, unit, answer.text)
                csv = await walk.call(route, name, headers={"Accept": "text/csv"}, unit=unit)
                assert csv.status_code == 403, (route, name, unit)
            twice = await walk.call(route, name, unit=[FOREIGN, MINE])
            assert twice.status_code == 403, (route, name)
            turned = await walk.call(route, name, unit=[MINE, FOREIGN])
            assert turned.status_code == 403, (route, name)
            own = await walk.call(route, name, unit=FOREIGN)
            assert own.status_code == 200, (route, name, own.text)


async def test_another_unit_s_dossiers_and_findings_cannot_be_read(walk: Walk) -> None:
    of_unit = [route for route in READS if EXPECTED[route].of_unit]
    assert of_unit
    for route in of_unit:
        for name in ("foreign unit", "foreign reader"):
            answer = await walk.call(route, name)
            assert answer.status_code == 403, (route, answer.text)
            assert DOSSIER not in answer.text
        assert DOSSIER in (await walk.call(route, "unit")).text, route


async def test_nothing_of_another_unit_in_any_answer(walk: Walk) -> None:
    """Whatever a route answers to H31.136's key, no code of H31.135 is in it; in CSV neither."""
    told = 0
    for route in READS:
        for name in ("foreign unit", "foreign reader"):
            for accept in ("application/json", "text/csv"):
                answer = await walk.call(route, name, headers={"Accept": accept})
                refused = EXPECTED[route].of_unit or EXPECTED[route].readers
                assert answer.status_code == (403 if refused else 200), (route, answer.text)
                assert MINE not in answer.text, (route, accept)
                assert "HS-7" not in answer.text, "what has no unit is the province's"
                told += FOREIGN in answer.text
        whole = await walk.call(route, "centre" if EXPECTED[route].readers else "reader")
        assert whole.status_code == 200, (route, whole.text)
    assert told > 8, "its own it does see"


async def test_only_the_roles_that_write_may_write(walk: Walk) -> None:
    for route in WRITES:
        for name in ("admin", "centre", "integrator", "reader", "unit", "foreign unit", "foreign reader"):
            role = Role(name.rpartition(" ")[2])
            answer = await walk.call(route, name)
            if role in WRITERS[route[1]]:
                assert answer.status_code in (200, 201, 202, 409), (route, name, answer.text)
            else:
                assert answer.status_code == 403, (route, name, answer.text)


async def test_a_refusal_names_what_the_key_may(walk: Walk) -> None:
    other = (await walk.call(("GET", "/v1/near-due"), "foreign unit", unit=MINE)).json()
    assert f"đơn vị của mình ({FOREIGN})" in other["detail_vi"]
    assert f"its own unit ({FOREIGN})" in other["detail"]
    role = (await walk.call(("POST", "/v1/decisions"), "reader")).json()
    assert role["detail_vi"].endswith("(reader) không dùng được chức năng này; dùng được: admin, centre.")
    assert role["detail"].endswith("these do: admin, centre.")


async def test_an_integrator_reads_nothing_but_what_became_of_its_pushes(walk: Walk) -> None:
    for route in READS:
        answer = await walk.call(route, "integrator")
        may = Role.INTEGRATOR in (EXPECTED[route].readers or ())
        assert answer.status_code == (200 if may else 403), (route, answer.text)


async def test_what_only_some_roles_may_read(walk: Walk) -> None:
    for route in READS:
        for name in ("admin", "centre", "integrator", "reader", "unit"):
            if readers := EXPECTED[route].readers:
                answer = await walk.call(route, name)
                assert answer.status_code == (200 if Role(name) in readers | {Role.ADMIN} else 403), (
                    route,
                    name,
                )
