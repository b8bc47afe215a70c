"""The integrator against a small receiver of the national protocol, on a real socket."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any

import httpx
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from services.sandbox import ratings
from services.sandbox.integrator import Integrator, PushFailed, Target
from services.sandbox.messages import head, steps
from services.sandbox.server import create_app, running, serving
from services.sandbox.world import World

ANCHOR = datetime.fromisoformat("2026-10-05T00:00:00+07:00")
OK = {"error_code": "0", "message": "Đồng bộ hồ sơ thành công"}


class Receiver:
    """Keeps what it is told; `troubles` are answered first, one a call."""

    def __init__(self) -> None:
        self.heads: dict[str, Any] = {}
        self.steps: dict[str, list[Any]] = {}
        self.ratings: list[Any] = []
        self.petitions: dict[str, Any] = {}
        self.without_petitions = False
        self.rejected: set[str] = set()
        self.calls: list[tuple[str, str, int]] = []
        self.logins = 0
        self.troubles: list[Response] = []

    def app(self) -> Starlette:
        return Starlette(
            routes=[
                Route("/dvcqg/login", self.login, methods=["POST"]),
                Route("/dvcqg/integration", self.integration, methods=["POST"]),
                Route("/v1/petitions", self.take_petitions, methods=["POST"]),
            ]
        )

    async def login(self, request: Request) -> Response:
        sent = await request.json()
        if sent != {"username": "key", "password": "secret"}:
            return JSONResponse({"error_code": "-1", "message": "Sai tài khoản"})
        self.logins += 1
        return JSONResponse({"error_code": 0, "session": f"session-{self.logins}"})

    async def integration(self, request: Request) -> Response:
        sent = await request.json()
        if self.troubles:
            return self.troubles.pop(0)
        self.calls.append((sent["service"], sent.get("isUpdating", ""), len(sent["data"])))
        if sent["service"] == "DongBoDanhGia":
            self.ratings += sent["data"]
            return JSONResponse({"error_code": "0", "message": "Đồng bộ đánh giá thành công"})
        known = [item["MaHoSo"] for item in sent["data"] if item["MaHoSo"] in self.heads]
        if sent["service"] == "CapNhatTienDoHoSoMC":
            for item in sent["data"]:
                self.steps.setdefault(item["MaHoSo"], []).append(item)
            return JSONResponse({"error_code": 0, "message": "Cập nhật tiến độ thành công"})
        if sent["isUpdating"] == "False" and known:
            return JSONResponse({"error_code": "3", "message": f"Hồ sơ {known[0]} đã tồn tại"})
        self.heads.update((item["MaHoSo"], item) for item in sent["data"])
        return JSONResponse(OK)

    async def take_petitions(self, request: Request) -> Response:
        if self.without_petitions:
            return Response("Not Found", 404)
        assert request.headers["x-api-key"] == "secret"
        sent = await request.json()
        self.calls.append(("petitions", "", len(sent)))
        results = ["rejected" if item["code"] in self.rejected else "accepted" for item in sent]
        self.petitions |= {
            item["code"]: item for item, result in zip(sent, results, strict=True) if result == "accepted"
        }
        return JSONResponse({"items": [{"result": result, "reason": "no"} for result in results]})


@pytest.fixture
def receiver() -> Receiver:
    return Receiver()


@pytest.fixture
def target(receiver: Receiver) -> Iterator[Target]:
    with serving(receiver.app()) as url:
        yield Target(url, "key", "secret")


def assert_all_told(receiver: Receiver, world: World) -> None:
    copies = [(dossier, world.sent(dossier, world.now)) for dossier in world.dossiers]
    sent = {copy.code: (dossier, copy) for dossier, copy in copies if copy is not None}
    assert receiver.heads == {code: head(d, copy, with_applicant=True) for code, (d, copy) in sent.items()}
    assert {code: len(items) for code, items in receiver.steps.items()} == {
        code: len(copy.steps) for code, (_, copy) in sent.items()
    }
    for code, (dossier, copy) in sent.items():
        if dossier.kind != "status_overwritten":  # there a step was told as 9 and is not told again
            assert receiver.steps[code] == steps(copy)


async def test_first_all_then_only_what_changed(receiver: Receiver, target: Target) -> None:
    world = World(size=1_200, anchor=ANCHOR)
    integrator = Integrator(world, target)
    first = await integrator.push()
    assert_all_told(receiver, world)
    assert first.new == len(receiver.heads) > 1_000
    assert first.updated == first.refused == first.retries == 0
    assert {"False"} == {updating for service, updating, _ in receiver.calls if service == "DongBoHoSoMC"}
    assert max(count for service, _, count in receiver.calls if service == "DongBoHoSoMC") == 500
    assert max(count for service, _, count in receiver.calls) <= 1_000
    again = await integrator.push()
    assert (again.new, again.updated, again.steps, again.calls) == (0, 0, 0, 0)
    world.move(world.clock + timedelta(days=3, hours=15))
    later = await integrator.push()
    assert 0 < later.new < 100
    assert 0 < later.updated < 600
    assert_all_told(receiver, world)


async def test_troubles_on_the_way(receiver: Receiver, target: Target, world: World) -> None:
    receiver.troubles = [
        Response("overloaded", 503),
        JSONResponse({"error_code": "-2", "message": "Phiên làm việc không hợp lệ"}),
    ]
    counts = await Integrator(world, target).push()
    assert (counts.retries, counts.logins, receiver.logins, counts.refused) == (1, 2, 2, 0)
    assert_all_told(receiver, world)


async def test_known_codes_are_sent_again_as_updates(
    receiver: Receiver, target: Target, world: World
) -> None:
    await Integrator(world, target).push()
    receiver.steps.clear()
    counts = await Integrator(world, target).push()  # has forgotten all, the receiver has not
    assert counts.refused == 0
    assert_all_told(receiver, world)


async def test_a_refused_batch_is_sent_again_later(receiver: Receiver, target: Target, world: World) -> None:
    receiver.troubles = [JSONResponse({"error_code": "-1", "message": "H31.1: TrangThaiHoSo"})]
    integrator = Integrator(world, target)
    counts = await integrator.push()
    assert counts.refused > 0
    assert counts.messages == ["DongBoHoSoMC: -1 H31.1: TrangThaiHoSo"]
    receiver.steps.clear()
    assert (await integrator.push()).refused == 0
    assert_all_told(receiver, world)


async def test_success_without_its_words_is_none(receiver: Receiver, target: Target, world: World) -> None:
    receiver.troubles = [JSONResponse({"error_code": "0", "message": "ok"})]
    assert (await Integrator(world, target).push()).refused > 0


async def test_a_refused_login(target: Target, world: World) -> None:
    with pytest.raises(PushFailed, match="login refused"):
        await Integrator(world, Target(target.url, "key", "wrong")).push()


def test_push_by_the_control_address(receiver: Receiver, target: Target, world: World) -> None:
    with running(world, push=target) as url, httpx.Client(base_url=url, timeout=30) as client:
        said = client.post("/_sandbox/push", json={"wait": True})
        assert said.status_code == 200
        assert said.json()["new"] == len(receiver.heads)
        assert client.get("/_sandbox/stats").json()["last_push"] == said.json()
        begun = client.post("/_sandbox/push", json={})
        assert (begun.status_code, begun.json()["number"]) == (202, 2)
        while client.get("/_sandbox/stats").json()["last_push"]["number"] < 2:
            time.sleep(0.01)
    assert_all_told(receiver, world)


def test_the_clock_follows_after_the_first_push(receiver: Receiver, target: Target, world: World) -> None:
    later = ANCHOR + timedelta(days=4, hours=12)
    app = create_app(world, push=target, follow=lambda: later, follow_every=0.05)
    with serving(app) as url, httpx.Client(base_url=url, timeout=30) as client:
        client.post("/_sandbox/push", json={"wait": True})
        said: dict[str, Any] = {}
        while said.get("at") != later.isoformat():
            said = client.get("/_sandbox/stats").json()["last_push"]
        assert client.get("/_sandbox/clock").json()["now"] == later.isoformat()
    assert said["new"] > 0
    assert_all_told(receiver, world)


async def test_petitions_as_they_are_at_the_clock_and_ratings_of_ended_months(
    receiver: Receiver, target: Target, world: World
) -> None:
    sent = [each for each in world.petitions if each.sent_at <= world.now]
    receiver.rejected = {sent[0].code}
    integrator = Integrator(world, target)
    first = await integrator.push()
    assert (first.petitions, first.refused, first.messages) == (len(sent), 1, [f"{sent[0].code}: no"])
    assert receiver.petitions == {each.code: each.message(world.now) for each in sent[1:]}
    months = [(2026, month) for month in (6, 7, 8, 9)]
    told = [item for month in months for item in ratings.ratings(world.seed, *month)]
    assert receiver.ratings == told
    assert first.ratings == len(told) > 800

    receiver.rejected.clear()
    receiver.calls.clear()
    again = await integrator.push()
    assert (again.petitions, again.ratings, receiver.calls) == (1, 0, [("petitions", "", 1)])
    world.move(world.clock + timedelta(days=14))
    later = await integrator.push()
    assert 0 < later.petitions < len(sent)
    assert receiver.petitions == {
        each.code: each.message(world.now) for each in world.petitions if each.sent_at <= world.now
    }


async def test_a_receiver_without_petitions_is_not_asked_again(
    receiver: Receiver, target: Target, world: World
) -> None:
    receiver.without_petitions = True
    integrator = Integrator(world, target)
    first = await integrator.push()
    assert (first.petitions, first.refused) == (0, 0)
    assert (await integrator.push()).calls == 0
