"""Keys, roles and unit scope. A key has a role and a unit; it sees that unit and what is below it.

Keys are 256 random bits, so one round of SHA-256 hides them as well as any slow hash would; what is stored cannot
be turned back. `allow(...)` is the one dependency that lets a request in, and the one place where `?unit=` is held
against the key's own unit."""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated

from fastapi import Depends, Request
from fastapi.security import APIKeyHeader, HTTPBearer
from sqlalchemy import select, update
from sqlalchemy.ext.asyncio import AsyncSession

from shared.db import session_scope
from shared.errors import Forbidden, Invalid, NotFound, Unauthenticated
from shared.identifiers import is_within, normalise_unit_code
from shared.models import ApiKey, Unit
from shared.settings import get_settings
from shared.vocabulary import Role

READERS = (Role.ADMIN, Role.CENTRE, Role.UNIT, Role.READER)
"""Roles that may read figures and findings of their unit."""


WHOLE_PROVINCE = (Role.ADMIN, Role.CENTRE, Role.INTEGRATOR)
"""Roles that act for all units: what they push or decide is not one unit's."""


@dataclass(frozen=True, slots=True)
class Principal:
    """Who asks."""

    key_id: str
    role: Role
    unit_code: str

    def sees(self, unit_code: str | None) -> bool:
        """Whether a unit lies in the key's own subtree; what has no unit is the province's."""
        if unit_code is None:
            return "." not in self.unit_code
        return is_within(unit_code, self.unit_code)

    def check(self, unit_code: str | None) -> None:
        """Raises Forbidden where `sees` says no."""
        if not self.sees(unit_code):
            raise Forbidden(
                f"Khóa này chỉ xem được đơn vị của mình ({self.unit_code}) và các đơn vị trực thuộc.",
                f"This key sees its own unit ({self.unit_code}) and what is below it only.",
            )


async def create_key(
    session: AsyncSession, *, role: Role, unit_code: str, now: datetime, by: str, note: str = ""
) -> tuple[str, str]:
    """Make a key. Returns (id, key); the key is shown this once. Raises NotFound for an unknown unit, except our own
    province, which is known before any unit has been pulled; Invalid for a unit below the province where the role
    acts for all."""
    unit_code = normalise_unit_code(unit_code)
    if unit_code != get_settings().province_code:
        if role in WHOLE_PROVINCE and "." in unit_code:
            raise Invalid(
                f"Khóa vai trò {role.value} phải thuộc cấp tỉnh.",
                f"A key of the role {role.value} belongs to the province, not to a unit below it.",
                field="unit",
            )
        known = await session.scalar(select(Unit.code).where(Unit.code == unit_code).limit(1))
        if known is None:
            raise NotFound(f"Không có đơn vị {unit_code}.", f"There is no unit {unit_code}.", field="unit")
    key_id = "k" + secrets.token_hex(4)
    key = f"{key_id}.{secrets.token_urlsafe(32)}"
    session.add(
        ApiKey(
            id=key_id,
            secret_hash=_hash(key),
            role=role.value,
            unit_code=unit_code,
            note=note,
            created_at=now,
            created_by=by,
            revoked_at=None,
        )
    )
    await session.flush()
    return key_id, key


async def revoke_key(session: AsyncSession, key_id: str, *, now: datetime) -> None:
    """Raises NotFound where there is no such key that still works."""
    revoked = await session.scalar(
        update(ApiKey)
        .where(ApiKey.id == key_id, ApiKey.revoked_at.is_(None))
        .values(revoked_at=now)
        .returning(ApiKey.id)
    )
    if revoked is None:
        raise NotFound("Không có khóa này, hoặc đã thu hồi.", "No such key, or it has been revoked.")


async def list_keys(session: AsyncSession) -> list[ApiKey]:
    return list(await session.scalars(select(ApiKey).order_by(ApiKey.created_at, ApiKey.id)))


def _hash(key: str) -> bytes:
    return hashlib.sha256(key.encode()).digest()


async def authenticate(session: AsyncSession, key: str) -> Principal:
    """The principal of a key. Raises Unauthenticated; which part is wrong is not told."""
    key_id, _, _ = key.partition(".")
    row = None
    if key.isascii() and "\0" not in key and 0 < len(key_id) <= 20:
        row = await session.get(ApiKey, key_id)
    if row is None or row.revoked_at is not None or not hmac.compare_digest(row.secret_hash, _hash(key)):
        raise Unauthenticated(
            "Khóa truy cập không đúng hoặc đã thu hồi. Gửi khóa trong Authorization: Bearer <khóa> hoặc X-API-Key.",
            "The key is unknown or revoked. Send it as Authorization: Bearer <key> or X-API-Key.",
        )
    return Principal(key_id=row.id, role=Role(row.role), unit_code=row.unit_code)


_bearer = HTTPBearer(auto_error=False, description="A key made by `chiso key create`")
_header = APIKeyHeader(name="X-API-Key", auto_error=False, description="The same key, in a header of its own")


def allow(*roles: Role) -> Callable[..., Awaitable[Principal]]:
    """A dependency that lets in keys of these roles (an admin's always), and holds `?unit=` of the request against
    the key's subtree. Raises Unauthenticated, Forbidden.

    The key is read in a transaction of its own: a request that then waits for a slow sender's body, or opens
    sessions by itself, keeps no connection meanwhile (as many such requests as the pool has connections would
    wait for each other)."""

    async def dependency(
        request: Request,
        bearer: Annotated[object, Depends(_bearer)],
        header: Annotated[str | None, Depends(_header)],
    ) -> Principal:
        key = header or getattr(bearer, "credentials", None)
        if not key:
            raise Unauthenticated(
                "Cần khóa truy cập: Authorization: Bearer <khóa> hoặc X-API-Key.",
                "A key is needed: Authorization: Bearer <key> or X-API-Key.",
            )
        async with session_scope(request.app.state.engine) as session:
            principal = await authenticate(session, key)
        if principal.role is not Role.ADMIN and principal.role not in roles:
            may = ", ".join(role.value for role in dict.fromkeys((Role.ADMIN, *roles)))
            raise Forbidden(
                f"Vai trò của khóa này ({principal.role.value}) không dùng được chức năng này; dùng được: {may}.",
                f"The role of this key ({principal.role.value}) does not allow this call; these do: {may}.",
            )
        for unit in request.query_params.getlist("unit"):
            principal.check(_unit(unit))
        request.state.principal = principal
        return principal

    return dependency


def unit_in_scope(principal: Principal, unit: str | None) -> str:
    """The unit that a request is about: the one named, else the key's own. Raises Forbidden, Invalid."""
    code = _unit(unit) if unit else principal.unit_code
    principal.check(code)
    return code


def no_such_unit(field: str = "unit") -> NotFound:
    return NotFound(
        "Không có đơn vị này; danh sách đơn vị: GET /v1/units.",
        "There is no such unit; GET /v1/units lists them.",
        field=field,
    )


def _unit(text: str) -> str:
    """The parameter `unit` of a request. Raises Invalid that names it."""
    try:
        return normalise_unit_code(text)
    except Invalid as error:
        raise Invalid(error.vi, error.en, field="unit") from None
