"""REST endpoints of the names and codes by which units are called."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import date
from typing import Annotated, Any

import structlog
from fastapi import APIRouter, Depends, Path, Query, Request
from sqlalchemy.ext.asyncio import AsyncEngine

from services.ingest import naming
from services.ingest.unit_schemas import (
    AliasList,
    AliasRemoved,
    AliasSet,
    AliasStored,
    AliasView,
    UnmappedView,
)
from shared.access import READERS, Principal, allow, unit_in_scope
from shared.answers import LIMIT, csv_response, decode_cursor, encode_cursor, wants_csv
from shared.db import Session, session_scope
from shared.errors import Invalid
from shared.problems import responses
from shared.vocabulary import Role

router = APIRouter(prefix="/v1", tags=["ingest"])
log = structlog.get_logger("units")

CSV: dict[int | str, dict[str, Any]] = {200: {"content": {"text/csv": {"schema": {"type": "string"}}}}}


@router.get(
    "/unit-aliases",
    summary="Tên gọi khác của các đơn vị; unmapped=true: tên và mã chưa biết là đơn vị nào",
    response_model=AliasList,
    responses=CSV | responses(401, 403, 422, 503),
)
async def list_aliases(
    request: Request,
    session: Session,
    principal: Annotated[Principal, Depends(allow(*READERS))],
    unmapped: Annotated[
        bool, Query(description="Names and codes that no unit is known for, most dossiers first")
    ] = False,
    unit: Annotated[
        str | None, Query(max_length=100, description="Đơn vị này và các đơn vị trực thuộc")
    ] = None,
    limit: Annotated[int, Query(ge=1, le=LIMIT)] = 100,
    cursor: Annotated[str | None, Query(max_length=2000, description="`next` của trang trước")] = None,
) -> Any:
    """What is unmapped below the province: names on dossiers whose codes were given out there, and on petitions that
    name such a dossier."""
    within = unit_in_scope(principal, unit)
    province = request.app.state.settings.province_code
    engine = request.app.state.engine
    if unmapped:
        if wants_csv(request):
            header = list(UnmappedView.model_fields)
            return csv_response(_all_unmapped(engine, within, province), header, name="unmapped")
        after = tuple(decode_cursor(cursor, int, str, str)) if cursor else None
        if after is not None and not 0 <= after[0] < 2**63:
            raise Invalid("Con trỏ trang (cursor) không đúng.", "Not a cursor of ours.", field="cursor")
        items = await naming.unmapped(session, within=within, province=province, after=after, limit=limit)
        following = _after_unmapped(items[-1]) if len(items) == limit else None
        return {"items": items, "next": following and encode_cursor(*following)}
    if wants_csv(request):
        return csv_response(_all_aliases(engine, within), list(AliasView.model_fields), name="unit-aliases")
    items = await naming.aliases(session, within=within, after=_after(cursor), limit=limit)
    return {"items": items, "next": encode_cursor(*_key(items[-1])) if len(items) == limit else None}


def _after_unmapped(item: dict[str, Any]) -> tuple[int, str, str]:
    return item["dossiers"], item["kind"], item["name"]


def _key(item: dict[str, Any]) -> tuple[str, str]:
    return item["name_key"], item["valid_from"].isoformat()


def _after(cursor: str | None) -> tuple[str, date]:
    if cursor is None:
        return "", date.min
    key, day = decode_cursor(cursor, str, str)
    try:
        return key, date.fromisoformat(day)
    except ValueError:
        raise Invalid("Con trỏ trang (cursor) không đúng.", "Not a cursor of ours.", field="cursor") from None


async def _all_unmapped(engine: AsyncEngine, within: str, province: str) -> AsyncIterator[list[object]]:
    """As of one moment: the list is ordered by counts, which change from page to page."""
    async with session_scope(engine) as session:
        items = await naming.unmapped(session, within=within, province=province, after=None, limit=100_000)
    for item in items:
        row = item | {"agency_codes": " ".join(item["agency_codes"])}
        yield [row[name] for name in UnmappedView.model_fields]


async def _all_aliases(engine: AsyncEngine, within: str) -> AsyncIterator[list[object]]:
    after: tuple[str, date] = ("", date.min)
    while True:
        async with session_scope(engine) as session:
            items = await naming.aliases(session, within=within, after=after, limit=LIMIT)
        for item in items:
            yield [item[name] for name in AliasView.model_fields]
        if len(items) < LIMIT:
            return
        after = (items[-1]["name_key"], items[-1]["valid_from"])


@router.put(
    "/unit-aliases/{name:path}",
    summary="Đặt một tên gọi hoặc mã chỉ đơn vị nào; hồ sơ trước đó được xác định lại",
    response_model=AliasStored,
    responses=responses(401, 403, 404, 409, 413, 422, 503),
)
async def put_alias(
    name: Annotated[str, Path(min_length=1, max_length=300, examples=["Bộ phận Một cửa phường Sơn Nam"])],
    body: AliasSet,
    request: Request,
    session: Session,
    principal: Annotated[Principal, Depends(allow(Role.CENTRE))],
) -> AliasStored:
    """However it is spelt: case, spaces, signs and "UBND" in front make no difference. The same name and `valid_from`
    again replaces what was there, whoever set it; another span of the name may not share a day with this one (409); a
    unit's own code is no alias (409). What came before is resolved again in the same transaction."""
    span, placed = await naming.put_alias(
        session,
        name=name,
        unit_code=body.unit_code,
        valid_from=body.valid_from,
        valid_to=body.valid_to,
        by=principal.key_id,
        now=request.app.state.settings.now(),
    )
    return AliasStored(
        name=name,
        **span._asdict(),
        re_resolved=placed.copies,
        petitions_re_resolved=placed.petitions,
    )


@router.delete(
    "/unit-aliases/{name:path}",
    summary="Bỏ một tên gọi hoặc mã của đơn vị; hồ sơ trước đó được xác định lại",
    response_model=AliasRemoved,
    responses=responses(401, 403, 404, 422, 503),
)
async def delete_alias(
    name: Annotated[str, Path(min_length=1, max_length=300, examples=["Bộ phận Một cửa phường Sơn Nam"])],
    request: Request,
    session: Session,
    principal: Annotated[Principal, Depends(allow(Role.CENTRE))],
    valid_from: Annotated[
        date | None, Query(description="Only the span that begins on this day; else all spans of the name")
    ] = None,
) -> dict[str, Any]:
    """For a name that was set by mistake; one that is no longer used is given a `valid_to` instead. What it placed is
    resolved again in the same transaction. A name that a portal's list of units tells is back with the next pull."""
    removed, placed = await naming.remove_alias(
        session, name=name, valid_from=valid_from, now=request.app.state.settings.now()
    )
    spans = [span._asdict() for span in removed]
    if removed:  # the table keeps no history
        told = [f"{span.unit_code} {span.valid_from}/{span.valid_to or ''}" for span in removed]
        log.info("alias removed", by=principal.key_id, spans=told)
    return {
        "name": name,
        "removed": spans,
        "re_resolved": placed.copies,
        "petitions_re_resolved": placed.petitions,
    }
