"""The clients of both portals against servers that behave as portals do: sessions end, proxies answer in
HTML."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import msgspec
import msgspec.structs
import pytest

from services.ingest.portals.circuit import BLOCKS
from services.ingest.portals.http import (
    LONGEST_PAUSE,
    PortalAnswerInvalid,
    PortalAway,
    PortalBlocked,
    PortalRefused,
    Retry,
)
from services.ingest.portals.national import SESSIONS, ListRefused, NationalPortal, unwrap
from services.ingest.portals.provincial import ProvincialPortal
from tests.make import NOW
from tests.portals import QUICK, Answer, Call, igate, ok, serving

HTML: Answer = (200, {"Content-Type": "text/html"}, b"<html>Bao tri he thong</html>")
ROWS = [{"MATTHC": "1.001612", "TENTTHC": "Đăng ký"}]


@pytest.mark.parametrize(
    "body",
    [
        {"error_code": 0, "result": ROWS},
        {"error_code": "0", "message": "", "result": ROWS},
        {"error_code": "00", "result": {"data": ROWS}},
        {"result": ROWS},
        {"message": msgspec.json.encode({"result": ROWS}).decode()},
        {"message": msgspec.json.encode({"error_code": "0", "result": {"data": ROWS}}).decode()},
    ],
)
def test_unwrap(body: Any) -> None:
    envelope = unwrap(msgspec.json.encode(body))
    assert envelope is not None
    assert envelope.code == "0"
    assert envelope.items is not None
    assert msgspec.json.decode(envelope.items) == ROWS


@pytest.mark.parametrize(
    ("body", "code", "items"),
    [
        (b'{"error_code":"-2","message":"Phi\xc3\xaan"}', "-2", False),
        (b'{"error_code":0,"result":null}', "0", True),
        (b'{"error_code":0}', "0", False),
        (b'{"error_code":0,"result":"x"}', "0", False),
    ],
)
def test_unwrap_without_rows(body: bytes, code: str, items: bool) -> None:
    envelope = unwrap(body)
    assert envelope is not None
    assert (envelope.code, envelope.items is not None) == (code, items)


@pytest.mark.parametrize(
    "body",
    [b"", b"<html>", b"[]", b"{}", b'{"error_code":[1]}', b'{"message":"{x"}', b'{"result":{}}', b"[" * 99],
)
def test_unwrap_of_nothing(body: bytes) -> None:
    assert unwrap(body) is None


class Nation:
    """A national portal: `answer` per call of a service; sessions are numbered."""

    def __init__(self, answer: Callable[[dict[str, Any]], Answer]) -> None:
        self.answer = answer
        self.logins = 0
        self.calls: list[dict[str, Any]] = []

    def __call__(self, call: Call) -> Answer:
        if call.path.endswith("/login"):
            self.logins += 1
            return ok({"error_code": 0, "session": f"s{self.logins}"})
        self.calls.append(call.json)
        return self.answer(call.json)


@asynccontextmanager
async def national(
    answer: Callable[[dict[str, Any]], Answer], retry: Retry = QUICK
) -> AsyncIterator[tuple[NationalPortal, Nation]]:
    nation = Nation(answer)
    async with (
        serving(nation) as url,
        NationalPortal(url, username="H31", password="x", unit="H31", retry=retry) as portal,
    ):
        yield portal, nation


async def test_session_and_unit_travel_in_the_body() -> None:
    async with national(lambda call: ok({"error_code": 0, "result": ROWS})) as (portal, nation):
        assert await portal.list_procedures() == ROWS
    assert nation.calls == [{"session": "s1", "madonvi": "H31", "service": "LayDanhSachTTHC"}]


@pytest.mark.parametrize(
    "ended",
    [
        {"error_code": "-2", "message": "không hợp lệ"},
        {"error_code": "-1", "message": "Phiên làm việc hết hạn"},
        {"error_code": 5, "message": "Session expired"},
    ],
)
async def test_ended_session_is_renewed_once_for_many_calls(ended: dict[str, Any]) -> None:
    def answer(call: dict[str, Any]) -> Answer:
        return ok(ended if call["session"] == "s1" else {"error_code": 0, "result": []})

    async with national(answer) as (portal, nation):
        found = await asyncio.gather(*(portal.lookup(f"H31.135-260803-{n:04d}") for n in range(12)))
    assert found == [False] * 12
    assert nation.logins == 2


async def test_session_that_never_holds_is_a_refusal() -> None:
    async with national(lambda call: ok({"error_code": "-2", "message": "Phiên"})) as (portal, nation):
        with pytest.raises(PortalRefused) as refused:
            await portal.list_units()
    assert refused.value.code == "-2"
    assert len(nation.calls) == SESSIONS


async def test_login_refused() -> None:
    async with (
        serving(lambda call: ok({"error_code": "-1", "message": "Sai mật khẩu của Nguyễn Văn Mẫu"})) as url,
        NationalPortal(url, username="H31", password="x", unit="H31", retry=QUICK) as portal,
    ):
        with pytest.raises(PortalRefused) as refused:
            await portal.list_units()
    assert "Mẫu" not in refused.value.vi + refused.value.en


def once_then(first: Answer, *, then: Answer) -> tuple[Callable[[dict[str, Any]], Answer], list[int]]:
    calls: list[int] = []

    def answer(call: dict[str, Any]) -> Answer:
        calls.append(1)
        return first if len(calls) == 1 else then

    return answer, calls


@pytest.mark.parametrize(
    "first",
    [
        (503, {}, b""),
        (500, {}, b"x"),
        (502, {}, b"<html>"),
        (504, {}, b""),
        (429, {"Retry-After": "0"}, b""),
        (503, {"Retry-After": "Sun, 01 Nov 2026 00:00:00 GMT"}, b""),
        HTML,
        (200, {}, b'{"error_code": 0, "resu'),
        None,
    ],
)
async def test_what_passes_is_repeated(first: Answer) -> None:
    answer, calls = once_then(first, then=ok({"error_code": 0, "result": ROWS}))
    async with national(answer) as (portal, _):
        assert await portal.list_procedures() == ROWS
    assert len(calls) == 2


@pytest.mark.parametrize(
    ("first", "error"),
    [
        ((501, {}, b"x"), PortalRefused),
        ((404, {}, b"x"), PortalRefused),
        ((400, {}, b"x"), PortalRefused),
        (ok({"error_code": "-1", "message": "Thiếu tham số"}), PortalRefused),
        ((503, {"Retry-After": str(int(LONGEST_PAUSE) + 1)}, b""), PortalAway),
    ],
)
async def test_what_does_not_pass_is_not_repeated(first: Answer, error: type[Exception]) -> None:
    answer, calls = once_then(first, then=ok({"error_code": 0, "result": ROWS}))
    async with national(answer) as (portal, _):
        with pytest.raises(error):
            await portal.list_procedures()
    assert len(calls) == 1


async def test_repeats_end() -> None:
    async with national(lambda call: ok("no envelope")) as (portal, nation):
        with pytest.raises(PortalAnswerInvalid):
            await portal.list_procedures()
    assert len(nation.calls) == QUICK.attempts


async def test_block_pages_open_the_circuit_and_one_trial_closes_it() -> None:
    answers = [HTML] * (BLOCKS + 1)

    def answer(call: dict[str, Any]) -> Answer:
        return answers.pop() if answers else ok({"error_code": 0, "result": ROWS})

    async with national(answer, msgspec.structs.replace(QUICK, cooling=0.0)) as (portal, nation):
        with pytest.raises(PortalBlocked) as blocked:
            await portal.list_procedures()
        assert blocked.value.is_open
        assert "Bao tri" not in blocked.value.en
        assert len(nation.calls) == BLOCKS
        with pytest.raises(PortalBlocked):  # the trial meets another one
            await portal.list_procedures()
        assert len(nation.calls) == BLOCKS + 1
        assert await portal.list_procedures() == ROWS
        assert await asyncio.gather(*(portal.list_procedures() for _ in range(4))) == [ROWS] * 4


async def test_an_open_circuit_asks_nobody() -> None:
    async with national(lambda call: HTML, QUICK) as (portal, nation):
        for _ in range(3):
            with pytest.raises(PortalBlocked) as blocked:
                await portal.list_procedures()
            assert blocked.value.is_open
    assert len(nation.calls) == BLOCKS


async def test_nobody_listens() -> None:
    async with serving(lambda call: None) as url:
        pass
    async with NationalPortal(url, username="", password="", unit="H31", retry=QUICK) as portal:
        with pytest.raises(PortalAway):
            await portal.list_units()


async def test_error_codes_with_words_are_not_told() -> None:
    async with national(lambda call: ok({"error_code": "NGUYỄN VĂN MẪU"})) as (portal, _):
        with pytest.raises(PortalRefused) as refused:
            await portal.list_units()
    assert "MẪU" not in refused.value.en


@pytest.mark.parametrize(
    ("result", "found"),
    [([], False), ([{"MaHoSo": "H31.135-260803-0012"}], True), ([{"x": 1}], True), (None, False)],
)
async def test_lookup(result: Any, found: bool) -> None:
    async with national(lambda call: ok({"error_code": 0, "result": result})) as (portal, nation):
        assert await portal.lookup("H31.135-260803-0012") is found
    assert nation.calls[0]["mahoso"] == "H31.135-260803-0012"


@pytest.mark.parametrize("result", [[{"MaHoSo": "H31.135-260803-9999"}], "x", [1]])
async def test_lookup_that_proves_nothing(result: Any) -> None:
    async with national(lambda call: ok({"error_code": 0, "result": result})) as (portal, _):
        with pytest.raises(PortalAnswerInvalid):
            await portal.lookup("H31.135-260803-0012")


@pytest.mark.parametrize(
    ("told", "same"),
    [("1.001612", True), ("1.001612.000.00.00.H31", True), ("1.001613", False), ("1.00161", False)],
)
async def test_record_of_another_procedure_is_unverified(told: str, same: bool) -> None:
    async with national(lambda call: ok({"error_code": 0, "result": [{"MATTHC": told}]})) as (portal, _):
        found = await portal.procedure("1.001612")
    assert (found.record is not None, found.unverified) == (same, not same)


async def test_list_refused() -> None:
    refusal = {"error_code": "-3", "message": "Đơn vị không được cấp quyền sử dụng dịch vụ này"}
    async with national(lambda call: ok(refusal)) as (portal, nation):
        with pytest.raises(ListRefused):
            await portal.list_dossiers(NOW, NOW)
    assert nation.calls[0]["ngayNhan1"] == "20261102090000"


async def test_dstcode_goes_as_query_and_header() -> None:
    seen: list[Call] = []

    def answer(call: Call) -> Answer:
        seen.append(call)
        return ok({"error_code": 0, "session": "s", "result": []})

    async with (
        serving(answer) as url,
        NationalPortal(
            f"{url}/adapter?dstcode=VN:GOV", username="", password="", unit="H31", retry=QUICK
        ) as portal,
    ):
        await portal.list_units()
    assert {(call.query["dstcode"], call.headers["dstcode"]) for call in seen} == {("VN:GOV", "VN:GOV")}
    assert seen[1].path == "/adapter/share"


# --- provincial


@asynccontextmanager
async def provincial(answer: Callable[[Call], Answer]) -> AsyncIterator[ProvincialPortal]:
    async with (
        serving(answer) as url,
        ProvincialPortal(url, client_id="chiso", client_secret="x", retry=QUICK) as portal,
    ):
        yield portal


async def test_token_is_renewed_once_on_401() -> None:
    tokens: list[str] = []

    def answer(call: Call) -> Answer:
        if call.path.endswith("/token"):
            tokens.append(call.body.decode())
            return ok({"access_token": f"t{len(tokens)}", "expires_in": 300})
        if call.headers["authorization"] != "Bearer t2":
            return 401, {}, b"{}"
        return ok({"content": [igate("H31.135-260803-0012")], "totalElements": 1, "last": True})

    async with provincial(answer) as portal:
        pages = await asyncio.gather(*(portal.search(0, 10) for _ in range(5)))
    assert [page.total_elements for page in pages] == [1] * 5
    assert len(tokens) == 2
    assert "grant_type=client_credentials" in tokens[0]


async def test_short_lived_token_is_renewed_before_its_end() -> None:
    tokens: list[int] = []

    def answer(call: Call) -> Answer:
        if call.path.endswith("/token"):
            tokens.append(1)
            return ok({"access_token": "t", "expires_in": 0})
        return ok({"content": [], "totalElements": 0, "last": True})

    async with provincial(answer) as portal:
        await portal.search(0, 10)
        await portal.search(0, 10)
    assert len(tokens) == 2


async def test_second_401_is_a_refusal() -> None:
    calls: list[str] = []

    def answer(call: Call) -> Answer:
        calls.append(call.path)
        if call.path.endswith("/token"):
            return ok({"access_token": "t", "expires_in": 300})
        return 401, {}, b"{}"

    async with provincial(answer) as portal:
        with pytest.raises(PortalRefused) as refused:
            await portal.search(0, 10)
    assert refused.value.status == 401
    assert len(calls) == 4


@pytest.mark.parametrize("body", [ok({"content": "x"}), ok([]), ok({"content": [], "last": True})])
async def test_page_that_is_none(body: Answer) -> None:
    def answer(call: Call) -> Answer:
        return ok({"access_token": "t", "expires_in": 300}) if call.path.endswith("/token") else body

    async with provincial(answer) as portal:
        with pytest.raises(PortalAnswerInvalid):
            await portal.search(0, 10)
