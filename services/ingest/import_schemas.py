"""What the endpoints of imports answer."""

from __future__ import annotations

from datetime import date, datetime
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

from services.ingest.files.columns import Kind
from shared.vocabulary import Portal

ImportState = Literal["dry_run", "queued", "running", "interrupted", "done", "failed"]


class ImportColumn(BaseModel):
    """A column of the sheet, counted from 1. `header` only where it is among the configured ones: other headers are
    the file's own words. `field` None: not read, and `why`: citizen, free_text, repeated or unknown."""

    position: int
    header: str | None
    field: str | None
    why: str | None


class ImportRefusal(BaseModel):
    """`row` as the spreadsheet numbers it."""

    row: int
    field: str
    reason: str
    reason_vi: str


class ImportView(BaseModel):
    """One file, read in one way. `id` is null after a dry run: nothing was stored.

    `last_row`: through which row of the sheet all is committed. `items`: rows worked off. accepted, unchanged, stale:
    as with a push (after a dry run, accepted: rows that can be read; of lists: changed, as before). `refusals`: the
    first of `rejected`; all are in the quarantine. `received`: after a dry run, first and last day of receipt.
    `ambiguous`: names that more than one unit bears, which therefore mean none."""

    model_config = ConfigDict(
        json_schema_extra={
            "example": {
                "id": 3,
                "kind": "dossiers",
                "portal": "national",
                "period": "2026-08",
                "digest": "6f1d0c52",
                "size": 4_812_733,
                "state": "running",
                "requested_by": "k1f2e3d4c",
                "started_at": "2026-09-01T08:00:00+07:00",
                "finished_at": None,
                "attempts": 1,
                "last_row": 12_004,
                "total": 41_310,
                "items": 12_000,
                "accepted": 11_998,
                "unchanged": 0,
                "stale": 0,
                "rejected": 2,
                "header_row": 4,
                "columns": [
                    {"position": 2, "header": "Mã hồ sơ", "field": "code", "why": None},
                    {"position": 3, "header": "Chủ hồ sơ", "field": None, "why": "citizen"},
                ],
                "refusals": [
                    {
                        "row": 71,
                        "field": "received_at",
                        "reason": "received_at: not a time that exists",
                        "reason_vi": "received_at: không phải ngày giờ hợp lệ",
                    }
                ],
                "received": None,
                "ambiguous": [],
                "aliases": None,
                "successors": None,
                "resolved_again": None,
                "complete": None,
                "withdrawn": None,
                "error": None,
            }
        }
    )
    id: int | None
    kind: Kind
    portal: Portal | None
    period: str | None
    digest: str
    size: int
    state: ImportState
    requested_by: str
    started_at: datetime
    finished_at: datetime | None
    attempts: int
    last_row: int
    total: int | None
    items: int
    accepted: int
    unchanged: int
    stale: int
    rejected: int
    header_row: int
    columns: list[ImportColumn]
    refusals: list[ImportRefusal]
    received: list[date] | None = None
    ambiguous: list[str] = []
    aliases: int | None = None
    successors: int | None = None
    resolved_again: int | None = None
    complete: bool | None = None
    withdrawn: int | None = None
    error: str | None


class ImportList(BaseModel):
    items: list[ImportView]
    next: str | None


REQUEST_BODY: dict[str, Any] = {
    "required": True,
    "content": {
        "multipart/form-data": {
            "schema": {
                "type": "object",
                "required": ["file", "kind"],
                "additionalProperties": False,
                "properties": {
                    "file": {"type": "string", "format": "binary", "description": "XLSX hoặc CSV (UTF-8)"},
                    "kind": {
                        "type": "string",
                        "enum": ["dossiers", "petitions", "procedures", "units", "predecessors"],
                    },
                    "portal": {
                        "type": "string",
                        "enum": ["national", "provincial"],
                        "default": "national",
                        "description": "Hồ sơ: tệp do hệ thống nào kết xuất",
                    },
                    "dry_run": {"type": "boolean", "default": False},
                    "again": {"type": "boolean", "default": False, "description": "Nạp lại từ đầu"},
                    "complete": {
                        "type": "boolean",
                        "default": False,
                        "description": "Thủ tục: tệp là toàn bộ danh mục; thủ tục không có trong tệp coi là đã rút",
                    },
                    "period": {"type": "string", "description": "Nhãn kỳ: 2026-08, 2026-Q3, 2026"},
                    "exported_at": {"type": "string", "format": "date-time", "description": "Lúc kết xuất"},
                    "valid_from": {"type": "string", "format": "date"},
                    "valid_to": {"type": "string", "format": "date"},
                },
            }
        }
    },
}
