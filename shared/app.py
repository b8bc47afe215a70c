"""create_app(): what every service's application has in common — problems, health, metrics, request ids, logs, the
body limit, CORS-free GETs. The tested application is the shipped one: tests call this function too."""

from __future__ import annotations

import gc
import time
import uuid
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from http import HTTPStatus

import structlog
from fastapi import APIRouter, FastAPI, Request
from fastapi.middleware.cors import CORSMiddleware
from prometheus_client import CollectorRegistry, Counter, Histogram
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from shared import operations, problems
from shared.db import create_engine
from shared.errors import TooLarge, where
from shared.settings import Settings
from shared.warm import Snapshot, Warm

log = structlog.get_logger("http")

BODY_LIMIT = 20 * 1024 * 1024
"""Bytes of a JSON body (api.md). NDJSON is a stream and has a line limit instead."""
UPLOAD_LIMIT = 200 * 1024 * 1024
"""Bytes of a multipart body: a file, which goes to the disk as it comes."""
UPLOADS = frozenset({"/v1/imports"})


def create_app(
    title: str, *routers: APIRouter, settings: Settings, workers: Sequence[str] = operations.WORKERS
) -> FastAPI:
    """An application of these routers on the settings' database, ready when these workers live. Raises ValueError
    without a DATABASE_URL."""
    if settings.database_url is None:
        raise ValueError("DATABASE_URL is needed; `chiso up` hands it down")
    url = settings.database_url
    snapshot = Snapshot()

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        app.state.engine = create_engine(url)
        # A batch of pushes makes tens of thousands of tuples, none in a circle; looking through them after every
        # 700 was a tenth to a quarter of what a push cost (benchmarks/bench_push.py).
        gc.set_threshold(100_000, 20, 20)
        try:
            yield
        finally:
            await snapshot.close()
            await app.state.engine.dispose()

    app = FastAPI(
        title=title,
        version="0.1.0",
        description="Bộ chỉ số phục vụ người dân, doanh nghiệp (Quyết định 766/QĐ-TTg): tiếp nhận, đối soát, chỉ số.",
        lifespan=lifespan,
        redoc_url=None,
    )
    app.state.settings = settings
    app.state.workers = tuple(workers)
    app.state.registry = CollectorRegistry()
    requests = Counter(
        "chiso_requests_total", "Requests", ["method", "route", "status"], registry=app.state.registry
    )
    seconds = Histogram("chiso_request_seconds", "Duration", ["route"], registry=app.state.registry)
    problems.install(app)
    app.include_router(operations.router)
    for router in routers:
        app.include_router(router)
    app.add_middleware(Warm, snapshot=snapshot)
    app.add_middleware(
        CORSMiddleware,
        allow_origins=settings.cors_origins,
        allow_methods=["GET"],
        allow_headers=["Authorization", "X-API-Key", "If-None-Match", "X-Request-Id"],
        expose_headers=["ETag", "X-Request-Id"],
    )

    def observe(method: str, route: str, status: int, duration: float) -> None:
        requests.labels(method, route, str(status)).inc()
        seconds.labels(route).observe(duration)

    app.add_middleware(Edge, observe=observe)
    return app


class Edge:
    """The outermost layer, plain ASGI so that streams stay streams: a request id in and out, one log line, metrics,
    the body limit, NUL bytes refused before they reach the database, and a problem document for a crash."""

    def __init__(self, app: ASGIApp, observe: Callable[[str, str, int, float], None]) -> None:
        self.app = app
        self.observe = observe

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        request = Request(scope)
        given = request.headers.get("x-request-id", "")
        request_id = (
            given if given.isascii() and given.isprintable() and 0 < len(given) <= 64 else uuid.uuid4().hex
        )
        request.state.request_id = request_id
        started = time.perf_counter()
        status = HTTPStatus.INTERNAL_SERVER_ERROR.value
        answered = False

        async def observing_send(message: Message) -> None:
            nonlocal status, answered
            if message["type"] == "http.response.start":
                answered = True
                status = message["status"]
                message["headers"] = [*message["headers"], (b"x-request-id", request_id.encode())]
            await send(message)

        with structlog.contextvars.bound_contextvars(request_id=request_id):
            try:
                if "\0" in scope["path"] or "%00" in scope["query_string"].decode("latin-1"):
                    await problems.problem(request, 400)(scope, receive, observing_send)
                    return
                await self.app(scope, _limited(request, receive), observing_send)
            except Exception as error:
                # Only the kind: a message may quote what came in.
                log.error("crash", kind=type(error).__name__, route=_route(scope), where=where(error))
                if not answered:
                    await problems.problem(request, 500)(scope, receive, observing_send)
            finally:
                route = _route(scope)
                duration = time.perf_counter() - started
                self.observe(scope["method"], route, status, duration)
                # Reads that went well are the rule; they are counted in /metrics and told at level DEBUG.
                ordinary = status < 400 and scope["method"] in ("GET", "HEAD", "OPTIONS")
                if route not in ("/health", "/ready", "/metrics"):
                    (log.debug if ordinary else log.info)(
                        "request",
                        method=scope["method"],
                        route=route,
                        status=status,
                        ms=round(duration * 1000, 1),
                    )


def _route(scope: Scope) -> str:
    """The declared route, not the path: a path can hold what somebody typed."""
    return str(getattr(scope.get("route"), "path", "none"))


def _limited(request: Request, receive: Receive) -> Receive:
    """Stop reading a body that is larger than BODY_LIMIT, however it is announced; NDJSON streams pass."""
    if request.headers.get("content-type", "").startswith("application/x-ndjson"):
        return receive
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    upload = kind == "multipart/form-data" and request.scope["path"] in UPLOADS
    limit = UPLOAD_LIMIT if upload else BODY_LIMIT
    taken = 0

    async def limited() -> Message:
        nonlocal taken
        message = await receive()
        taken += len(message.get("body", b""))
        if taken > limit:
            size = f"{limit // 1024**2} MB"
            raise TooLarge(
                f"Nội dung gửi lên vượt quá {size}; hãy chia nhỏ, hoặc gửi NDJSON tới /v1/dossiers.",
                f"The body is over {size}; split it, or send NDJSON to /v1/dossiers.",
                limit_bytes=limit,
            )
        return message

    return limited
