"""Client of the national portal's integration API (portals.md §1.1–1.3, §1.7, §2): session, envelope,
services.

Calls go out in the name of one unit (`madonvi`). The session travels in the body; how long it lives is
documented nowhere, so a session error logs in again, twice a call at most.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from datetime import datetime
from typing import Any, TypeVar

import msgspec

from services.ingest.portals.http import Connection, PortalRefused, Retry
from shared.calendar import TZ
from shared.errors import Forbidden, Invalid
from shared.identifiers import parse_dossier_code, procedure_code
from shared.settings import Settings

Rows = TypeVar("Rows")

INTEGRATION = "/integration"
SHARE = "/share"
NOT_GRANTED = "-3"
SESSION_UNKNOWN = "-2"
SESSIONS = 3
"""A call that meets the end of so many sessions gives up: of many calls side by side each may meet another's."""


class ListRefused(Forbidden):
    """The portal does not grant DanhSachHoSo to our unit."""


class Procedure(msgspec.Struct, frozen=True):
    """An answer of LayThuTuc. `record` is None where the portal knows no such code, or answered with the
    record of another one (`unverified`): portals.md §2, the trap."""

    record: dict[str, Any] | None
    unverified: bool


class Envelope(msgspec.Struct, frozen=True):
    """An unwrapped answer: `code` is "0" for success; `items` is the JSON array of the result, or None where
    the answer tells none."""

    code: str
    message: str
    items: msgspec.Raw | None


class _Answer(msgspec.Struct):
    """Only these keys are decoded: a result may hold more than we may know."""

    error_code: int | str | msgspec.UnsetType | None = msgspec.UNSET
    message: Any = None
    result: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET


class _Login(msgspec.Struct):
    error_code: int | str | None = None
    session: str | None = None


class _Data(msgspec.Struct):
    data: msgspec.Raw


class _Found(msgspec.Struct):
    MaHoSo: str | None = None


def _canonical(code: str) -> str | None:
    try:
        return parse_dossier_code(code).code
    except Invalid:
        return None


def unwrap(body: bytes) -> Envelope | None:
    """The answer in any of its forms (portals.md §1.2): result or result.data, error_code 0, "0" or "00", or
    the whole of it as a JSON text in `message`, as a provincial façade sends it. None: no such form. Pure."""
    try:
        answer = msgspec.json.decode(body, type=_Answer)
        message = answer.message if isinstance(answer.message, str) else ""
        if answer.result is msgspec.UNSET and message.lstrip().startswith("{"):
            inner = msgspec.json.decode(message, type=_Answer)
            if inner.error_code is msgspec.UNSET:
                inner.error_code = answer.error_code
            answer, message = inner, inner.message if isinstance(inner.message, str) else ""
        if answer.error_code is msgspec.UNSET and answer.result is msgspec.UNSET:
            return None
        items = None if answer.result is msgspec.UNSET else bytes(answer.result)
        if items is not None and items.startswith(b"{"):
            items = bytes(msgspec.json.decode(items, type=_Data).data)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None
    code = "0" if answer.error_code is msgspec.UNSET else str(answer.error_code).strip()
    if items == b"null":
        items = b"[]"
    return Envelope(
        code="0" if code and not code.strip("0") else code,
        message=message,
        items=msgspec.Raw(items) if items is not None and items.startswith(b"[") else None,
    )


def is_session_error(envelope: Envelope) -> bool:
    """Known by its code where the portal has one, else by what the message is about. Pure."""
    return envelope.code == SESSION_UNKNOWN or (
        envelope.code != "0"
        and ("phiên" in envelope.message.casefold() or "session" in envelope.message.casefold())
    )


