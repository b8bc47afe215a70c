"""One call to a portal: timeouts, retries of what is worth retrying, and an answer that is JSON or an error.

Retried: no connection, a timeout, 429, 500 and 502–504 (after `Retry-After` where it is told), a body that is
not the JSON that it should be, a block page until the circuit opens (circuit.py). Never retried: another 4xx or
5xx, a business error. Calls are reads or
idempotent, so a repeat after a lost answer is harmless. No error holds anything of a body: it may name a
citizen.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from types import TracebackType
from typing import Any, Self, TypeVar

import httpx
import msgspec
import stamina

from services.ingest.portals.circuit import circuit_of, is_block_page
from shared.errors import Unavailable

Answer = TypeVar("Answer")

CONNECT_SECONDS = 10.0
READ_SECONDS = 6.0
"""What the known clients use (portals.md §1.1)."""

PASSING = frozenset({429, 500, 502, 503, 504})
"""Statuses that say: not now. 500 says less than that, but with the known systems it often passes."""

LONGEST_PAUSE = 60.0
"""Seconds of a `Retry-After` that are waited for; a portal that asks for more fails the run, which comes
again."""


class PortalAway(Unavailable):
    """No connection, a timeout, or a status that says so. `pause`: seconds that the portal asked for; `status`:
    of HTTP, or None."""

    pause: float | None = None
    status: int | None = None


class PortalBlocked(Unavailable):
    """A page for people came where JSON was asked for, or has come so often that we do not ask (`is_open`).
    `status`: of HTTP, where the block had one."""

    is_open: bool = False
    status: int | None = None


class PortalAnswerInvalid(Unavailable):
    """The body is not the JSON that the protocol promises. `status`: of HTTP, where it is told."""

    status: int | None = None


class PortalRefused(Unavailable):
    """A status or a business code that repeating does not mend. `status`: of HTTP, or None; `code`:
    error_code."""

    status: int | None = None
    code: str | None = None


class Retry(msgspec.Struct, frozen=True):
    """How often a call is made at most, and the pauses between: first, longest, and random addition, in
    seconds; `cooling`: for how long a portal that blocks us is left alone at first."""

    attempts: int = 5
    first: float = 0.5
    longest: float = 20.0
    jitter: float = 0.5
    cooling: float = 300.0

    def context(self) -> Any:
        return stamina.retry_context(
            on=_worth_repeating,
            attempts=self.attempts,
            timeout=None,
            wait_initial=self.first,
            wait_max=self.longest,
            wait_jitter=self.jitter,
        )


def _worth_repeating(error: Exception) -> bool | float:
    if isinstance(error, PortalAway):
        if error.pause is None:
            return True
        return error.pause if error.pause <= LONGEST_PAUSE else False
    if isinstance(error, PortalBlocked):
        return not error.is_open
    return isinstance(error, PortalAnswerInvalid)


class Connection:
    """The HTTP connections to one portal, called `portal` in errors. Use as `async with`.

    Each connection is a client of its own: httpx looks through all connections of a shared pool with each call,
    which costs 2.6 times the processor time at sixteen calls side by side."""

    def __init__(self, url: str, *, portal: str, retry: Retry | None = None, connections: int = 20) -> None:
        self._base = httpx.URL(url)
        self._circuit = circuit_of(str(self._base.copy_with(query=None)))
        self.portal = portal
        self.retry = retry or Retry()
        self._free = asyncio.Semaphore(connections)
        self._idle: list[httpx.AsyncClient] = []
        self._clients: list[httpx.AsyncClient] = []
        self._tls = httpx.create_ssl_context()
        self._urls: dict[str, httpx.URL] = {}

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None = None,
        error: BaseException | None = None,
        trace: TracebackType | None = None,
    ) -> None:
        clients, self._clients, self._idle = self._clients, [], []
        for client in clients:
            await client.aclose()

    @asynccontextmanager
    async def _client(self) -> AsyncIterator[httpx.AsyncClient]:
        """The client that was used last and is free, or a new one."""
        async with self._free:
            if self._idle:
                client = self._idle.pop()
            else:
                client = self._new_client()
                self._clients.append(client)
            try:
                yield client
            finally:
                self._idle.append(client)

    def _new_client(self) -> httpx.AsyncClient:
        dstcode = self._base.params.get("dstcode")
        return httpx.AsyncClient(
            timeout=httpx.Timeout(READ_SECONDS, connect=CONNECT_SECONDS, pool=None),
            limits=httpx.Limits(max_connections=1, max_keepalive_connections=1),
            # The adapter of the old line takes it as a query parameter, the newer one as a header.
            headers={"dstcode": dstcode} if dstcode else {},
            verify=self._tls,
            trust_env=False,
        )

    def url(self, path: str) -> httpx.URL:
        """`path` below the portal's address, whose own query (`dstcode`) stays."""
        if path not in self._urls:
            self._urls[path] = self._base.copy_with(path=self._base.path.rstrip("/") + path)
        return self._urls[path]

    async def once(
        self,
        method: str,
        path: str,
        *,
        headers: Mapping[str, str] | None = None,
        query: Mapping[str, str | int] | None = None,
        json: Any = None,
        form: Mapping[str, str] | None = None,
    ) -> bytes:
        """One call; the body as it came. Raises PortalAway, PortalBlocked, PortalRefused."""
        url = self.url(path)
        sent = dict(headers or {})
        content = None
        if json is not None:
            content = msgspec.json.encode(json)
            sent["Content-Type"] = "application/json"
        if not self._circuit.admits():
            raise self._blocked()
        trial = self._circuit.is_open
        try:
            async with self._client() as client:
                response = await client.request(
                    method,
                    url.copy_merge_params(query) if query else url,
                    content=content,
                    data=form,
                    headers=sent,
                )
        except (httpx.TransportError, httpx.TooManyRedirects, httpx.DecodingError) as error:
            raise PortalAway(
                f"Không kết nối được {self.portal} ({type(error).__name__}).",
                f"{self.portal} does not answer ({type(error).__name__})",
            ) from None
        finally:
            if trial:
                self._circuit.ended()
        status = response.status_code
        if status in PASSING:
            away = PortalAway(
                f"{self.portal} tạm thời không phục vụ (HTTP {status}).",
                f"{self.portal} is temporarily unavailable (HTTP {status})",
            )
            away.pause, away.status = _pause(response.headers.get("retry-after")), status
            raise away
        if status in (200, 403) and is_block_page(response.headers.get("content-type", ""), response.content):
            self._circuit.blocked(self.retry.cooling, trial=trial)
            raise self._blocked()
        self._circuit.answered()
        if status != 200:
            raise self.refused(status=status)
        return response.content

    def _blocked(self) -> PortalBlocked:
        vi, en = self._circuit.told()
        error = PortalBlocked(f"{self.portal} {vi}.", f"{self.portal} {en}")
        error.is_open = self._circuit.is_open
        return error

    async def repeated(self, once: Callable[[], Awaitable[Answer]]) -> Answer:
        """What `once` gives, called again where its error is worth that; at last its error."""
        async for attempt in self.retry.context():
            with attempt:
                return await once()
        raise AssertionError  # a retry context ends with an answer or an error

    def refused(self, *, status: int | None = None, code: object = None) -> PortalRefused:
        shown = f"HTTP {status}" if status else f"error_code {_plain(code)}"
        error = PortalRefused(
            f"{self.portal} từ chối yêu cầu ({shown}).", f"{self.portal} refused the call ({shown})"
        )
        error.status = status
        error.code = _plain(code) if status is None else None
        return error

    def answer_invalid(self) -> PortalAnswerInvalid:
        return PortalAnswerInvalid(
            f"{self.portal} trả lời không đúng định dạng đã thống nhất.",
            f"the answer of {self.portal} is not the JSON that the protocol promises",
        )


def _plain(code: object) -> str:
    """A business code as a short text; anything that is no number is not shown."""
    text = str(code)
    return text if len(text) <= 6 and text.lstrip("-").isdecimal() else "?"


def _pause(text: str | None) -> float | None:
    """`Retry-After` as seconds from now: a number, or an HTTP date."""
    if text is None:
        return None
    try:
        if text.strip().isdecimal():
            return float(text)
        return max(0.0, (parsedate_to_datetime(text) - datetime.now(UTC)).total_seconds())
    except (ValueError, TypeError):
        return None
