"""Client of the provincial one-stop system, iGate (portals.md §4): token, dossier search, units."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from typing import TypeVar
from urllib.parse import quote

import msgspec

from services.ingest.portals.http import Connection, PortalRefused, Retry
from services.ingest.portals.igate_messages import Page, decode_page
from services.ingest.portals.igate_units import AgencyItem, AgencyPage, decode_agencies, decode_agency
from shared.settings import Settings

Answer = TypeVar("Answer")

TOKEN = "/auth/realms/digo/protocol/openid-connect/token"  # noqa: S105 - a path
DELETED = 18
"""The state of a deleted dossier, which the search is asked to leave out."""

EARLY_SECONDS = 30.0
"""A token is renewed so long before its end."""


class _Token(msgspec.Struct):
    access_token: str
    expires_in: float = 300.0


class ProvincialPortal(Connection):
    """The system as one of its clients sees it. Every method may raise PortalAway, PortalAnswerInvalid
    (after a few repeats) and PortalRefused."""

    def __init__(
        self,
        url: str,
        *,
        client_id: str,
        client_secret: str,
        retry: Retry | None = None,
        connections: int = 20,
    ) -> None:
        super().__init__(url, portal="Hệ thống một cửa của tỉnh", retry=retry, connections=connections)
        self._credentials = {
            "grant_type": "client_credentials",
            "client_id": client_id,
            "client_secret": client_secret,
        }
        self._token: str | None = None
        self._ends = 0.0
        self._renewal = asyncio.Lock()

    @classmethod
    def of(cls, settings: Settings, *, retry: Retry | None = None) -> ProvincialPortal:
        """Raises ValueError where no provincial system is configured."""
        if settings.provincial_url is None:
            raise ValueError("PROVINCIAL_URL is not set")
        secret = settings.provincial_client_secret
        return cls(
            settings.provincial_url,
            client_id=settings.provincial_client_id or "",
            client_secret=secret.get_secret_value() if secret else "",
            retry=retry,
        )

    async def search(self, page: int, size: int) -> Page:
        """A page of dossiers, the one updated last first. `page` counts from 0."""
        query: dict[str, str | int] = {
            "page": page,
            "size": size,
            "spec": "page",
            "sort": "updatedDate,desc",
            "remove-status": DELETED,
        }
        return await self._read("/pa/dossier/search", query, decode_page)

    async def agency(self, agency_id: str) -> AgencyItem:
        return await self._read(f"/ba/agency/{quote(agency_id, safe='')}", {}, decode_agency)

    async def agencies_below(self, agency_id: str, page: int = 0) -> AgencyPage:
        """The units whose parent this is."""
        query: dict[str, str | int] = {"parent-id": agency_id, "page": page}
        return await self._read("/ba/agency/--by-parent-id", query, decode_agencies)

    async def _read(
        self, path: str, query: Mapping[str, str | int], decode: Callable[[bytes], Answer | None]
    ) -> Answer:
        async def once() -> Answer:
            found = decode(await self._get(path, query))
            if found is None:
                raise self.answer_invalid()
            return found

        return await self.repeated(once)

    async def _get(self, path: str, query: Mapping[str, str | int]) -> bytes:
        token = await self._access(None)
        try:
            return await self.once("GET", path, query=query, headers={"Authorization": f"Bearer {token}"})
        except PortalRefused as error:
            if error.status != 401:
                raise
        # Ended before its time: renewed once, then a 401 is a refusal.
        token = await self._access(token)
        return await self.once("GET", path, query=query, headers={"Authorization": f"Bearer {token}"})

    async def _access(self, ended: str | None) -> str:
        async with self._renewal:
            if self._token is None or self._token == ended or time.monotonic() >= self._ends:
                self._token = None
                body = await self.once("POST", TOKEN, form=self._credentials)
                try:
                    token = msgspec.json.decode(body, type=_Token)
                except (msgspec.MsgspecError, UnicodeDecodeError):
                    raise self.answer_invalid() from None
                self._token = token.access_token
                self._ends = time.monotonic() + max(token.expires_in - EARLY_SECONDS, token.expires_in / 2)
            return self._token
