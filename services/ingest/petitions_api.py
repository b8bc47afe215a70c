"""REST endpoint of petitions (PAKN)."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
from fastapi import APIRouter, Depends, Request
from fastapi.responses import Response

from services.ingest import petition_messages, petitions, push, receipts
from services.ingest.normalise import Refusal
from services.ingest.schemas import PushAnswer
from services.ingest.turns import in_turns
from shared.access import Principal, allow
from shared.db import session_scope
from shared.errors import UnsupportedType
from shared.problems import responses
from shared.vocabulary import Portal, Role

router = APIRouter(prefix="/v1", tags=["ingest"])

DOOR = "petitions"
_EXAMPLE = [
    {
        "code": "PAKN.20260803.0012",
        "kind": "tthc",
        "dossier_code": "H31.135-260720-0007",
        "unit_code": "H31.135",
        "sent_at": "2026-08-03T09:00:00+07:00",
        "received_at": "2026-08-04T10:00:00+07:00",
        "handled_at": "2026-08-20T15:00:00+07:00",
        "published_at": "2026-08-21T16:00:00+07:00",
        "likes": 1,
        "dislikes": 0,
        "updated_at": "2026-08-24T08:00:00+07:00",
    }
]
_ANSWER: dict[str, Any] = {
    "counts": {"accepted": 1, "unchanged": 0, "stale": 0, "rejected": 1},
    "items": [
        {"index": 0, "code": "PAKN.20260803.0012", "result": "accepted"},
        {
            "index": 1,
            "code": "PAKN.20260803.0013",
            "result": "rejected",
            "field": "sent_at",
            "reason": "sent_at: the moment of sending is missing",
            "reason_vi": "sent_at: thiếu thời điểm gửi.",
        },
    ],
    "receipt": 4712,
}

_SHOWN: dict[int | str, dict[str, Any]] = {200: {"content": {"application/json": {"example": _ANSWER}}}}


@router.post(
    "/petitions",
    summary="Đẩy phản ánh, kiến nghị và tình hình xử lý: mảng JSON",
    response_model=PushAnswer,
    responses=_SHOWN | responses(400, 401, 403, 413, 415, 422, 503),
    openapi_extra={
        "requestBody": {
            "required": True,
            "content": {
                "application/json": {
                    "schema": {"type": "array", "items": {"type": "object"}},
                    "example": _EXAMPLE,
                }
            },
        }
    },
)
async def push_petitions(
    request: Request, principal: Annotated[Principal, Depends(allow(Role.INTEGRATOR, Role.CENTRE))]
) -> Response:
    """One result per item (accepted, unchanged, stale, rejected with field and reason), and the counts. Idempotent by
    nature: the newer version wins, whatever the order, and a repetition changes nothing.

    An item tells the whole petition; what it leaves out is empty. `kind`: tthc, staff or other. `received_at`: the
    first receipt; `transferred_at`: when it came to the unit that has it now. The version is the newest moment that
    the item tells of, `updated_at` among them: new likes need a new `updated_at`. Who petitions, and what is written,
    is not taken. `receipt`: for GET /v1/pushes/{id}."""
    kind = request.headers.get("content-type", "application/json").partition(";")[0].strip().lower()
    if kind not in ("application/json", "text/json"):
        raise UnsupportedType(
            "Content-Type cần là application/json (mảng).",
            "Content-Type must be application/json (an array).",
            field="Content-Type",
        )
    now = request.app.state.settings.now()
    body = await request.body()
    raws = push.raw_items(body)
    items = await in_turns(petition_messages.read(raw, position=n, now=now) for n, raw in enumerate(raws))
    receipt = None
    async with session_scope(request.app.state.engine) as session:
        stored = await petitions.accept_petitions(
            session, items, via="push", door=DOOR, sender=principal.key_id, now=now
        )
        told = [
            _told(n, item, result) for n, (item, result) in enumerate(zip(items, stored.results, strict=True))
        ]
        if items:
            receipt = await receipts.write(
                session,
                key=principal.key_id,
                door=DOOR,
                portal=Portal.PROVINCIAL.value,
                now=now,
                digest=receipts.digest_of([body]),
                results=stored.results,
                told=lambda n: (told[n].code, told[n].field or None),
            )
    content = {"counts": push.count(told), "items": told, "receipt": receipt}
    return Response(msgspec.json.encode(content), media_type="application/json")


def _told(index: int, item: petition_messages.PetitionRow | Refusal, result: str) -> push.ItemResult:
    if isinstance(item, Refusal):
        return push.ItemResult(index, item.code, result, item.field, item.en, item.vi)
    return push.ItemResult(index, item.code, result)
