"""REST endpoints of the circuit that keeps us from asking a portal that blocked us. What was captured is read through
the indicators' endpoints."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Path, Request
from pydantic import BaseModel, ConfigDict

from services.ingest import capture_circuit
from shared.access import READERS, Principal, allow
from shared.calendar import TZ
from shared.db import Session
from shared.problems import responses
from shared.vocabulary import Role

router = APIRouter(prefix="/v1", tags=["ingest"])


class CircuitView(BaseModel):
    """A time during which a portal is not asked. `closed_at` null: still. `status`: of HTTP, where the block had one.
    `reason`: Vietnamese sentence | English sentence."""

    model_config = ConfigDict(
        json_schema_extra={
            "example": {
                "name": "reporting",
                "opened_at": "2026-11-02T05:03:11+07:00",
                "status": 403,
                "reason": "PortalBlocked: API thống kê của Cổng DVC quốc gia đã chặn (HTTP 403). | the reporting API"
                " blocked us (HTTP 403)",
                "closed_at": None,
                "closed_by": None,
            }
        }
    )
    name: str
    opened_at: datetime
    status: int | None
    reason: str
    closed_at: datetime | None
    closed_by: str | None


class CircuitList(BaseModel):
    """The newest hundred."""

    items: list[CircuitView]


@router.get(
    "/circuits",
    summary="Các lần ngừng gọi một cổng vì bị chặn, mới nhất trước",
    response_model=CircuitList,
    responses=responses(401, 403),
)
async def list_circuits(
    session: Session, principal: Annotated[Principal, Depends(allow(*READERS))]
) -> dict[str, Any]:
    return {"items": [_shown(row) for row in await capture_circuit.listing(session)]}


@router.delete(
    "/circuits/{name}",
    summary="Cho phép gọi lại cổng đã chặn, sau khi có người xem xét",
    response_model=CircuitView,
    responses=responses(401, 403, 409, 422),
)
async def close_circuit(
    request: Request,
    session: Session,
    principal: Annotated[Principal, Depends(allow(Role.CENTRE))],
    name: Annotated[str, Path(max_length=40, examples=["reporting"])],
) -> dict[str, Any]:
    """Only a person does this, having asked why: the next capture is at its usual hour, or when it is asked for.
    409 where it is not open."""
    now = request.app.state.settings.now()
    return _shown(await capture_circuit.close(session, by=principal.key_id, now=now, name=name))


def _shown(row: dict[str, Any]) -> dict[str, Any]:
    """Times in Việt Nam's."""
    return {key: value.astimezone(TZ) if isinstance(value, datetime) else value for key, value in row.items()}
