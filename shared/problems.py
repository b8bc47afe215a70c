"""Every error that leaves the house, as RFC 9457 `application/problem+json`, and the one table that says which HTTP
status each is. A problem never repeats what came in: `field` and `expected` are ours, values are the sender's."""

from __future__ import annotations

import re
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

import asyncpg
import structlog
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel
from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from starlette.exceptions import HTTPException

from shared.errors import (
    ChisoError,
    Conflict,
    Forbidden,
    Invalid,
    NotFound,
    TooLarge,
    Unauthenticated,
    Unavailable,
    Unreadable,
    UnsupportedType,
)

log = structlog.get_logger("problems")

STATUS: dict[type[ChisoError], int] = {
    Unreadable: 400,
    Unauthenticated: 401,
    Forbidden: 403,
    NotFound: 404,
    Conflict: 409,
    TooLarge: 413,
    UnsupportedType: 415,
    Invalid: 422,
    Unavailable: 503,
}

TITLES: dict[int, tuple[str, str]] = {
    400: ("Không đọc được nội dung gửi lên", "The content could not be read"),
    401: ("Chưa đăng nhập hoặc khóa không đúng", "No valid key was given"),
    403: ("Khóa này không có quyền", "This key may not do that"),
    404: ("Không tìm thấy", "Not found"),
    405: ("Địa chỉ này không nhận phương thức đó", "Method not allowed"),
    409: ("Trạng thái hiện tại không cho phép", "The current state does not allow this"),
    413: ("Nội dung gửi lên quá lớn", "The content is too large"),
    415: ("Dạng nội dung không được hỗ trợ", "Unsupported content type"),
    422: ("Có giá trị không hợp lệ", "A value is not valid"),
    500: ("Hệ thống gặp lỗi, đã ghi nhận", "Internal error, it has been recorded"),
    503: ("Hệ thống tạm thời chưa phục vụ được, xin thử lại", "Temporarily unavailable, please try again"),
}

KINDS: dict[int, str] = {
    400: "unreadable",
    401: "unauthenticated",
    403: "forbidden",
    404: "not-found",
    405: "method-not-allowed",
    409: "conflict",
    413: "too-large",
    415: "unsupported-type",
    422: "invalid",
    500: "internal",
    503: "unavailable",
}
"""The last part of each problem's `type`; docs/problems.md has a section for each (tested)."""


def problem(
    request: Request,
    status: int,
    *,
    vi: str | None = None,
    en: str | None = None,
    headers: Mapping[str, str] | None = None,
    **extra: Any,
) -> JSONResponse:
    title_vi, title_en = TITLES.get(status, (HTTPStatus(status).phrase, HTTPStatus(status).phrase))
    content = {
        "type": f"/docs/problems#{KINDS.get(status, 'other')}",
        "title": title_en,
        "status": status,
        "detail": en or title_en,
        "detail_vi": vi or title_vi,
        "request_id": getattr(request.state, "request_id", None),
        **extra,
    }
    return JSONResponse(content, status, headers, media_type="application/problem+json")


def status_of(error: ChisoError) -> int:
    """The status of the nearest ancestor in the table."""
    return next(STATUS[cls] for cls in type(error).__mro__ if cls in STATUS)


async def _chiso(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, ChisoError)
    status = status_of(error)
    extra = dict(error.extra) | ({"field": error.field} if error.field else {})
    headers = {"WWW-Authenticate": "Bearer"} if status == 401 else None
    if status == 503:
        headers = {"Retry-After": "5"}
    return problem(request, status, vi=error.vi, en=error.en, headers=headers, **extra)


async def _http(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)
    if isinstance(error.__cause__, ChisoError):
        # FastAPI says 400 for whatever ends the reading of a body, also for our limit of its size.
        return await _chiso(request, error.__cause__)
    # Starlette's own sentences; FastAPI says 400 where a body could not be parsed at all.
    return problem(request, error.status_code, headers=error.headers)


async def _validation(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)
    found = error.errors()
    if any(item["type"] == "json_invalid" for item in found):
        return problem(
            request,
            400,
            vi="Nội dung không phải JSON hợp lệ.",
            en="The body is not valid JSON.",
        )
    # Neither `input` nor `ctx` nor a dictionary's keys go out: they are the sender's values.
    errors = [
        {"field": _path(_ours(item)), "expected": item["type"], "message": _sentence(item)}
        for item in found[:20]
    ]
    return problem(
        request,
        422,
        vi="Giá trị không hợp lệ ở: "
        + "; ".join(
            f"{error['field']} ({_sentence_vi(item)})" for error, item in zip(errors, found, strict=False)
        )
        + ".",
        en="Not valid: " + "; ".join(f"{error['field']} ({error['message']})" for error in errors),
        errors=errors,
    )


def _ours(item: Mapping[str, Any]) -> tuple[Any, ...]:
    """Where it is, as far as the names are ours. That of a field too many is the sender's: it stays where it is a plain
    word, for whoever misspelt one; a person's name or number used as a key does not come back."""
    location: tuple[Any, ...] = item["loc"]
    if item["type"] == "extra_forbidden" and not _WORD.fullmatch(str(location[-1])):
        return (*location[:-1], "?")
    return location


_WORD = re.compile(r"[a-z][a-z_]{0,39}")


def _path(location: tuple[Any, ...]) -> str:
    path = ""
    for part in location[1:] if len(location) > 1 else location:
        if isinstance(part, int):
            path += f"[{part}]"
        else:
            path += f".{str(part)[:60]}" if path else str(part)[:60]
    return path


