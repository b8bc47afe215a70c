"""What answers have in common: entity tags, cursors, and CSV that opens rightly in Excel."""

from __future__ import annotations

import base64
import csv
import hashlib
import io
import json
from collections.abc import AsyncIterable, AsyncIterator, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import msgspec
from fastapi import Request, Response
from fastapi.responses import StreamingResponse

from shared.errors import Invalid

LIMIT = 1000
"""Items of one page of a list, at the most (api.md)."""


def examples(beside: str) -> dict[str, Any]:
    """Model → example answer, from the file examples.json beside a module (`__file__`)."""
    found: dict[str, Any] = json.loads(Path(beside).with_name("examples.json").read_text(encoding="utf-8"))
    return found


def etag_for(*parts: object) -> str:
    """A strong tag of scope, query, rule set and version (architecture.md §4)."""
    text = "\x1f".join(part.isoformat() if isinstance(part, datetime) else str(part) for part in parts)
    return f'"{hashlib.blake2b(text.encode(), digest_size=12).hexdigest()}"'


def not_modified(request: Request, etag: str) -> Response | None:
    """304 where the caller already has this version; also for weak tags and lists of them."""
    given = request.headers.get("if-none-match", "")
    tags = {tag.strip().removeprefix("W/") for tag in given.split(",")}
    if etag in tags or "*" in tags:
        return Response(status_code=304, headers=figure_headers(etag))
    return None


def figure_headers(etag: str) -> dict[str, str]:
    """Headers of an answer with figures: they differ by key, so no shared cache may keep them."""
    return {"ETag": etag, "Cache-Control": "private", "Vary": "Authorization, X-API-Key, Accept"}


def encode_cursor(*keys: str | int) -> str:
    """The last row's keys as an opaque text."""
    return base64.urlsafe_b64encode(msgspec.json.encode(keys)).decode().rstrip("=")


def decode_cursor(cursor: str, *types: type) -> list[Any]:
    """The keys of a cursor that we gave out. Raises Invalid for any other text."""
    try:
        padded = cursor + "=" * (-len(cursor) % 4)
        keys: list[Any] = msgspec.json.decode(base64.urlsafe_b64decode(padded.encode()), type=list)
    except (ValueError, RecursionError):
        keys = []
    if len(keys) != len(types) or any(
        not isinstance(key, kind) or (isinstance(key, str) and "\0" in key)
        for key, kind in zip(keys, types, strict=False)
    ):
        raise Invalid(
            "Con trỏ trang (cursor) không đúng; hãy lấy lại từ trang đầu.",
            "The cursor is not one of ours; begin with the first page.",
            field="cursor",
        )
    return keys


def wants_csv(request: Request) -> bool:
    return "text/csv" in request.headers.get("accept", "")


def csv_response(
    rows: AsyncIterable[Sequence[object]], header: Sequence[str], *, name: str
) -> StreamingResponse:
    """The whole list as UTF-8 CSV with a byte order mark, streamed."""
    return StreamingResponse(
        _csv(rows, header),
        media_type="text/csv; charset=utf-8",
        headers={"Content-Disposition": f'attachment; filename="{name}.csv"', "Cache-Control": "private"},
    )


async def _csv(rows: AsyncIterable[Sequence[object]], header: Sequence[str]) -> AsyncIterator[bytes]:
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\r\n")
    buffer.write("\ufeff")
    writer.writerow(header)
    async for row in rows:
        writer.writerow([_cell(value) for value in row])
        if buffer.tell() > 32_768:
            yield buffer.getvalue().encode()
            buffer.seek(0)
            buffer.truncate()
    yield buffer.getvalue().encode()


def _cell(value: object) -> str:
    """A cell that no spreadsheet takes for a formula."""
    if value is None:
        return ""
    text = value.isoformat(timespec="seconds") if isinstance(value, datetime) else str(value)
    return f"'{text}" if text[:1] in ("=", "+", "-", "@", "\t", "\r") else text