class NationalPortal(Connection):
    """The portal as one of its clients sees it. Every method may raise PortalAway, PortalAnswerInvalid (after
    a few repeats) and PortalRefused."""

    def __init__(
        self,
        url: str,
        *,
        username: str,
        password: str,
        unit: str,
        retry: Retry | None = None,
        connections: int = 20,
    ) -> None:
        super().__init__(url, portal="Cổng DVC quốc gia", retry=retry, connections=connections)
        self._credentials = {"username": username, "password": password}
        self._unit = unit
        self._session: str | None = None
        self._login = asyncio.Lock()

    @classmethod
    def of(cls, settings: Settings, *, retry: Retry | None = None) -> NationalPortal:
        """Raises ValueError where no national portal is configured."""
        if settings.national_url is None:
            raise ValueError("NATIONAL_URL is not set")
        password = settings.national_password
        return cls(
            settings.national_url,
            username=settings.national_username or "",
            password=password.get_secret_value() if password else "",
            unit=settings.national_unit,
            retry=retry,
        )

    async def list_procedures(self) -> list[Any]:
        """LayDanhSachTTHC: rows {MATTHC, TENTTHC} as they came."""
        return await self._rows(SHARE, "LayDanhSachTTHC", list[Any])

    async def list_online_services(self) -> list[Any]:
        """LayDVC: rows {MADVC, MATTHC, APDUNGDVC[], …} as they came."""
        return await self._rows(INTEGRATION, "LayDVC", list[Any])

    async def decision(self, decision: str) -> list[Any]:
        """LayQDCB: rows {SOQUYETDINH, NGAYQUYETDINH, …} of the decision with this id (IDQUYETDINHCONGBO)."""
        return await self._rows(INTEGRATION, "LayQDCB", list[Any], {"idQDCB": decision})

    async def list_units(self) -> list[Any]:
        """LayDanhMucCoQuan: rows {MADONVI, TENDONVI, CAPDONVI, …} as they came."""
        return await self._rows(SHARE, "LayDanhMucCoQuan", list[Any])

    async def procedure(self, code: str) -> Procedure:
        """LayThuTuc. The code that came back is held against the one asked for, by its national part."""
        rows = await self._rows(INTEGRATION, "LayThuTuc", list[dict[str, Any]], {"maTTHC": code})
        if not rows:
            return Procedure(None, False)
        try:
            same = procedure_code(str(rows[0].get("MATTHC", ""))) == code
        except Invalid:
            same = False
        return Procedure(rows[0], False) if same else Procedure(None, True)

    async def lookup(self, code: str) -> bool:
        """TraCuuHoSo: whether the portal holds this dossier. An answer that tells of another code proves
        nothing: PortalAnswerInvalid."""
        rows = await self._rows(INTEGRATION, "TraCuuHoSo", list[_Found], {"mahoso": code})
        told = [row.MaHoSo for row in rows if row.MaHoSo]
        if told and code not in map(_canonical, told):
            raise self.answer_invalid()
        return bool(rows)

    async def list_dossiers(self, start: datetime, end: datetime) -> msgspec.Raw:
        """DanhSachHoSo: a JSON array of the items received in [start, end), in the form of DongBoHoSoMC, not
        decoded. Raises ListRefused."""
        window = {
            "donViXuLy": "",
            "ngayNhan1": start.astimezone(TZ).strftime("%Y%m%d%H%M%S"),
            "ngayNhan2": end.astimezone(TZ).strftime("%Y%m%d%H%M%S"),
        }
        try:
            return await self._items(INTEGRATION, "DanhSachHoSo", window)
        except PortalRefused as error:
            if error.code != NOT_GRANTED and error.status not in (401, 403):
                raise
            raise ListRefused(
                "Cổng DVC quốc gia không cấp quyền lấy danh sách hồ sơ (DanhSachHoSo) cho đơn vị này; "
                "hồ sơ vẫn được tra cứu từng mã.",
                "the national portal does not grant DanhSachHoSo to our unit; "
                "dossiers are still looked up one by one",
            ) from None

    async def _rows(
        self, path: str, service: str, rows: type[Rows], extra: Mapping[str, str] | None = None
    ) -> Rows:
        try:
            return msgspec.json.decode(await self._items(path, service, extra), type=rows)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            raise self.answer_invalid() from None

    async def _items(self, path: str, service: str, extra: Mapping[str, str] | None = None) -> msgspec.Raw:
        body = {"madonvi": self._unit, "service": service} | dict(extra or {})
        return await self.repeated(lambda: self._attempt(path, body))

    async def _attempt(self, path: str, body: Mapping[str, str]) -> msgspec.Raw:
        envelope = None
        for _ in range(SESSIONS):
            session = self._session or await self._log_in(None)
            envelope = unwrap(await self.once("POST", path, json={"session": session, **body}))
            if envelope is None or not is_session_error(envelope):
                break
            # Many calls may meet the end of one session: the first logs in, the others take its new one.
            await self._log_in(session)
        if envelope is None:
            raise self.answer_invalid()
        if envelope.code != "0":
            raise self.refused(code=envelope.code)
        if envelope.items is None:
            raise self.answer_invalid()
        return envelope.items

    async def _log_in(self, ended: str | None) -> str:
        async with self._login:
            if self._session is None or self._session == ended:
                self._session = None
                body = await self.once("POST", "/login", json=self._credentials)
                try:
                    answer = msgspec.json.decode(body, type=_Login)
                except (msgspec.MsgspecError, UnicodeDecodeError):
                    raise self.answer_invalid() from None
                if not answer.session:
                    raise self.refused(code=answer.error_code)
                self._session = answer.session
            return self._session
