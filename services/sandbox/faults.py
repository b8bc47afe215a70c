"""What a portal does on a bad day, asked for by POST /_sandbox/faults: over real sockets, by counts and not by chance.

A fault is one object: {portal, kind, service | path, after, every, times, …}. It looks at the calls of its portal
(`service`: a service of the national portal or "login"; "token", "search", "agency", "agency_children" of the
provincial one; `path`: how the address begins; neither: all), lets the first `after` of them through, then strikes
one in `every` (1), `times` in all (1; without an end where only `every` is given). Several may strike one call, in
the order in which they were given; of those that end it, the first does.

Kinds, and what else they take:
  latency {seconds 0.2} · rate_limited {retry_after "0", as the header says it: 429} · server_error {status 500}
  dropped: the connection is cut without an answer · truncated: cut in the middle of the answer
  half_body: half of the answer, as if it were whole · block_page {status 200}: a firewall's HTML page
  session_expired: all sessions (tokens) end before the call · double_encoded: the answer as a text in `message`
  error_code {value}: what success is written as · duplicated {rows 3}, reordered: items of a list
  rows_arrive {rows 3}: the newest rows of the search are held back until it strikes, then there: pages move down
  rows_leave {rows 3}: they are gone from the answers that it strikes: pages move up, the total shrinks
  small_pages {size 40}: pages no larger than this, whatever was asked for
Of the reporting API (`service`: the last part of its path, such as "transparency"), beside latency to block_page:
  error_code {value}: the envelope's code · rows_missing {rows 3}: units that this answer does not have
  rescored: scores are halved, their counts are not: another formula
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from typing import Any
from urllib.parse import parse_qsl, urlencode

import msgspec
from starlette.types import ASGIApp, Message, Receive, Scope, Send

PORTALS = ("national", "provincial", "reporting")
KINDS = (
    "latency", "rate_limited", "server_error", "dropped", "truncated", "half_body", "block_page", "session_expired",
    "double_encoded", "error_code", "duplicated", "reordered", "rows_arrive", "rows_leave", "small_pages",
    "rows_missing", "rescored",
)  # fmt: skip
BLOCK_PAGE = (
    b"<!DOCTYPE html><html><head><title>Request Rejected</title></head><body>The requested URL was rejected."
    b" Support ID: 0</body></html>"
)
_PROVINCIAL = {"token": "token", "search": "search", "--by-parent-id": "agency_children"}


class FaultInvalid(ValueError):
    """What was asked for is no fault."""


class Fault(msgspec.Struct, forbid_unknown_fields=True):
    portal: str
    kind: str
    service: str | None = None
    path: str | None = None
    times: int | None = None
    every: int | None = None
    after: int = 0
    seconds: float = 0.2
    retry_after: str = "0"
    status: int | None = None
    value: int | str = "0"
    rows: int = 3
    size: int = 40
    calls: int = 0  # that it looked at
    struck: int = 0

    def looks_at(self, portal: str, service: str, path: str) -> bool:
        return (
            self.portal == portal
            and self.service in (None, service)
            and (self.path is None or path.startswith(self.path))
        )

    def strikes(self) -> bool:
        """Counts a call that it looks at."""
        self.calls += 1
        beyond = self.calls - self.after
        limit = self.times if self.times is not None else None if self.every else 1
        strikes = (
            beyond > 0 and (beyond - 1) % (self.every or 1) == 0 and (limit is None or self.struck < limit)
        )
        self.struck += strikes
        return strikes


def read(content: object) -> list[Fault]:
    """Raises FaultInvalid, with what is wrong."""
    try:
        faults = msgspec.convert(content, list[Fault])
    except msgspec.ValidationError as error:
        raise FaultInvalid(str(error)) from None
    for fault in faults:
        if fault.portal not in PORTALS or fault.kind not in KINDS:
            raise FaultInvalid(f"portal: one of {', '.join(PORTALS)}; kind: one of {', '.join(KINDS)}")
        if min(fault.rows, fault.size, 1 if fault.every is None else fault.every) < 1 or fault.seconds < 0:
            raise FaultInvalid("rows, size, every: at least 1; seconds: at least 0")
    return faults


class Faults:
    """The faults that are on, around the portals' application. `expire`: by portal, ends all its sessions."""

    def __init__(self, app: ASGIApp, expire: dict[str, Callable[[], None]]) -> None:
        self.app, self.expire = app, expire
        self.on: list[Fault] = []

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        portal = scope["path"].split("/")[1] if scope["type"] == "http" else ""
        if not self.on or portal not in PORTALS:
            await self.app(scope, receive, send)
            return
        body = await _body(receive)
        path = scope["path"].removeprefix(f"/{portal}")
        service = _service(portal, path, body)
        looking = [fault for fault in self.on if fault.looks_at(portal, service, path)]
        striking = [fault for fault in looking if fault.strikes()]
        for fault in striking:
            if fault.kind == "latency":
                await asyncio.sleep(fault.seconds)
            elif fault.kind == "session_expired":
                self.expire.get(portal, lambda: None)()
        if instead := _at_once(striking):
            await _answer(send, *instead)
            return
        cut = next((fault.kind for fault in striking if fault.kind in ("dropped", "truncated")), None)
        if cut == "dropped":
            await _cut(receive, send, {}, b"")
            return
        if service == "search":
            scope = dict(scope) | {"query_string": _query(scope["query_string"], looking, striking)}
        status, headers, content = await self._ask(scope, body)
        if status in (200, 201):
            content = _changed(portal, content, striking)
        if cut is None:
            await _answer(send, status, headers, content)
        else:
            await _cut(receive, send, headers, content)

    async def _ask(self, scope: Scope, body: bytes) -> tuple[int, dict[str, str], bytes]:
        """What the portal itself answers."""
        status, headers, parts = 200, dict[str, str](), list[bytes]()

        async def received() -> Message:
            return {"type": "http.request", "body": body, "more_body": False}

        async def sent(message: Message) -> None:
            nonlocal status, headers
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = {name.decode(): value.decode() for name, value in message["headers"]}
            else:
                parts.append(message.get("body", b""))

        await self.app(scope, received, sent)
        headers.pop("content-length", None)
        return status, headers, b"".join(parts)


