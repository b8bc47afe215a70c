"""REST endpoints of pulls and of the unit tree."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import date, datetime
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Path, Query, Request, Response
from sqlalchemy.ext.asyncio import AsyncEngine

from services.ingest import directory, run_queries, runs
from services.ingest.sync_schemas import RunState, SyncRequest, SyncRunList, SyncRunView, UnitList, UnitView
from shared import idempotency
from shared.access import READERS, Principal, allow, unit_in_scope
from shared.answers import LIMIT, csv_response, decode_cursor, encode_cursor, wants_csv
from shared.calendar import TZ, local_day
from shared.db import Session, session_scope
from shared.errors import Invalid
from shared.problems import responses
from shared.vocabulary import Portal, Role, Subject, UnitLevel

router = APIRouter(prefix="/v1", tags=["ingest"])

Reader = Annotated[Principal, Depends(allow(*READERS))]
Limit = Annotated[int, Query(ge=1, le=LIMIT)]
Cursor = Annotated[str | None, Query(max_length=200, description="`next` của trang trước")]
CSV: dict[int | str, dict[str, Any]] = {200: {"content": {"text/csv": {"schema": {"type": "string"}}}}}


@router.post(
    "/sync-runs",
    status_code=202,
    summary="Bắt đầu một lần lấy dữ liệu từ cổng",
    response_model=SyncRunView,
    responses=responses(400, 401, 403, 409, 413, 422, 503),
)
async def start_sync_run(
    body: SyncRequest,
    request: Request,
    session: Session,
    principal: Annotated[Principal, Depends(allow(Role.CENTRE))],
    key: idempotency.Key = None,
) -> Response:
    """Queue a pull; the worker takes it up at once. One per portal and subject at a time: 409 names the
    active one in `run`. 409 also where the portal is not configured, has not granted its list of dossiers, or is not
    asked since it blocked us (`circuit`)."""
    settings = request.app.state.settings
    cursor = runs.capture_of(body.subject, body.period, settings.now()) if body.period else None

    async def make() -> idempotency.Made:
        run_id = await runs.request(
            session,
            portal=body.portal,
            subject=body.subject,
            by=principal.key_id,
            now=settings.now(),
            settings=settings,
            cursor=cursor,
        )
        shown = SyncRunView.model_validate(_shown(await run_queries.read(session, run_id)))
        return idempotency.Made(202, shown, f"/v1/sync-runs/{run_id}")

    return await idempotency.once(session, request, principal, key, make, now=settings.now())


@router.get(
    "/sync-runs",
    summary="Các lần lấy dữ liệu, mới nhất trước",
    response_model=SyncRunList,
    responses=CSV | responses(401, 403, 422),
)
async def list_sync_runs(
    request: Request,
    session: Session,
    principal: Reader,
    portal: Portal | None = None,
    subject: Subject | None = None,
    state: RunState | None = None,
    limit: Limit = 100,
    cursor: Cursor = None,
) -> Any:
    wanted: dict[str, Any] = {"portal": portal, "subject": subject, "state": state}
    if wants_csv(request):
        rows = _all_runs(request.app.state.engine, wanted)
        return csv_response(rows, list(SyncRunView.model_fields), name="sync-runs")
    before = decode_cursor(cursor, int)[0] if cursor else None
    if before is not None and not 0 < before < 2**63:
        raise Invalid("Con trỏ trang (cursor) không đúng.", "The cursor is not one of ours.", field="cursor")
    items = await run_queries.listing(session, **wanted, before=before, limit=limit + 1)
    following = encode_cursor(items[limit - 1]["id"]) if len(items) > limit else None
    return {"items": [_shown(item) for item in items[:limit]], "next": following}


async def _all_runs(engine: AsyncEngine, wanted: dict[str, Any]) -> AsyncIterator[list[object]]:
    before: int | None = None
    while True:
        async with session_scope(engine) as session:
            items = await run_queries.listing(session, **wanted, before=before, limit=LIMIT)
        for item in items:
            yield [_shown(item)[name] for name in SyncRunView.model_fields]
        if len(items) < LIMIT:
            return
        before = items[-1]["id"]


@router.get(
    "/sync-runs/{run_id}",
    summary="Một lần lấy dữ liệu: trạng thái, tiến độ, số lượng, lỗi",
    response_model=SyncRunView,
    responses=responses(401, 403, 404, 422),
)
async def read_sync_run(
    run_id: Annotated[int, Path(ge=1, lt=2**63)], session: Session, principal: Reader
) -> dict[str, Any]:
    return _shown(await run_queries.read(session, run_id))


def _shown(row: dict[str, Any]) -> dict[str, Any]:
    """Times in Việt Nam's."""
    return {key: value.astimezone(TZ) if isinstance(value, datetime) else value for key, value in row.items()}


@router.get(
    "/units",
    summary="Cây đơn vị theo thời gian",
    response_model=UnitList,
    responses=CSV | responses(401, 403, 422),
)
async def list_units(
    request: Request,
    session: Session,
    principal: Reader,
    unit: Annotated[
        str | None, Query(max_length=100, description="Đơn vị này và các đơn vị trực thuộc")
    ] = None,
    on: Annotated[date | None, Query(description="Có hiệu lực vào ngày này; bỏ trống: hôm nay")] = None,
    history: Annotated[bool, Query(description="true: mọi giai đoạn, không chỉ một ngày")] = False,
    level: UnitLevel | None = None,
    limit: Limit = LIMIT,
    cursor: Cursor = None,
) -> Any:
    """Units in force on a day, in order of code; with `history` all their spans."""
    day = None if history else on or local_day(request.app.state.settings.now())
    wanted: dict[str, Any] = {"within": unit_in_scope(principal, unit), "on": day, "level": level}
    if wants_csv(request):
        rows = _all_units(request.app.state.engine, wanted)
        return csv_response(rows, list(UnitView.model_fields), name="units")
    items = await directory.units(session, **wanted, after=_after(cursor), limit=limit + 1)
    following = encode_cursor(*_key(items[limit - 1])) if len(items) > limit else None
    return {"items": items[:limit], "next": following}


async def _all_units(engine: AsyncEngine, wanted: dict[str, Any]) -> AsyncIterator[list[object]]:
    after: tuple[str, date] = ("", date.min)
    while True:
        async with session_scope(engine) as session:
            items = await directory.units(session, **wanted, after=after, limit=LIMIT)
        for item in items:
            yield [item[name] for name in UnitView.model_fields]
        if len(items) < LIMIT:
            return
        after = (items[-1]["code"], items[-1]["valid_from"])


def _key(row: dict[str, Any]) -> tuple[str, str]:
    return row["code"], row["valid_from"].isoformat()


def _after(cursor: str | None) -> tuple[str, date]:
    if cursor is None:
        return "", date.min
    code, day = decode_cursor(cursor, str, str)
    try:
        return code, date.fromisoformat(day)
    except ValueError:
        raise Invalid(
            "Con trỏ trang (cursor) không đúng.", "The cursor is not one of ours.", field="cursor"
        ) from None
