"""REST endpoints of imports. An upload is streamed to a temporary file that has no name, and worked off behind the
answer, in this process; the row tells how far."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import date, datetime
from typing import Annotated, Any, cast

import asyncpg
import structlog
from fastapi import APIRouter, Depends, FastAPI, Path, Query, Request, Response
from pydantic import BaseModel, ConfigDict
from pydantic import ValidationError as PydanticInvalid
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncEngine
from starlette.datastructures import UploadFile

from services.ingest import import_files, import_queries, import_runs, imports
from services.ingest.files.columns import Kind
from services.ingest.import_schemas import REQUEST_BODY, ImportList, ImportView
from shared.access import Principal, allow
from shared.answers import LIMIT, csv_response, decode_cursor, encode_cursor, wants_csv
from shared.calendar import TZ
from shared.db import Session, session_scope
from shared.errors import Conflict, Invalid
from shared.problems import responses
from shared.vocabulary import Portal, Role

log = structlog.get_logger("imports")

PATIENCE_SECONDS = 10.0
"""How long a batch at hand may take to end when the service is told to."""
AT_ONCE = 4
"""Imports that one process works on; each holds a connection for its lock and one for its batch."""


class Running:
    """The imports that this process works on."""

    def __init__(self) -> None:
        self.stop = asyncio.Event()
        self.tasks: set[asyncio.Task[None]] = set()

    async def end(self) -> None:
        self.stop.set()
        if self.tasks:
            _, late = await asyncio.wait(self.tasks, timeout=PATIENCE_SECONDS)
            for task in late:
                task.cancel()
            await asyncio.gather(*self.tasks, return_exceptions=True)


@asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[None]:
    app.state.imports = running = Running()
    try:
        yield
    finally:
        await running.end()


router = APIRouter(prefix="/v1", tags=["ingest"], lifespan=_lifespan)

CSV: dict[int | str, dict[str, Any]] = {200: {"content": {"text/csv": {"schema": {"type": "string"}}}}}
AT_ONCE_OR_DRY: dict[int | str, dict[str, Any]] = {
    200: {"model": ImportView, "description": "Chạy thử, hoặc tệp đã nạp xong từ trước"}
}
Centre = Annotated[Principal, Depends(allow(Role.ADMIN, Role.CENTRE))]


class _Form(BaseModel):
    """The fields beside the file. An empty one counts as not given."""

    model_config = ConfigDict(extra="forbid")
    kind: Kind
    portal: Portal = Portal.NATIONAL
    dry_run: bool = False
    again: bool = False
    complete: bool = False
    period: str | None = None
    exported_at: datetime | None = None
    valid_from: date | None = None
    valid_to: date | None = None


@router.post(
    "/imports",
    status_code=202,
    summary="Nạp tệp: hồ sơ, phản ánh kiến nghị, thủ tục, đơn vị, đơn vị trước sáp nhập",
    response_model=ImportView,
    responses=AT_ONCE_OR_DRY | responses(400, 401, 403, 409, 413, 422, 503),
    openapi_extra={"requestBody": REQUEST_BODY},
)
async def start_import(request: Request, response: Response, principal: Centre) -> dict[str, Any]:
    """`dry_run`: what would be understood of the file, its counts and first refusals; nothing is stored (200).

    Else 202, and `GET` tells how far it is. The same file sent again goes on where it ended, or is answered as done
    (200); `again` begins anew. Files of many months may come in any order: the newer version of a dossier wins."""
    engine, settings = request.app.state.engine, request.app.state.settings
    running: Running = request.app.state.imports
    async with AsyncExitStack() as stack:
        form = await request.form(max_files=1, max_fields=20, max_part_size=10_000)
        stack.push_async_callback(form.close)
        upload = form.get("file")
        if not isinstance(upload, UploadFile):
            raise Invalid("Thiếu tệp (file).", "A file is needed (file).", field="file")
        given = _read_form({name: value for name, value in form.multi_items() if name != "file"})
        asked = import_files.asked(
            by=principal.key_id, name=upload.filename or "", **given.model_dump(exclude={"dry_run"})
        )
        if len(running.tasks) >= AT_ONCE:
            raise Conflict(
                f"Đang nạp {AT_ONCE} tệp khác; hãy gửi lại sau.", f"{AT_ONCE} other files are being imported."
            )
        file = await stack.enter_async_context(
            import_files.understood(cast(Any, upload.file), asked, settings)
        )
        if given.dry_run:
            response.status_code = 200
            return _shown(await imports.dry_run(file))
        async with session_scope(engine) as session:
            run_id, state = await import_runs.register(session, file)
        if state == "done":
            response.status_code = 200
        else:
            task = asyncio.create_task(_work(engine, file, run_id, stack.pop_all(), running))
            running.tasks.add(task)
            task.add_done_callback(running.tasks.discard)
    response.headers["Location"] = f"/v1/imports/{run_id}"
    async with session_scope(engine) as session:
        return _shown(await import_queries.read(session, run_id))


async def _work(
    engine: AsyncEngine, file: import_files.Understood, run_id: int, stack: AsyncExitStack, running: Running
) -> None:
    """What goes wrong is in the row already; a database that stays away has been logged, and the same file goes on."""
    async with stack:
        try:
            await imports.work_off(engine, file, run_id, stop=running.stop)
        except (DBAPIError, asyncpg.PostgresError, asyncpg.InterfaceError, OSError) as error:
            log.error("import ends without the database", run=run_id, error=type(error).__name__)
        except Exception as error:
            log.info("import ended", run=run_id, error=type(error).__name__)


def _read_form(fields: Mapping[str, Any]) -> _Form:
    try:
        return _Form.model_validate({name: value for name, value in fields.items() if value != ""})
    except PydanticInvalid as error:
        # A field's name may be anything that somebody sent; only ours are repeated.
        wrong = sorted({str(item["loc"][0]) for item in error.errors(include_input=False)})
        named = ", ".join(name for name in wrong if name in _Form.model_fields) or "form"
        raise Invalid(
            f"Giá trị không hợp lệ hoặc thừa ở: {named}.", f"Not valid, or not known: {named}.", field=named
        ) from None


@router.get(
    "/imports",
    summary="Các lần nạp tệp, mới nhất trước",
    response_model=ImportList,
    responses=CSV | responses(401, 403, 422),
)
async def list_imports(
    request: Request,
    session: Session,
    principal: Centre,
    kind: Kind | None = None,
    limit: Annotated[int, Query(ge=1, le=LIMIT)] = 100,
    cursor: Annotated[str | None, Query(max_length=200, description="`next` của trang trước")] = None,
) -> Any:
    if wants_csv(request):
        return csv_response(_all(request.app.state.engine, kind), _SCALARS, name="imports")
    before = decode_cursor(cursor, int)[0] if cursor else None
    if before is not None and not 0 < before < 2**63:
        raise Invalid("Con trỏ trang (cursor) không đúng.", "The cursor is not one of ours.", field="cursor")
    items = await import_queries.listing(session, kind=kind, before=before, limit=limit)
    following = encode_cursor(items[-1]["id"]) if len(items) == limit else None
    return {"items": [_shown(item) for item in items], "next": following}


_SCALARS = [
    name for name in ImportView.model_fields if name not in ("columns", "refusals", "received", "ambiguous")
]


async def _all(engine: AsyncEngine, kind: str | None) -> AsyncIterator[list[object]]:
    before: int | None = None
    while True:
        async with session_scope(engine) as session:
            items = await import_queries.listing(session, kind=kind, before=before, limit=LIMIT)
        for item in items:
            yield [_shown(item).get(name) for name in _SCALARS]
        if len(items) < LIMIT:
            return
        before = items[-1]["id"]


@router.get(
    "/imports/{import_id}",
    summary="Một lần nạp tệp: hiểu gì, đến dòng nào, số lượng, từ chối",
    response_model=ImportView,
    responses=responses(401, 403, 404, 422),
)
async def read_import(
    import_id: Annotated[int, Path(ge=1, lt=2**63)], session: Session, principal: Centre
) -> dict[str, Any]:
    return _shown(await import_queries.read(session, import_id))


def _shown(row: dict[str, Any]) -> dict[str, Any]:
    """Times in Việt Nam's."""
    return {key: value.astimezone(TZ) if isinstance(value, datetime) else value for key, value in row.items()}
