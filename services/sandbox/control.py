"""/_sandbox/*: the clock, the truth, the decision register, the integrator's push, faults, health and
counters."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine
from datetime import datetime

from msgspec import DecodeError
from msgspec.json import decode
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from services.sandbox.answers import answer, body
from services.sandbox.counting import Counts
from services.sandbox.decisions import register
from services.sandbox.faults import FaultInvalid, Faults, read
from services.sandbox.integrator import Integrator, PushFailed
from services.sandbox.workdays import iso
from services.sandbox.world import ClockRefused, World

log = logging.getLogger("sandbox")


class Control:
    def __init__(
        self,
        world: World,
        counts: Counts,
        integrator: Integrator | None,
        follow: Callable[[], datetime] | None,
        follow_every: float,
    ) -> None:
        self.world, self.counts, self.integrator = world, counts, integrator
        self.follow, self.follow_every = follow, follow_every
        self.faults: Faults | None = None
        self.last_push: dict[str, object] | None = None
        self._asked = 0
        self._tasks: set[asyncio.Task[None]] = set()
        self._following = False

    def routes(self) -> list[Route]:
        return [
            Route("/health", self._health),
            Route("/stats", self._stats),
            Route("/clock", self._clock, methods=["GET"]),
            Route("/clock", self._move, methods=["POST"]),
            Route("/truth", self._truth),
            Route("/decisions", self._decisions),
            Route("/push", self._push, methods=["POST"]),
            Route("/faults", self._faults, methods=["GET", "POST", "DELETE"]),
        ]

    async def close(self) -> None:
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _health(self, request: Request) -> Response:
        return answer({"status": "ok"})

    async def _stats(self, request: Request) -> Response:
        return answer({"calls": self.counts.calls, "last_push": self.last_push})

    def _time(self) -> dict[str, object]:
        until = self.world.until
        return {
            "now": self.world.clock.isoformat(),
            "anchor": iso(self.world.anchor),
            "until": until.isoformat() if until else None,
            "seed": self.world.seed,
            "size": self.world.size,
        }

    async def _clock(self, request: Request) -> Response:
        return answer(self._time())

    async def _move(self, request: Request) -> Response:
        try:
            to = _moment(str((await body(request)).get("now")))
        except ValueError:
            return answer({"message": '{"now": "<ISO 8601 with an offset>"} is needed'}, 400)
        try:
            self.world.move(to)
        except ClockRefused as refused:
            return answer({"message": str(refused)} | self._time(), 409)
        return answer(self._time())

    async def _truth(self, request: Request) -> Response:
        at = request.query_params.get("at")
        try:
            return answer(self.world.truth(_moment(at) if at else None))
        except ValueError:
            return answer({"message": "at: ISO 8601 with an offset (+ written as %2B)"}, 400)

    async def _decisions(self, request: Request) -> Response:
        return answer({"items": register()})

    async def _faults(self, request: Request) -> Response:
        """POST adds a list of faults (faults.py), DELETE clears all; the answer: those on, with their counts."""
        assert self.faults is not None
        if request.method == "DELETE":
            self.faults.on.clear()
        elif request.method == "POST":
            try:
                self.faults.on += read(decode(await request.body()))
            except (FaultInvalid, DecodeError) as error:
                return answer({"message": str(error)}, 400)
        return answer({"items": self.faults.on})

    async def _push(self, request: Request) -> Response:
        """{"wait": true} answers with the counts when all was sent; else 202 at once, with the number that `last_push`
        of the stats has when it is over."""
        if self.integrator is None:
            return answer(
                {"message": "no push target: start with --push-to, --push-username, --push-password"}, 409
            )
        wait = (await body(request)).get("wait") is True
        self._asked += 1
        if wait:
            try:
                await self._push_once(self._asked)
            except PushFailed as failed:
                return answer({"message": str(failed)}, 502)
        else:
            self._start(self._push_logged(self._asked))
        if self.follow is not None and not self._following:
            self._following = True
            self._start(self._follow())
        return answer(self.last_push) if wait else answer({"status": "started", "number": self._asked}, 202)

    def _start(self, work: Coroutine[object, object, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _push_once(self, number: int) -> None:
        assert self.integrator is not None
        told = {"number": number, "at": self.world.clock.isoformat()}
        self.last_push = told | (await self.integrator.push()).as_dict()

    async def _push_logged(self, number: int) -> None:
        try:
            await self._push_once(number)
        except PushFailed as failed:
            log.warning("push failed: %s", failed)
            self.last_push = {"number": number, "at": self.world.clock.isoformat(), "failed": str(failed)}

    async def _follow(self) -> None:
        """Lets the world's time run with the real one: dossiers arrive, advance, and the integrator tells."""
        assert self.follow is not None
        while True:
            await asyncio.sleep(self.follow_every)
            now, until = self.follow(), self.world.until
            to = now if until is None else min(now, until)
            if to > self.world.clock:
                self.world.move(to)
                await self._push_logged(self._asked)


def _moment(text: str) -> datetime:
    read = datetime.fromisoformat(text)
    if read.tzinfo is None:
        raise ValueError("no offset")
    return read
