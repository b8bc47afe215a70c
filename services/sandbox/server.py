"""The portals as one ASGI application, and a way to run it on a free port."""

from __future__ import annotations

import socket
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from datetime import datetime

import uvicorn
from starlette.applications import Starlette
from starlette.routing import Mount
from starlette.types import ASGIApp

from services.sandbox.control import Control
from services.sandbox.counting import Counts
from services.sandbox.faults import Faults
from services.sandbox.integrator import Integrator, Target
from services.sandbox.national import National
from services.sandbox.provincial import Provincial
from services.sandbox.reporting import Reporting
from services.sandbox.world import World


def create_app(
    world: World,
    *,
    username: str = "H31",
    password: str = "sandbox",  # noqa: S107  # not a secret: a test double's
    client_id: str = "chiso",
    client_secret: str = "sandbox",  # noqa: S107
    grant_list: bool = False,
    push: Target | None = None,
    follow: Callable[[], datetime] | None = None,
    follow_every: float = 60.0,
) -> Faults:
    """The application, with its faults around it. `grant_list` opens DanhSachHoSo; `push` is where the
    integrator sends to; `follow` gives the real time that the clock follows after the first push (none: it
    moves only when told), every `follow_every` seconds."""
    counts = Counts()
    national = National(world, counts, username=username, password=password, grant_list=grant_list)
    provincial = Provincial(world, counts, client_id=client_id, client_secret=client_secret)
    reporting = Reporting(world, counts)
    control = Control(world, counts, Integrator(world, push) if push else None, follow, follow_every)

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        yield
        await control.close()

    app = Starlette(
        routes=[
            Mount("/national", routes=national.routes()),
            Mount("/provincial", routes=provincial.routes()),
            Mount("/reporting", routes=reporting.routes()),
            Mount("/_sandbox", routes=control.routes()),
        ],
        lifespan=lifespan,
    )
    control.faults = Faults(app, {"national": national.sessions.clear, "provincial": provincial.tokens.clear})
    return control.faults


@contextmanager
def running(world: World, *, grant_list: bool = False, push: Target | None = None) -> Iterator[str]:
    """Runs both portals in a thread of its own, on a free port of this machine; gives the base URL."""
    with serving(create_app(world, grant_list=grant_list, push=push)) as url:
        yield url


@contextmanager
def serving(app: ASGIApp) -> Iterator[str]:
    """Runs an application in a thread of its own, on a free port of this machine; gives its base URL."""
    server = uvicorn.Server(
        uvicorn.Config(app, log_level="warning", access_log=False, ws="none", timeout_graceful_shutdown=2)
    )
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(128)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
        thread.start()
        try:
            # The socket listens already: whoever connects before the server is up waits in its queue.
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            server.should_exit = True
            thread.join()
