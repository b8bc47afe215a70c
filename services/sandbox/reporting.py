"""The national portal's public reporting API (reporting-api.md §1–5): POST, 201, an envelope, unknown keys ignored.

Nothing is validated that the real one does not: a key with a typo asks for another population and fails nowhere.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import date, datetime, timedelta

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from services.sandbox.answers import answer, body
from services.sandbox.counting import Counts
from services.sandbox.facts import PROVINCE, procedures
from services.sandbox.published import Published
from services.sandbox.reporting_bodies import Bodies, Row, department_id, items
from services.sandbox.workdays import ZONE, epoch
from services.sandbox.world import World

Span = tuple[int, int]


class BadRequest(Exception):
    """What the real API does with it is not known; ours says 400."""


class Reporting:
    def __init__(self, world: World, counts: Counts) -> None:
        self.world, self.counts = world, counts
        self._published = Published(world)
        self._turn = asyncio.Lock()

    def routes(self) -> list[Route]:
        endpoints: dict[str, Callable[[dict[str, object]], Row]] = {
            "/evaluation/service-results": self._results,
            "/evaluation/transparency": lambda sent: self._one(sent).transparency(),
            "/evaluation/handling-satisfaction": self._satisfaction,
            "/evaluation/dossier-digitized": lambda sent: self._one(sent, "formalityID").digitisation(),
            "/evaluation/dvc-progress-tree": lambda sent: self._one(sent).progress(),
            "/evaluation/provide-online-tree": lambda sent: self._one(sent).online_service(),
            "/evaluation/formality-online-payment-tree": lambda sent: self._one(sent).online_payment(),
            "/formalities": self._formalities,
        }
        return [Route(path, self._route(path, make), methods=["POST"]) for path, make in endpoints.items()]

    def _route(self, path: str, make: Callable[[dict[str, object]], Row]) -> Callable[[Request], object]:
        async def serve(request: Request) -> Response:
            sent = await body(request)
            self.counts.add("reporting", path.rpartition("/")[2])
            try:
                async with self._turn:  # counting takes a while: the others are served meanwhile
                    data = await asyncio.to_thread(make, sent)
            except BadRequest as bad:
                return answer({"code": "BAD_REQUEST", "message": str(bad), "data": None}, 400)
            return answer({"code": "OK", "message": "OK", "data": data}, 201)

        return serve

    def _results(self, sent: dict[str, object]) -> Row:
        bodies = Bodies(self._published, *span(sent))
        if "rootDepartmentId" not in sent:
            if sent.get("departmentType") != "ADMINISTRATIVE_UNIT":
                raise BadRequest("departmentType or rootDepartmentId")
            return bodies.national()
        _root(sent)
        return bodies.province()

    def _one(self, sent: dict[str, object], filtered_by: str = "formalityId") -> Bodies:
        _root(sent)
        return Bodies(self._published, *span(sent), _procedure(sent.get(filtered_by)))

    def _satisfaction(self, sent: dict[str, object]) -> Row:
        """By dates, both inclusive; without them the running year."""
        _root(sent)
        today = self.world.clock.date()
        first = _day(sent.get("fromDate"), date(today.year, 1, 1))
        last = _day(sent.get("toDate"), date(today.year, 12, 31))
        return Bodies(self._published, _midnight(first), _midnight(last + timedelta(days=1))).satisfaction()

    def _formalities(self, sent: dict[str, object]) -> Row:
        page, size = sent.get("currentPage", 1), sent.get("pageSize", 10)
        if not (isinstance(page, int) and isinstance(size, int) and page > 0 and size > 0):
            raise BadRequest("currentPage, pageSize")
        return items(str(sent.get("q") or ""), page, size)


def span(sent: dict[str, object]) -> Span:
    """[begin, end) of timeType, year, quarter and month."""
    kind, year = sent.get("timeType"), sent.get("year")
    months = {"year": 12, "quarter": 3, "month": 1}.get(str(kind), 0)
    number = sent.get(str(kind)) if kind != "year" else 1
    if not months or not isinstance(year, int) or not isinstance(number, int):
        raise BadRequest("timeType, year, quarter, month")
    if not (2000 <= year <= 2100 and 1 <= number <= 12 // months):
        raise BadRequest("year, quarter, month")
    first = date(year, (number - 1) * months + 1, 1)
    after = number * months
    return _midnight(first), _midnight(date(year + after // 12, after % 12 + 1, 1))


def _midnight(day: date) -> int:
    return epoch(datetime(day.year, day.month, day.day, tzinfo=ZONE))


def _day(text: object, otherwise: date) -> date:
    try:
        return date.fromisoformat(text) if isinstance(text, str) else otherwise
    except ValueError:
        raise BadRequest("fromDate, toDate") from None


def _root(sent: dict[str, object]) -> None:
    if sent.get("rootDepartmentId") != department_id(PROVINCE):
        raise BadRequest("rootDepartmentId")


def _procedure(wanted: object) -> str:
    """The code of the procedure with this id; an id of none filters everything away, as a filter does."""
    if not isinstance(wanted, str) or not wanted:
        return ""
    return next((each.code for each in procedures() if department_id(each.code) == wanted), "?")