async def _body(receive: Receive) -> bytes:
    parts = []
    while True:
        message = await receive()
        parts.append(message.get("body", b""))
        if not message.get("more_body"):
            return b"".join(parts)


def _service(portal: str, path: str, body: bytes) -> str:
    last = path.rsplit("/", 1)[-1]
    if portal == "reporting":
        return last
    if portal == "provincial":
        return _PROVINCIAL.get(last, "agency")
    if last == "login":
        return last
    try:
        sent = msgspec.json.decode(body)
    except msgspec.DecodeError:
        return ""
    return str(sent.get("service", "")) if isinstance(sent, dict) else ""


def _query(query: bytes, looking: Iterable[Fault], striking: list[Fault]) -> bytes:
    """The search as it is asked: how large a page is, and how many of the newest rows are not there."""
    asked: dict[str, str | int] = dict(parse_qsl(query.decode()))
    skip = sum(fault.rows for fault in looking if fault.kind == "rows_arrive" and fault.struck == 0)
    skip += sum(fault.rows for fault in striking if fault.kind == "rows_leave")
    for fault in striking:
        if fault.kind == "small_pages" and "size" in asked:
            asked["size"] = min(fault.size, int(asked["size"]))
    return urlencode(asked | ({"sandbox-skip": skip} if skip else {})).encode()


def _at_once(striking: Iterable[Fault]) -> tuple[int, dict[str, str], bytes] | None:
    """The answer of a fault that does not let the call through to the portal."""
    for fault in striking:
        if fault.kind == "rate_limited":
            return 429, {"retry-after": fault.retry_after}, b""
        if fault.kind == "server_error":
            return fault.status or 500, {"content-type": "text/plain"}, b"Internal Server Error"
        if fault.kind == "block_page":
            return fault.status or 200, {"content-type": "text/html; charset=utf-8"}, BLOCK_PAGE
    return None


def _changed(portal: str, content: bytes, striking: list[Fault]) -> bytes:
    """The portal's answer as the faults leave it."""
    answer: Any = msgspec.json.decode(content)
    for fault in striking:
        if portal == "reporting":
            _changed_report(answer, fault)
            continue
        rows: Any = answer.get("content", answer.get("result"))
        if fault.kind == "duplicated" and isinstance(rows, list):
            rows += rows[: fault.rows]
        elif fault.kind == "reordered" and isinstance(rows, list):
            rows.reverse()
        elif fault.kind == "error_code" and "result" in answer:
            answer["error_code"] = fault.value
        elif fault.kind == "double_encoded" and "result" in answer:
            answer = {"message": msgspec.json.encode(answer).decode()}
    changed = msgspec.json.encode(answer)
    return changed[: len(changed) // 2] if any(fault.kind == "half_body" for fault in striking) else changed


def _changed_report(answer: dict[str, Any], fault: Fault) -> None:
    data = answer["data"] or {}
    rows = data.get("evaluation", data.get("children", []))
    if fault.kind == "error_code":
        answer["code"] = fault.value
    elif fault.kind == "rows_missing":
        del rows[: fault.rows]
    elif fault.kind == "duplicated":
        rows += rows[: fault.rows]
    elif fault.kind == "reordered":
        rows.reverse()
    elif fault.kind == "rescored":
        nodes = [data[name] for name in ("overview", "parent") if name in data] + rows
        for node in [*nodes, *(metric for each in nodes for metric in each.get("metrics", []))]:
            for name in ("totalScore", "score"):
                if node.get(name) is not None:
                    node[name] = round(node[name] / 2, 2)


async def _answer(send: Send, status: int, headers: dict[str, str], content: bytes) -> None:
    raw = [(name.encode(), value.encode()) for name, value in headers.items()]
    raw.append((b"content-length", str(len(content)).encode()))
    await send({"type": "http.response.start", "status": status, "headers": raw})
    await send({"type": "http.response.body", "body": content})


async def _cut(receive: Receive, send: Send, headers: dict[str, str], content: bytes) -> None:
    """Half of an answer, or nothing, and the end of the connection. ASGI has no word for that: the server's own
    connection is taken."""
    if content:
        raw = [(name.encode(), value.encode()) for name, value in headers.items()]
        raw.append((b"content-length", str(len(content)).encode()))
        await send({"type": "http.response.start", "status": 200, "headers": raw})
        await send({"type": "http.response.body", "body": content[: len(content) // 2], "more_body": True})
    getattr(send, "__self__").transport.close()  # noqa: B009 - of uvicorn's cycle, which no type tells
    while (await receive())["type"] != "http.disconnect":
        pass