_DAY = "expected a day, YYYY-MM-DD", "cần dạng 2026-08-31"
_TIME = "expected a time, YYYY-MM-DDTHH:MM:SS+07:00", "cần dạng 2026-08-31T09:30:00+07:00"
_EXPECTED = {
    "date_from_datetime_parsing": _DAY,
    "date_from_datetime_inexact": _DAY,
    "date_parsing": _DAY,
    "date_type": _DAY,
    "datetime_parsing": _TIME,
    "datetime_from_date_parsing": _TIME,
}
"""Pydantic's own messages for these quote the input or do not say what is expected."""
_EXPECTED_VI = {
    "missing": "thiếu",
    "extra_forbidden": "không có trường này",
    "int_type": "cần số nguyên",
    "int_parsing": "cần số nguyên",
    "int_parsing_size": "số quá lớn",
    "int_from_float": "cần số nguyên",
    "float_type": "cần một số",
    "float_parsing": "cần một số",
    "decimal_type": "cần một số",
    "decimal_parsing": "cần một số",
    "finite_number": "cần một số hữu hạn",
    "bool_type": "cần true hoặc false",
    "bool_parsing": "cần true hoặc false",
    "string_type": "cần chuỗi ký tự",
    "string_pattern_mismatch": "không đúng dạng",
    "string_too_long": "dài nhất {max_length} ký tự",
    "string_too_short": "ngắn nhất {min_length} ký tự",
    "too_long": "nhiều nhất {max_length} phần tử",
    "too_short": "ít nhất {min_length} phần tử",
    "greater_than_equal": "không nhỏ hơn {ge}",
    "greater_than": "lớn hơn {gt}",
    "less_than_equal": "không lớn hơn {le}",
    "less_than": "nhỏ hơn {lt}",
    "list_type": "cần một mảng",
    "dict_type": "cần một đối tượng JSON",
    "model_type": "cần một đối tượng JSON",
    "model_attributes_type": "cần một đối tượng JSON",
    "datetime_type": _TIME[1],
    "timezone_aware": "cần múi giờ, như +07:00",
    "enum": "cần {expected}",
    "literal_error": "cần {expected}",
}
"""By Pydantic's kind; what stands in braces is the limit or the list that our own code declares."""


def _sentence(item: Mapping[str, Any]) -> str:
    kind = str(item["type"])
    expected = item.get("ctx", {}).get("expected")
    if kind in ("enum", "literal_error") and expected:
        return f"expected {expected}"
    if kind in ("value_error", "assertion_error"):
        return "not a valid value"
    return _EXPECTED[kind][0] if kind in _EXPECTED else str(item["msg"])


def _sentence_vi(item: Mapping[str, Any]) -> str:
    kind = str(item["type"])
    if kind in _EXPECTED:
        return _EXPECTED[kind][1]
    bounds = {name: str(value).replace(" or ", " hoặc ") for name, value in item.get("ctx", {}).items()}
    try:
        return _EXPECTED_VI[kind].format_map(bounds)
    except KeyError:
        return "giá trị không đúng"


def _route(request: Request) -> str:
    """The path as it is declared: what somebody put into it may be a person's name."""
    return str(getattr(request.scope.get("route"), "path", "none"))


async def _database(request: Request, error: Exception) -> JSONResponse:
    state = getattr(getattr(error, "orig", error), "sqlstate", None) or ""
    if state.startswith("22"):  # a value that PostgreSQL cannot hold and that no check of ours caught
        log.warning("value refused by the database", sqlstate=state, route=_route(request))
        return problem(request, 422)
    away = isinstance(error, OperationalError | InterfaceError | PoolTimeout | OSError) or state[:2] in (
        "08",
        "40",  # a deadlock, a conflict of transactions: nothing was stored, repeating it ends well
        "53",
        "57",
        "55",
    )
    log.error("database error", sqlstate=state, kind=type(error).__name__, route=_route(request))
    if away or getattr(error, "connection_invalidated", False):
        return problem(
            request,
            503,
            vi="Cơ sở dữ liệu tạm thời không trả lời; xin gửi lại sau ít giây.",
            en="The database does not answer; please repeat in a few seconds.",
            headers={"Retry-After": "5"},
        )
    return problem(request, 500)


def page() -> str:
    """What the `type` of a problem points to: one short section for each kind. More is in docs/problems.md."""
    sections = "".join(
        f'<h2 id="{kind}">{status} · {kind}</h2><p lang="vi">{vi}.</p><p lang="en">{en}.</p>'
        for (status, kind), (vi, en) in zip(KINDS.items(), map(TITLES.__getitem__, KINDS), strict=True)
    )
    return f"<!doctype html><html lang=vi><meta charset=utf-8><title>chiso: problems</title>{sections}</html>"


class Problem(BaseModel):
    """RFC 9457, with the sentence in Vietnamese beside the English one."""

    type: str
    title: str
    status: int
    detail: str
    detail_vi: str
    request_id: str | None = None
    field: str | None = None


def responses(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """OpenAPI's `responses` of an endpoint: which problems it can answer with. 400 is always one of them: a NUL in
    the address is refused before any endpoint."""
    return {
        status: {
            "description": TITLES[status][1],
            "content": {"application/problem+json": {"schema": Problem.model_json_schema()}},
        }
        for status in sorted({400, *statuses})
    }


def install(app: FastAPI) -> None:
    """Route every error of `app` through the table. Crashes are rendered by shared.app's middleware."""
    app.add_exception_handler(ChisoError, _chiso)
    app.add_exception_handler(HTTPException, _http)
    app.add_exception_handler(RequestValidationError, _validation)
    for kind in (DBAPIError, PoolTimeout, asyncpg.PostgresError, asyncpg.InterfaceError, OSError):
        app.add_exception_handler(kind, _database)
