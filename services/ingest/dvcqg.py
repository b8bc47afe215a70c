"""/dvcqg/*: the national portal's own protocol, so that a client that speaks to the portal speaks to us by changing
the address (portals.md §1.2, §1.7, §1.8).

Always HTTP 200 with the protocol's envelope: its clients know nothing else. Good items of a call are stored whatever
happens to the others. Codes: 0 done · 3 stored, but it was there already and isUpdating said "False" · -1 bad items,
named · -2 unknown session · -3 not allowed · -4 unknown service · -5 unreadable · -9 try again later.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Sequence
from datetime import datetime
from typing import Any

import asyncpg
import msgspec
import structlog
from fastapi import APIRouter, Request
from fastapi.responses import Response
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.ext.asyncio import AsyncSession

from services.ingest import json_parts, petitions, queries, receipts, service
from services.ingest.normalise import Head, Refusal, Step, dossier_code
from services.ingest.portals import national_messages, rating_messages
from services.ingest.portals.rating_messages import RatingRow
from services.ingest.turns import in_turns
from shared.access import Principal, authenticate
from shared.db import session_scope
from shared.errors import ChisoError, Forbidden, Invalid, TooLarge, Unauthenticated
from shared.models import ApiKey
from shared.vocabulary import Portal, Role

router = APIRouter(prefix="/dvcqg", tags=["dvcqg"])
log = structlog.get_logger("dvcqg")

SESSION_SECONDS = 8 * 3600
AWAY = (DBAPIError, PoolTimeout, asyncpg.PostgresError, asyncpg.InterfaceError, OSError)
"""What the database can say, also to statements that go past SQLAlchemy to the driver."""
NAMED = 20
"""At most so many bad or known codes are named in a message."""


class Login(msgspec.Struct, gc=False):
    username: str = ""
    password: str = ""


class Call(msgspec.Struct, gc=False):
    session: str = ""
    service: str = ""
    isUpdating: Any = None  # noqa: N815 - the protocol's name
    mahoso: str = ""
    data: msgspec.Raw = msgspec.Raw(b"[]")


_CALL_TEXTS = ("session", "service", "isUpdating", "mahoso")
_login = msgspec.json.Decoder(Login).decode
_decode_call = msgspec.json.Decoder(Call).decode


def _call(body: bytes) -> Call:
    """Raises msgspec.DecodeError, UnicodeDecodeError, Unreadable."""
    try:
        return _decode_call(body)
    except RecursionError:  # one item is nested too deep: it alone is refused, when its turn comes
        members = json_parts.members(body)
        data = members.pop("data", b"[]")
        named = (b'"%s":%s' % (name.encode(), members[name]) for name in _CALL_TEXTS if name in members)
        call = _decode_call(b"{" + b",".join(named) + b"}")
        call.data = msgspec.Raw(data)
        return call


def _answer(code: str | int, message: str = "", **more: Any) -> Response:
    content = {"error_code": code, "message": message, **more}
    return Response(msgspec.json.encode(content), media_type="application/json")


class _SessionUnknown(ChisoError): ...


def _sign(key_id: str, expires: int, secret_hash: bytes) -> str:
    text = f"{key_id}.{expires}"
    digest = hmac.digest(secret_hash, text.encode(), hashlib.sha256)
    return f"{text}.{base64.urlsafe_b64encode(digest).decode().rstrip('=')}"


async def _principal(session: AsyncSession, given: str, now: float) -> Principal:
    """A session is signed with its key's hash, so that it needs no table and ends with the key."""
    key_id, _, rest = given.partition(".")
    expires = rest.partition(".")[0]
    if (
        expires.isascii()
        and expires.isdecimal()
        and len(expires) < 12
        and key_id.isalnum()
        and len(key_id) < 20
    ):
        row = await session.get(ApiKey, key_id)
        if (
            row is not None
            and row.revoked_at is None
            and int(expires) > now
            and hmac.compare_digest(given.encode(), _sign(key_id, int(expires), row.secret_hash).encode())
        ):
            return Principal(row.id, Role(row.role), row.unit_code)
    raise _SessionUnknown("Phiên làm việc không hợp lệ, hãy đăng nhập lại.", "unknown session")


@router.post("/login", summary="Đăng nhập: username = mã khóa, password = khóa")
async def login(request: Request) -> Response:
    """{username, password} → {error_code: 0, session}. username is the key's id, password the key (integrator)."""
    settings = request.app.state.settings
    try:
        given = _login(await request.body())
        async with session_scope(request.app.state.engine) as session:
            principal = await authenticate(session, given.password)
            if principal.key_id != given.username or principal.role not in (Role.INTEGRATOR, Role.ADMIN):
                return _answer("-3", "Tài khoản không được phép đồng bộ hồ sơ.")
            row = await session.get_one(ApiKey, principal.key_id)
            token = _sign(row.id, int(settings.now().timestamp()) + SESSION_SECONDS, row.secret_hash)
        return _answer(0, "Đăng nhập thành công", session=token)
    except Unauthenticated:
        return _answer(
            "-3", "Đăng nhập không đúng: username là mã khóa (phần trước dấu chấm), password là cả khóa."
        )
    except ChisoError as error:
        return _failed(error)
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError):
        return _answer("-5", "Không đọc được nội dung: cần JSON {username, password}.")
    except AWAY:
        return _away()


