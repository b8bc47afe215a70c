"""Ingest's REST endpoints: pushes in our own form, and everything that is known of one dossier."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
from fastapi import APIRouter, Depends, Path, Request
from fastapi.responses import Response

from services.ingest import push, queries, receipts
from services.ingest.schemas import DossierView, PushAnswer
from shared.access import READERS, Principal, allow
from shared.db import Session, session_scope
from shared.errors import NotFound, UnsupportedType
from shared.identifiers import parse_dossier_code
from shared.problems import responses
from shared.vocabulary import Role

router = APIRouter(prefix="/v1", tags=["ingest"])

_EXAMPLE = [
    {
        "code": "H31.135-260803-0012",
        "procedure_code": "1.001612",
        "unit_code": "H31.135",
        "status": 9,
        "received_at": "2026-08-03T09:30:00+07:00",
        "due_at": "2026-08-06T17:00:00+07:00",
        "finished_at": "2026-08-05T15:00:00+07:00",
        "updated_at": "2026-08-05T15:00:10+07:00",
        "facts": {"result_link": True, "digitised": True, "vneid": False, "fee": True, "paid_online": True},
    }
]


@router.post(
    "/dossiers",
    summary="Đẩy hồ sơ: mảng JSON, hoặc NDJSON khi nhiều",
    response_model=PushAnswer,
    responses=responses(400, 401, 403, 413, 415, 422, 503),
    openapi_extra={
        "requestBody": {
            "required": True,
            "content": {
                "application/json": {
                    "schema": {"type": "array", "items": {"type": "object"}},
                    "example": _EXAMPLE,
                },
                "application/x-ndjson": {"schema": {"type": "string"}},
            },
        }
    },
)
async def push_dossiers(
    request: Request, principal: Annotated[Principal, Depends(allow(Role.INTEGRATOR, Role.CENTRE))]
) -> Response:
    """One result per item (accepted, unchanged, stale, rejected with field and reason), and the counts. Idempotent
    by nature: the newer version wins, whatever the order, and a repetition changes nothing.

    An item tells the whole dossier: the newer version replaces the older one, and a field that it leaves out
    becomes *unknown* to this copy (null: known to be empty). `facts` says what is true (or false) of papers, results,
    payment and identity; no link or file has a place in it. Steps are added one by one and need not be repeated.
    The version is the newest moment that the item tells of, `updated_at` among them.

    NDJSON (`Content-Type: application/x-ndjson`) has no size limit; its answer is NDJSON, each line written after its
    batch has been committed. A line with the batch's receipt follows its items; the counts and the stream's first
    receipt come last. `receipt`: for GET /v1/pushes/{id}. The request's own session is not used: each batch commits by
    itself."""
    kind = request.headers.get("content-type", "application/json").partition(";")[0].strip().lower()
    engine, settings = request.app.state.engine, request.app.state.settings
    if kind == "application/x-ndjson":
        return push.Duplex(push.stream(request.stream(), engine, settings, sender=principal.key_id))
    if kind not in ("application/json", "text/json"):
        raise UnsupportedType(
            "Content-Type cần là application/json (mảng) hoặc application/x-ndjson.",
            "Content-Type must be application/json (an array) or application/x-ndjson.",
            field="Content-Type",
        )
    now = settings.now()
    body = await request.body()
    items = push.read_array(body, now=now)
    receipt = None
    async with session_scope(engine) as session:
        results = await push.store(session, items, sender=principal.key_id, now=now)
        if items:
            receipt = await push.give_receipt(
                session,
                items,
                results,
                sender=principal.key_id,
                now=now,
                digest=receipts.digest_of([body]),
            )
    content = {"counts": push.count(results), "items": results, "receipt": receipt}
    return Response(msgspec.json.encode(content), media_type="application/json")


@router.get(
    "/dossiers/{code}",
    summary="Một hồ sơ: các bản sao, các bước, vì sao được tính hay không, các sai lệch",
    response_model=DossierView,
    responses=responses(401, 403, 404, 422),
)
async def read_dossier(
    code: Annotated[str, Path(max_length=200, examples=["H31.135-260803-0012"])],
    session: Session,
    principal: Annotated[Principal, Depends(allow(*READERS))],
) -> dict[str, Any]:
    """All copies with their fields and how each was learnt; per indicator component and period whether the dossier
    counts, and by which rule; its findings."""
    view = await queries.dossier_view(session, parse_dossier_code(code).code)
    if view is None:
        raise NotFound("Không có hồ sơ này.", "There is no such dossier.")
    # In scope of its own unit or of any that a copy names: both sides of a difference may look at it.
    units = {copy["unit_code"] for copy in view["copies"]}
    if not any(principal.sees(unit) for unit in units):
        principal.check(next(iter(units), None))
    return view
