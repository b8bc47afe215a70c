"""The provincial one-stop system, iGate (portals.md §4): token, dossier search newest first, units."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from hashlib import sha256
from urllib.parse import parse_qs

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from services.sandbox.answers import answer, encode
from services.sandbox.counting import Counts
from services.sandbox.defects import as_held
from services.sandbox.dossier import Copy, Dossier, copy_after
from services.sandbox.facts import PROVINCE, Unit, object_id, unit_by_code, units
from services.sandbox.messages import applicant
from services.sandbox.workdays import wire_utc
from services.sandbox.world import World

TOKEN_LIFE = 300
MAX_SIZE = 500
STATUS = {
    1: (0, "Chờ tiếp nhận"),
    2: (9, "Đã tiếp nhận"),
    3: (8, "Từ chối tiếp nhận"),
    4: (2, "Đang xử lý"),
    5: (1, "Yêu cầu bổ sung"),
    6: (6, "Chờ thực hiện nghĩa vụ tài chính"),
    7: (7, "Công dân rút hồ sơ"),
    8: (3, "Dừng xử lý"),
    9: (4, "Đã có kết quả"),
    10: (5, "Đã trả kết quả"),
}
"""TrangThaiHoSo → dossierStatus id and name, this system's own."""
_CHANNELS = {1: (1, "Trực tiếp"), 2: (0, "Trực tuyến"), 3: (2, "Bưu chính")}
_DURATIONS = {"Giờ": "h", "Ngày": "D", "Ngày làm việc": "d", "Tháng": "M"}