@router.post("/integration", summary="DongBoHoSoMC, CapNhatTienDoHoSoMC, DongBoDanhGia, TraCuuHoSo")
async def integration(request: Request) -> Response:
    """{session, service, …} → {error_code, message}; see the module's text for the codes."""
    settings = request.app.state.settings
    now = settings.now()
    try:
        body = await request.body()
        call = _call(body)
        async with session_scope(request.app.state.engine) as session:
            principal = await _principal(session, call.session, now.timestamp())
            if principal.role not in (Role.INTEGRATOR, Role.ADMIN):
                raise Forbidden("Tài khoản không được phép đồng bộ hồ sơ.", "not an integrator")
            match call.service:
                case "DongBoHoSoMC":
                    databases = frozenset(settings.population_db_codes)
                    heads = await in_turns(
                        national_messages.iter_heads(call.data, databases=databases, now=now)
                    )
                    outcome = await service.accept(
                        session,
                        portal=Portal.SENT,
                        via="push",
                        door="dvcqg",
                        sender=principal.key_id,
                        now=now,
                        heads=heads,
                    )
                    await _give_receipt(session, principal, call, heads, outcome.results, now)
                    answer = _stored(
                        "Đồng bộ hồ sơ thành công",
                        len(heads),
                        [head for head in heads if isinstance(head, Refusal)],
                        outcome.known_before if _is_add(call.isUpdating) else set(),
                    )
                case "CapNhatTienDoHoSoMC":
                    steps = await in_turns(national_messages.iter_steps(call.data, now=now))
                    await service.accept(
                        session,
                        portal=Portal.SENT,
                        via="push",
                        door="dvcqg",
                        sender=principal.key_id,
                        now=now,
                        steps=steps,
                    )
                    results = [
                        service.REJECTED if isinstance(step, Refusal) else service.ACCEPTED for step in steps
                    ]
                    await _give_receipt(session, principal, call, steps, results, now)
                    bad = [step for step in steps if isinstance(step, Refusal)]
                    answer = _stored("Cập nhật tiến độ hồ sơ thành công", len(steps), bad, set())
                case "DongBoDanhGia":
                    ratings = list(rating_messages.ratings(body, call.data, now=now))
                    stored = await petitions.accept_ratings(
                        session, ratings, via="push", door="ratings", sender=principal.key_id, now=now
                    )
                    await _give_receipt(session, principal, call, ratings, stored.results, now)
                    refused = [rating for rating in ratings if isinstance(rating, Refusal)]
                    answer = _stored("Đồng bộ đánh giá thành công", len(ratings), refused, set())
                case "TraCuuHoSo":
                    code = dossier_code(call.mahoso, "mahoso").code
                    found = await queries.has_head(session, code, portal=Portal.SENT)
                    answer = _answer("0", "Tra cứu thành công", result=[{"MaHoSo": code}] if found else [])
                case _:
                    answer = _answer("-4", "Dịch vụ không có hoặc chưa được hỗ trợ ở địa chỉ này.")
        # Only now: the transaction above has been committed.
        return answer
    except ChisoError as error:
        return _failed(error)
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError):
        return _answer("-5", "Không đọc được nội dung: cần JSON {session, service, data: [...]}.")
    except AWAY as error:
        log.error("database error", kind=type(error).__name__)
        return _away()


async def _give_receipt(
    session: AsyncSession,
    principal: Principal,
    call: Call,
    items: Sequence[Head | Step | RatingRow | Refusal],
    results: list[str],
    now: datetime,
) -> None:
    """The protocol's envelope has no place for it: GET /v1/pushes lists the receipts of a key. A step is accepted also
    where it was known already. The fields of a rating may stand in the call itself: then its digest is that of no
    data."""

    def told(n: int) -> receipts.Told:
        item = items[n]
        return item.code, item.field if isinstance(item, Refusal) else None

    if items:
        await receipts.write(
            session,
            key=principal.key_id,
            door="dvcqg",
            portal=Portal.SENT.value,
            now=now,
            digest=receipts.digest_of([bytes(call.data)]),
            results=results,
            told=told,
        )


def _is_add(value: object) -> bool:
    return str(value).strip().lower() in ("false", "0")


def _stored(success: str, count: int, bad: list[Refusal], known: set[str]) -> Response:
    if bad:
        named = "; ".join(f"{item.code or f'mục {item.position + 1}'}: {_why(item)}" for item in bad[:NAMED])
        more = f" … và {len(bad) - NAMED} hồ sơ khác" if len(bad) > NAMED else ""
        others = ", các bản ghi còn lại đã lưu" if len(bad) < count else ""
        return _answer("-1", f"Có {len(bad)}/{count} bản ghi bị từ chối{others}. {named}{more}")
    if known:
        codes = sorted(known)
        more = " …" if len(codes) > NAMED else ""
        return _answer("3", f"Hồ sơ {', '.join(codes[:NAMED])}{more} đã tồn tại")
    return _answer("0", success)


def _why(item: Refusal) -> str:
    """With its field once: most sentences name it themselves."""
    return item.vi if item.field in item.vi else f"{item.field} ({item.vi})"


def _failed(error: ChisoError) -> Response:
    if isinstance(error, _SessionUnknown):
        return _answer("-2", error.vi)
    if isinstance(error, TooLarge | Invalid):
        return _answer("-1", error.vi)
    return _answer("-3", error.vi)


def _away() -> Response:
    return _answer("-9", "Hệ thống tạm thời chưa phục vụ được, xin gửi lại sau ít giây.")
