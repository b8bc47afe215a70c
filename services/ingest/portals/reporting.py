"""Client of the national portal's public reporting API (reporting-api.md §1, §10), as polite as that page asks:
one call at a time, a pause before each, an honest name, no cookie, no trick.

A block (401, 403, 406, a firewall's page) and 429 end the asking at once; what passes by itself (no connection, a
timeout, 5xx) is tried four times at most. No error holds anything of a body.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from types import TracebackType
from typing import Any, NamedTuple, Self

import httpx
import msgspec
import stamina

from services.ingest.portals.circuit import is_block_page
from services.ingest.portals.http import PortalAnswerInvalid, PortalAway, PortalBlocked, PortalRefused, Retry
from shared.errors import Unavailable
from shared.settings import Settings

NAME = "API thống kê của Cổng DVC quốc gia"
AGENT = "chiso/0.1 (indicators of QD 766; once a day, one call at a time)"
CONNECT_SECONDS = 10.0
READ_SECONDS = 45.0
LARGEST = 30_000_000
"""Bytes of a body; the largest seen has 300 KB."""
BLOCKING = frozenset({401, 403, 406})
RETRY = Retry(attempts=4, first=2.0, longest=60.0, jitter=2.0)


class PortalLimited(Unavailable):
    """429: we ask too often. The run ends; the next comes hours later."""


class Answered(NamedTuple):
    """An answer with a body, whatever it says. `attempts`: calls that it took."""

    status: int
    content_type: str
    body: bytes
    attempts: int


class ReportingPortal:
    """The API as one caller sees it. Use as `async with`; never ask two things at once."""

    def __init__(self, url: str, *, pause: float, retry: Retry | None = None) -> None:
        self._base = httpx.URL(url)
        self.pause = pause
        self.calls = 0
        self.repeats = 0
        self._retry = retry or RETRY
        self._last: float | None = None
        self._client = httpx.AsyncClient(
            timeout=httpx.Timeout(READ_SECONDS, connect=CONNECT_SECONDS),
            limits=httpx.Limits(max_connections=1, max_keepalive_connections=1),
            headers={"User-Agent": AGENT, "Accept": "application/json"},
            trust_env=False,
        )

    @classmethod
    def of(cls, settings: Settings, *, retry: Retry | None = None) -> ReportingPortal:
        """Raises ValueError where no reporting API is configured."""
        if settings.reporting_url is None:
            raise ValueError("REPORTING_URL is not set")
        return cls(settings.reporting_url, pause=settings.reporting_pause_seconds, retry=retry)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None = None,
        error: BaseException | None = None,
        trace: TracebackType | None = None,
    ) -> None:
        await self._client.aclose()

    async def ask(self, path: str, body: Mapping[str, Any]) -> Answered:
        """POST a JSON body. Raises PortalBlocked, PortalLimited, PortalAway (after four attempts), PortalRefused
        (any other status than 200 and 201), PortalAnswerInvalid (no JSON, or far too much of it)."""
        attempts = 0
        async for attempt in stamina.retry_context(
            on=PortalAway,
            attempts=self._retry.attempts,
            timeout=None,
            wait_initial=self._retry.first,
            wait_max=self._retry.longest,
            wait_jitter=self._retry.jitter,
        ):
            with attempt:
                attempts += 1
                self.repeats += attempts > 1
                await self._wait()
                status, content_type, content = await self._once(path, body)
        return Answered(status, content_type, content, attempts)

    async def _wait(self) -> None:
        """The pause since the last call ended."""
        if self._last is not None:
            await asyncio.sleep(max(0.0, self._last + self.pause - time.monotonic()))

    async def _once(self, path: str, body: Mapping[str, Any]) -> tuple[int, str, bytes]:
        self.calls += 1
        url = self._base.copy_with(path=self._base.path.rstrip("/") + path)
        try:
            async with self._client.stream(
                "POST",
                url,
                content=msgspec.json.encode(body),
                headers={"Content-Type": "application/json"},
            ) as response:
                content = bytearray()
                async for part in response.aiter_bytes():
                    content += part
                    if len(content) > LARGEST:
                        raise _invalid(response.status_code)
        except (httpx.TransportError, httpx.DecodingError) as error:
            away = PortalAway(
                f"Không kết nối được {NAME} ({type(error).__name__}).",
                f"the reporting API does not answer ({type(error).__name__})",
            )
            raise away from None
        finally:
            self._last = time.monotonic()
        return judged(response.status_code, response.headers.get("content-type", ""), bytes(content))


def judged(status: int, content_type: str, body: bytes) -> tuple[int, str, bytes]:
    """The answer where it is one; else what §10 makes of it. The kind of content is asked before anything is
    parsed: a firewall's page may come with a status of success. Pure."""
    content_type = content_type.partition(";")[0].strip().lower()[:100]
    if status in BLOCKING or is_block_page(content_type, body) or b"Request Rejected" in body[:2000]:
        blocked = PortalBlocked(
            f"{NAME} đã chặn (HTTP {status}).", f"the reporting API blocked us (HTTP {status})"
        )
        blocked.status = status
        raise blocked
    if status == 429:
        raise PortalLimited(
            f"{NAME} báo gọi quá nhiều (HTTP 429).", "the reporting API asks to slow down (429)"
        )
    if status >= 500:
        away = PortalAway(
            f"{NAME} tạm thời không phục vụ (HTTP {status}).",
            f"the reporting API is temporarily unavailable (HTTP {status})",
        )
        away.status = status
        raise away
    if status not in (200, 201):
        refused = PortalRefused(
            f"{NAME} từ chối yêu cầu (HTTP {status}).", f"the reporting API refused the call (HTTP {status})"
        )
        refused.status = status
        raise refused
    if "json" not in content_type:
        raise _invalid(status)
    return status, content_type, body


def _invalid(status: int) -> PortalAnswerInvalid:
    error = PortalAnswerInvalid(
        f"{NAME} trả lời không phải JSON.", "the answer of the reporting API is not JSON"
    )
    error.status = status
    return error


def status_of(error: Exception) -> int | None:
    """The HTTP status that an error of this client stands for."""
    if isinstance(error, PortalLimited):
        return 429
    status = getattr(error, "status", None)
    return status if isinstance(status, int) else None