class Provincial:
    def __init__(self, world: World, counts: Counts, *, client_id: str, client_secret: str) -> None:
        self.world, self.counts = world, counts
        self.client_id, self.client_secret = client_id, client_secret
        self.tokens: dict[str, int] = {}  # until when (the world's clock)
        self._issued = 0
        self._cache: dict[int, tuple[int, msgspec.Raw]] = {}  # index → (events, JSON)

    def routes(self) -> list[Route]:
        return [
            Route("/auth/realms/digo/protocol/openid-connect/token", self._token, methods=["POST"]),
            Route("/pa/dossier/search", self._search),
            Route("/ba/agency/--by-parent-id", self._children),
            Route("/ba/agency/{id}", self._agency),
        ]

    async def _token(self, request: Request) -> Response:
        self.counts.add("provincial", "token")
        form = {key: values[0] for key, values in parse_qs((await request.body()).decode()).items()}
        if form.get("grant_type") != "client_credentials":
            return answer({"error": "unsupported_grant_type"}, 400)
        if (form.get("client_id"), form.get("client_secret")) != (self.client_id, self.client_secret):
            return answer({"error": "unauthorized_client", "error_description": "Invalid client"}, 401)
        self._issued += 1
        token = sha256(f"{self.world.seed}:token:{self._issued}".encode()).hexdigest()
        self.tokens[token] = self.world.now + TOKEN_LIFE
        return answer(
            {"access_token": token, "expires_in": TOKEN_LIFE, "token_type": "Bearer", "scope": "openid"}
        )

    def _refusal(self, request: Request, service: str) -> Response | None:
        self.counts.add("provincial", service)
        token = request.headers.get("authorization", "").removeprefix("Bearer ")
        if self.tokens.get(token, -1) < self.world.now:
            return answer({"error": "invalid_token", "error_description": "Access token expired"}, 401)
        return None

    async def _search(self, request: Request) -> Response:
        if refusal := self._refusal(request, "search"):
            return refusal
        query = request.query_params
        try:
            number, size = int(query.get("page", "0")), int(query.get("size", "10"))
            removed = {int(each) for each in query.get("remove-status", "").split(",") if each}
            skip = int(query.get("sandbox-skip", "0"))  # faults.py: the newest rows, not there yet or no more
        except ValueError:
            return answer({"message": "page, size, remove-status: numbers"}, 400)
        if number < 0 or not 1 <= size <= MAX_SIZE:
            return answer({"message": f"page >= 0, 1 <= size <= {MAX_SIZE}"}, 400)
        if query.get("sort", "updatedDate,desc") != "updatedDate,desc":
            return answer({"message": "sort: only updatedDate,desc"}, 400)
        rows = self.world.listed()[skip:]
        agency = query.get("ancestor-agency-id")
        if removed.intersection(identifier for identifier, _ in STATUS.values()) or agency:
            rows = [row for row in rows if self._wanted(row, removed, agency)]
        pages = -(-len(rows) // size)
        content = [self._json(index, count) for _, index, count in rows[number * size : (number + 1) * size]]
        return answer(_page(content, number, size, len(rows), pages))

    def _wanted(self, row: tuple[int, int, int], removed: set[int], agency: str | None) -> bool:
        dossier = self.world.dossiers[row[1]]
        if agency and agency not in (dossier.unit.id, unit_by_code()[PROVINCE].id):
            return False
        return STATUS[copy_after(dossier, row[2]).status][0] not in removed

    def _json(self, index: int, count: int) -> msgspec.Raw:
        """A dossier's JSON, kept until its next event: a walk of all pages costs the encoding once."""
        kept = self._cache.get(index)
        if kept is None or kept[0] != count:
            dossier = self.world.dossiers[index]
            held = as_held(dossier, copy_after(dossier, count))
            kept = (count, msgspec.Raw(encode(_record(dossier, held))))
            self._cache[index] = kept
        return kept[1]

    async def _agency(self, request: Request) -> Response:
        if refusal := self._refusal(request, "agency"):
            return refusal
        unit = next((each for each in units() if each.id == request.path_params["id"]), None)
        return answer(_unit(unit)) if unit else answer({"message": "Không tìm thấy cơ quan"}, 404)

    async def _children(self, request: Request) -> Response:
        if refusal := self._refusal(request, "agency_children"):
            return refusal
        parent = request.query_params.get("parent-id", "")
        found = [_unit(unit) for unit in units() if unit.parent and unit_by_code()[unit.parent].id == parent]
        return answer(_page(found, 0, max(len(found), 1), len(found), 1))


def _page(content: Sequence[object], number: int, size: int, total: int, pages: int) -> object:
    return {
        "content": content,
        "number": number,
        "size": size,
        "numberOfElements": len(content),
        "totalElements": total,
        "totalPages": pages,
        "first": number == 0,
        "last": number >= pages - 1,
    }


def _named(name: str) -> list[dict[str, object]]:
    return [{"languageId": 228, "name": name}]


@cache
def _unit(unit: Unit) -> dict[str, object]:
    parent = unit_by_code().get(unit.parent)
    above = {"id": parent.id, "code": parent.code, "name": _named(parent.name)} if parent else None
    return {
        "id": unit.id,
        "code": unit.code,
        "name": _named(unit.name),
        "parent": above,
        "ancestors": [above] if above else [],
        "level": {"id": int(unit.level)},
        "place": {"code": unit.statistical_code} if unit.statistical_code else None,
    }


def _record(dossier: Dossier, copy: Copy) -> dict[str, object]:
    who, procedure, agency = applicant(dossier), copy.procedure, _unit(copy.unit)
    status, status_name = STATUS[copy.status]
    channel, channel_name = _CHANNELS[dossier.channel]
    last = dossier.events[0].officer if not copy.steps else None
    officer = last.name if last else copy.steps[-1].officer
    task = copy.steps[-1].content if copy.steps else "Chờ tiếp nhận"
    begun = copy.steps[-1].started_at if copy.steps else copy.submitted_at
    return {
        "id": object_id("dossier", copy.code),
        "code": dossier.local_code,
        "nationCode": copy.code,
        "procedure": {
            "id": object_id("procedure", procedure.code),
            "code": procedure.code,
            "translate": _named(procedure.name),
            "sector": {
                "id": object_id("sector", procedure.field_code),
                "code": procedure.field_code,
                "name": _named(procedure.field),
            },
        },
        "agency": agency,
        "applicant": {
            "eformId": object_id("eform", procedure.code),
            "userId": None,
            "data": {
                "fullname": who["name"],
                "ownerFullname": who["name"],
                "identityNumber": who["identity"],
                "phoneNumber": who["phone"],
                "email": who["email"],
                "organization": who["name"] if who["kind"] == "2" else "",
                "address": "Số 0, đường Mẫu",
            },
        },
        "dossierStatus": {"id": status, "name": _named(status_name)},
        "applyMethod": {"id": channel, "name": channel_name},
        "appliedDate": wire_utc(copy.submitted_at),
        "acceptedDate": wire_utc(copy.received_at),
        "appointmentDate": wire_utc(copy.due_at),
        "dueDate": wire_utc(copy.due_at),
        "completedDate": wire_utc(copy.finished_at),
        "returnedDate": wire_utc(copy.returned_at),
        "processingTime": procedure.duration,
        "processingTimeUnit": _DURATIONS[procedure.duration_unit],
        "undefindedCompleteTime": 0,
        "currentTask": [
            {
                "isCurrent": 1,
                "assignee": {"id": object_id("officer", f"{copy.unit.code}{officer}"), "fullname": officer},
                "agency": {"id": copy.unit.id, "name": agency["name"]},
                "createdDate": wire_utc(begun),
                "updatedDate": wire_utc(copy.updated_at),
                "bpmProcessDefinitionTask": {"name": task},
            }
        ],
        "createdDate": wire_utc(copy.submitted_at),
        "updatedDate": wire_utc(copy.updated_at),
    }
