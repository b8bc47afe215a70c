"""REST endpoints of the quarantine."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Path, Query, Request
from pydantic import AwareDatetime
from sqlalchemy.ext.asyncio import AsyncEngine

from services.ingest import quarantine
from services.ingest.quarantine_schemas import RefusalList, RefusalView
from shared.access import Principal, allow
from shared.answers import LIMIT, csv_response, decode_cursor, encode_cursor, wants_csv
from shared.db import Session, session_scope
from shared.errors import Invalid
from shared.identifiers import parse_dossier_code
from shared.problems import responses
from shared.vocabulary import Role

router = APIRouter(prefix="/v1", tags=["ingest"])

Pusher = Annotated[Principal, Depends(allow(Role.INTEGRATOR, Role.CENTRE))]
CSV: dict[int | str, dict[str, Any]] = {200: {"content": {"text/csv": {"schema": {"type": "string"}}}}}
LAST = 2**63 - 1
HEADER = [name for name in RefusalView.model_fields if name != "digest"]


def _own(principal: Principal) -> str | None:
    """An integrator sees what was refused of its own pushes; admin and centre see all."""
    return principal.key_id if principal.role is Role.INTEGRATOR else None


@router.get(
    "/quarantine",
    summary="Những mục bị từ chối: vì sao, từ đâu, đã đọc lại chưa",
    response_model=RefusalList,
    responses=CSV | responses(401, 403, 422, 503),
)
async def list_quarantine(
    request: Request,
    session: Session,
    principal: Pusher,
    door: Annotated[
        str | None, Query(max_length=40, description="dossiers, dvcqg, pull, list, …", examples=["dvcqg"])
    ] = None,
    field: Annotated[str | None, Query(max_length=200, examples=["NgayTiepNhan"])] = None,
    code: Annotated[str | None, Query(max_length=200, examples=["H31.135-260803-0013"])] = None,
    since: Annotated[
        AwareDatetime | None, Query(alias="from", description="Last refused from here on")
    ] = None,
    until: Annotated[AwareDatetime | None, Query(alias="to", description="This moment no longer")] = None,
    replayed: Annotated[bool | None, Query(description="Read again since, or not")] = None,
    limit: Annotated[int, Query(ge=1, le=LIMIT)] = 100,
    cursor: Annotated[str | None, Query(max_length=200, description="`next` của trang trước")] = None,
) -> Any:
    """Newest first. Nothing of a citizen's is in it."""
    wanted: dict[str, Any] = {
        "sender": _own(principal),
        "door": door,
        "field": field,
        "code": parse_dossier_code(code).code if code else None,
        "since": since,
        "until": until,
        "replayed": replayed,
    }
    if wants_csv(request):
        return csv_response(_all(request.app.state.engine, wanted), HEADER, name="quarantine")
    before = decode_cursor(cursor, int)[0] if cursor else None
    if before is not None and not 0 < before <= LAST:
        raise Invalid("Con trỏ trang (cursor) không đúng.", "Not a cursor of ours.", field="cursor")
    items = await quarantine.listing(session, **wanted, before=before, limit=limit)
    return {"items": items, "next": encode_cursor(items[-1]["id"]) if len(items) == limit else None}


async def _all(engine: AsyncEngine, wanted: dict[str, Any]) -> AsyncIterator[list[object]]:
    before: int | None = None
    while True:
        async with session_scope(engine) as session:
            items = await quarantine.listing(session, **wanted, before=before, limit=LIMIT)
        for item in items:
            content = item["content"]
            row = item | {
                "content": content and json.dumps(content, ensure_ascii=False),
                "dropped": " ".join(item["dropped"]),
            }
            yield [row[name] for name in HEADER]
        if len(items) < LIMIT:
            return
        before = items[-1]["id"]


@router.post(
    "/quarantine/{refusal_id}/replay",
    summary="Đọc lại một mục đã bị từ chối, sau khi đã khắc phục",
    response_model=RefusalView,
    responses=responses(401, 403, 404, 409, 422, 503),
)
async def replay(
    refusal_id: Annotated[int, Path(ge=1, le=LAST)], request: Request, session: Session, principal: Pusher
) -> dict[str, Any]:
    """Through the door that refused it. 409, with a sentence that says what to do instead, where what was kept of it is
    not enough. Idempotent: an item that was taken is not read a third time; one that is refused again says why."""
    settings = request.app.state.settings
    return await quarantine.replay(
        session,
        refusal_id,
        sender=_own(principal),
        by=principal.key_id,
        databases=frozenset(settings.population_db_codes),
        now=settings.now(),
    )
