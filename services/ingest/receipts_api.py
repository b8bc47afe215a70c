"""REST endpoints of receipts."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Path, Query, Request
from pydantic import AwareDatetime
from sqlalchemy.ext.asyncio import AsyncEngine

from services.ingest import receipts
from services.ingest.receipt_schemas import ReceiptDetail, ReceiptList, ReceiptView
from shared.access import Principal, allow
from shared.answers import LIMIT, csv_response, decode_cursor, encode_cursor, wants_csv
from shared.db import Session, session_scope
from shared.errors import Invalid
from shared.problems import responses
from shared.vocabulary import Role

router = APIRouter(prefix="/v1", tags=["ingest"])

Pusher = Annotated[Principal, Depends(allow(Role.INTEGRATOR, Role.CENTRE))]
CSV: dict[int | str, dict[str, Any]] = {200: {"content": {"text/csv": {"schema": {"type": "string"}}}}}
Receipt = Annotated[int, Path(ge=1, lt=2**63)]
LAST = 2**63 - 1


def _own(principal: Principal) -> str | None:
    """An integrator sees its own pushes; admin and centre see all."""
    return principal.key_id if principal.role is Role.INTEGRATOR else None


@router.get(
    "/pushes",
    summary="Biên nhận của các lần đẩy dữ liệu, mới nhất trước",
    response_model=ReceiptList,
    responses=CSV | responses(401, 403, 422, 503),
)
async def list_pushes(
    request: Request,
    session: Session,
    principal: Pusher,
    key: Annotated[
        str | None, Query(max_length=20, description="Mã khóa; khóa tích hợp chỉ xem của mình")
    ] = None,
    door: Literal["dossiers", "petitions", "dvcqg"] | None = None,
    stream: Annotated[
        int | None, Query(ge=1, le=LAST, description="All batches of a stream: its first receipt")
    ] = None,
    since: Annotated[AwareDatetime | None, Query(alias="from")] = None,
    until: Annotated[AwareDatetime | None, Query(alias="to", description="This moment no longer")] = None,
    limit: Annotated[int, Query(ge=1, le=LIMIT)] = 100,
    cursor: Annotated[str | None, Query(max_length=200, description="`next` của trang trước")] = None,
) -> Any:
    """What was taken from this key, when, and what became of it. Kept for half a year."""
    own = _own(principal)
    wanted: dict[str, Any] = {
        "key": key if own is None else own,
        "door": door,
        "stream": stream,
        "since": since,
        "until": until,
    }
    if own is not None and key not in (None, own):
        return {"items": [], "next": None}
    if wants_csv(request):
        rows = _all(request.app.state.engine, wanted)
        return csv_response(rows, list(ReceiptView.model_fields), name="pushes")
    before = decode_cursor(cursor, int)[0] if cursor else None
    if before is not None and not 0 < before <= LAST:
        raise Invalid("Con trỏ trang (cursor) không đúng.", "Not a cursor of ours.", field="cursor")
    items = await receipts.listing(session, **wanted, before=before, limit=limit)
    return {"items": items, "next": encode_cursor(items[-1]["id"]) if len(items) == limit else None}


async def _all(engine: AsyncEngine, wanted: dict[str, Any]) -> AsyncIterator[list[object]]:
    before: int | None = None
    while True:
        async with session_scope(engine) as session:
            items = await receipts.listing(session, **wanted, before=before, limit=LIMIT)
        for item in items:
            yield [item[name] for name in ReceiptView.model_fields]
        if len(items) < LIMIT:
            return
        before = items[-1]["id"]


@router.get(
    "/pushes/{receipt_id}",
    summary="Một biên nhận, từng hồ sơ",
    response_model=ReceiptDetail,
    responses=responses(401, 403, 404, 422, 503),
)
async def read_push(receipt_id: Receipt, session: Session, principal: Pusher) -> dict[str, Any]:
    """Small pushes tell every item with its code; larger ones runs of equal results, and the refused items."""
    return await receipts.read(session, receipt_id, key=_own(principal))
