"""Answers of the endpoints of receipts."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

_EXAMPLE: dict[str, Any] = {
    "id": 4711,
    "key_id": "k1f0a9b2c",
    "door": "dvcqg",
    "portal": "sent",
    "received_at": "2026-11-02T09:00:00+07:00",
    "stream_id": None,
    "first_index": 0,
    "accepted": 9,
    "unchanged": 0,
    "stale": 0,
    "rejected": 1,
    "state": "partly",
    "digest": "0f343b0931126a20f133d67c2b018a3b",
}
_ITEMS: list[Any] = [
    {"index": 0, "count": 9, "code": None, "result": "accepted", "field": None},
    {"index": 9, "count": 1, "code": "H31.135-260803-0013", "result": "rejected", "field": "TrangThaiHoSo"},
]


class ReceiptView(BaseModel):
    """One push, or one batch of an NDJSON stream: then `stream_id` is the receipt of the stream's first batch, and
    `first_index` the position of its first line. `state`: stored (all items are taken, or were known), partly (some
    were refused), refused. `digest`: BLAKE2b-128 of the bytes that came."""

    model_config = ConfigDict(json_schema_extra={"example": _EXAMPLE})
    id: int
    key_id: str
    door: Literal["dossiers", "petitions", "dvcqg"]
    portal: str
    received_at: datetime
    stream_id: int | None
    first_index: int
    accepted: int
    unchanged: int
    stale: int
    rejected: int
    state: Literal["stored", "partly", "refused"]
    digest: str


class ReceiptList(BaseModel):
    items: list[ReceiptView]
    next: str | None


class ReceiptItem(BaseModel):
    """`count` items in a row with this result, the first at `index`. `code` null: not told, because the push was large
    (or the item had none); the sender has them in the same order. `field`: what was at fault."""

    index: int
    count: int
    code: str | None
    result: Literal["accepted", "unchanged", "stale", "rejected"]
    field: str | None


class ReceiptDetail(ReceiptView):
    model_config = ConfigDict(json_schema_extra={"example": {**_EXAMPLE, "items": _ITEMS}})
    items: list[ReceiptItem]
