"""Answers of the endpoints of the quarantine."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from pydantic import BaseModel, ConfigDict

_EXAMPLE: dict[str, Any] = {
    "id": 17,
    "door": "dossiers",
    "portal": "provincial",
    "code": "H31.135-260803-0013",
    "field": "received_at",
    "reason": "received_at: lies more than a day in the future",
    "reason_vi": "received_at: thời điểm ở tương lai (muộn hơn hiện tại quá 1 ngày).",
    "digest": "0f343b0931126a20f133d67c2b018a3b",
    "position": 3,
    "content": {"code": "H31.135-260803-0013", "status": 4, "received_at": "2026-11-05T08:00:00+07:00"},
    "dropped": [],
    "sender": "k1f0a9b2c",
    "refused_at": "2026-11-02T09:00:00+07:00",
    "replayed_at": None,
    "replayed_by": None,
    "result": None,
    "replayable": True,
}


class RefusalView(BaseModel):
    """One refused item. `content`: its fields as far as they name nobody; `dropped`: paths of those that were not kept.
    `replayable`: what was kept is enough to read it again. `result`: what came of the newest try (`replayed_at`)."""

    model_config = ConfigDict(json_schema_extra={"example": _EXAMPLE})
    id: int
    door: str
    portal: str
    code: str | None
    field: str
    reason: str
    reason_vi: str
    digest: str
    position: int
    content: dict[str, Any] | None
    dropped: list[str]
    sender: str
    refused_at: datetime
    replayed_at: datetime | None
    replayed_by: str | None
    result: str | None
    replayable: bool


class RefusalList(BaseModel):
    items: list[RefusalView]
    next: str | None
