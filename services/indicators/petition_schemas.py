"""The shapes of what is told of petitions."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from services.indicators.schemas import Moment

_ITEMS: dict[str, Any] = {
    "items": [
        {
            "code": "PAKN.20260803.0012",
            "unit_code": "H31.135",
            "unit_name": "UBND phường Phố Hiến",
            "kind": "tthc",
            "dossier_code": "H31.135-260720-0007",
            "sent_at": "2026-08-03T09:00:00+07:00",
            "received_at": "2026-08-04T10:00:00+07:00",
            "on_time": False,
            "satisfied": False,
            "disliked": False,
            "repeated": False,
            "duty": "handle",
            "end_at": "2026-08-25T15:00:00+07:00",
            "deadline_at": "2026-08-22T23:59:59.999999+07:00",
            "why": "Quá hạn: trả lời 15:00 25/08/2026, hạn 23:59 22/08/2026 (15 ngày làm việc từ khi gửi,"
            " 09:00 03/08/2026).",
            "citation": "Mô tả công thức tính chỉ số 766 (tài liệu không ký tên, mô hình hai cấp sau 7/2025)",
        }
    ],
    "next": None,
    "as_of": "2026-09-01T05:12:00+07:00",
}


class PetitionItemView(BaseModel):
    """One petition behind a figure. `on_time`: 5.2, `satisfied`: 5.3. `duty`: what had to be done, the first that was
    late, else the last one there is (refuse, ask_more, handle, publish); `end_at` null: not done yet; `deadline_at`:
    until when it had to be. `disliked`: more dislikes than likes; `repeated`: a later petition repeats it."""

    code: str = Field(examples=["PAKN.20260803.0012"])
    unit_code: str
    unit_name: str | None
    kind: str
    dossier_code: str | None
    sent_at: Moment
    received_at: Moment | None
    on_time: bool
    satisfied: bool
    disliked: bool
    repeated: bool
    duty: str
    end_at: Moment | None
    deadline_at: Moment
    why: str
    citation: str


class PetitionItemsView(BaseModel):
    model_config = ConfigDict(json_schema_extra={"example": _ITEMS})
    items: list[PetitionItemView]
    next: str | None
    as_of: Moment | None
