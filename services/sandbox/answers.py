"""JSON in and out of the raw routes."""

from __future__ import annotations

import msgspec
from starlette.requests import Request
from starlette.responses import Response

encode = msgspec.json.Encoder().encode


def answer(content: object, status: int = 200) -> Response:
    return Response(encode(content), status, media_type="application/json;charset=utf-8")


async def body(request: Request) -> dict[str, object]:
    """The JSON object of a request; {} when it is empty or anything else."""
    raw = await request.body()
    try:
        read = msgspec.json.decode(raw) if raw else {}
    except msgspec.DecodeError:
        return {}
    return read if isinstance(read, dict) else {}
