"""The national portal (portals.md §1.2, §1.3, §1.8, §2): login, the integration and the share endpoint."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date, datetime
from hashlib import sha256

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from services.sandbox import features, messages
from services.sandbox.answers import answer, body
from services.sandbox.counting import Counts
from services.sandbox.decisions import is_listed, is_public, national_levels
from services.sandbox.facts import PROVINCE, Procedure, procedure_by_code, procedures, unit_by_code, units
from services.sandbox.workdays import ZONE, epoch, from_wire
from services.sandbox.world import World

Service = Callable[[World, dict[str, object]], dict[str, object]]
_LEVEL_CODES = {"province": ("1", "Cấp Tỉnh"), "commune": ("3", "Cấp Xã")}


class Refused(Exception):
    """A business error: HTTP 200 with this code and message."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code, self.message = code, message


class National:
    """One portal: its accounts, sessions and what is granted."""

    def __init__(
        self, world: World, counts: Counts, *, username: str, password: str, grant_list: bool
    ) -> None:
        self.world, self.counts = world, counts
        self.username, self.password, self.grant_list = username, password, grant_list
        self.sessions: set[str] = set()
        self._logins = 0

    def routes(self) -> list[Route]:
        return [
            Route("/login", self._login, methods=["POST"]),
            Route("/integration", self._integration, methods=["POST"]),
            Route("/share", self._share, methods=["POST"]),
        ]

    async def _login(self, request: Request) -> Response:
        sent = await body(request)
        self.counts.add("national", "login")
        if (sent.get("username"), sent.get("password")) != (self.username, self.password):
            return answer({"error_code": "-1", "message": "Sai tài khoản hoặc mật khẩu"})
        self._logins += 1
        session = sha256(f"{self.world.seed}:{self._logins}".encode()).hexdigest()[:32]
        self.sessions.add(session)
        return answer({"error_code": 0, "session": session})

    async def _integration(self, request: Request) -> Response:
        return await self._serve(request, _INTEGRATION)

    async def _share(self, request: Request) -> Response:
        return await self._serve(request, _SHARE)

    async def _serve(self, request: Request, services: dict[str, tuple[object, Service]]) -> Response:
        sent = await body(request)
        name = sent.get("service")
        known = name if isinstance(name, str) and name in services else ""
        self.counts.add("national", known or "unknown")
        try:
            if sent.get("session") not in self.sessions:
                raise Refused("-2", "Phiên làm việc không hợp lệ")
            if not known:
                raise Refused("-1", "Dịch vụ không được cung cấp tại địa chỉ này")
            if known == "DanhSachHoSo" and not self.grant_list:
                raise Refused("-3", "Đơn vị không được cấp quyền sử dụng dịch vụ này")
            zero, service = services[known]
            return answer({"error_code": zero, "message": ""} | service(self.world, sent))
        except Refused as refused:
            return answer({"error_code": refused.code, "message": refused.message})


def _text(sent: dict[str, object], key: str) -> str:
    value = sent.get(key)
    if not isinstance(value, str) or not value:
        raise Refused("-1", f"Thiếu tham số {key}")
    return value


def _look_up(world: World, sent: dict[str, object]) -> dict[str, object]:
    code = _text(sent, "mahoso")
    dossier = world.by_national_code.get(code)
    found = dossier is not None and world.on_national(dossier, world.now)
    return {"result": [{"MaHoSo": code}] if found else []}


def _list(world: World, sent: dict[str, object]) -> dict[str, object]:
    try:
        begin, end = from_wire(_text(sent, "ngayNhan1")), from_wire(_text(sent, "ngayNhan2"))
    except ValueError:
        raise Refused("-1", "ngayNhan1, ngayNhan2 phải có dạng yyyyMMddHHmmss") from None
    unit = sent.get("donViXuLy") or ""
    found = []
    for dossier in world.dossiers:
        if dossier.received_at is not None and begin <= dossier.received_at < end:
            copy = world.national(dossier, world.now)
            if copy is not None and unit in ("", copy.unit.name):
                found.append(messages.head(dossier, copy, with_applicant=False))
    return {"result": found}


def _procedures(world: World, sent: dict[str, object]) -> dict[str, object]:
    return {"result": [{"MATTHC": p.code, "TENTTHC": p.name} for p in procedures() if is_listed(p)]}


def _units(world: World, sent: dict[str, object]) -> dict[str, object]:
    return {
        "result": [
            {
                "MADONVI": unit.code,
                "TENDONVI": unit.name,
                "CAPDONVI": unit.level,
                "MADONVICHA": unit.parent,
                "GHICHU": "Mã tạm, chưa có mã chính thức" if unit.invented else "",
            }
            for unit in units()
        ]
    }


def _procedure(world: World, sent: dict[str, object]) -> dict[str, object]:
    procedure = procedure_by_code().get(_text(sent, "maTTHC"))
    if procedure is None or not is_listed(procedure):
        return {"message": "Không tìm thấy thủ tục", "result": []}
    return {"result": [_record(procedure)]}


def _decision(world: World, sent: dict[str, object]) -> dict[str, object]:
    asked = _text(sent, "idQDCB")
    numbers = {
        p.ministry_decision: features.decided_on(p.ministry_decision)
        for p in procedures()
        if p.ministry_decision and is_listed(p)
    }
    numbers |= dict(own for p in procedures() if is_listed(p) and (own := features.own_decision(p)))
    return {
        "result": [
            {
                "SOQUYETDINH": number,
                "NGAYQUYETDINH": f"{numbers[number]:%d/%m/%Y}",
                "TRICHYEU": "Về việc công bố thủ tục hành chính",
            }
            for number in sorted(numbers)
            if features.decision_id(number) == asked
        ]
    }


def _online_services(world: World, sent: dict[str, object]) -> dict[str, object]:
    """LayDVC: one service a public procedure that has one; the units that apply it, as codes."""
    rows = [
        {
            "MADVC": f"{procedure.code}.01",
            "TENDVC": procedure.name,
            "MATTHC": procedure.code,
            "TENTTHC": procedure.name,
            "TENCOQUANBANHANH": "",
            "TENLINHVUC": procedure.field,
            "APDUNGDVC": [
                {"MATTHC": procedure.code, "MACQTH": PROVINCE, "MUCDO": features.online_level(procedure)}
            ],
        }
        for procedure in procedures()
        if is_public(procedure) and features.online_level(procedure)
    ]
    return {"result": {"data": rows}}


def _record(procedure: Procedure) -> dict[str, object]:
    """The full record of LayThuTuc (portals.md §2)."""
    department = unit_by_code()[procedure.department]
    performers = {
        "province": {"MADONVI": "", "TENDONVI": department.name},
        "commune": {"MADONVI": "", "TENDONVI": "Ủy ban nhân dân cấp xã"},
    }
    own = features.own_decision(procedure)
    fees = [
        {
            "MAPHILEPHI": "2",
            "SOTIEN": f"{procedure.fee:,}".replace(",", ".") if procedure.fee else "Không",
            "DONVI": "Đồng" if procedure.fee else "",
            "MOTA": "",
            "URL": "",
            "TENTEP": "",
        }
    ]
    time = {
        "THOIGIANGIAIQUYET": str(procedure.duration),
        "DONVITINH": procedure.duration_unit,
        "MOTA": "Kể từ khi nhận đủ hồ sơ hợp lệ",
        "PHILEPHI": fees,
    }
    paper = {"SOBANCHINH": "1", "SOBANSAO": "0", "TENMAUDON": "", "URL": "", "MA_KQ_THAYTHE": ""}
    levels = national_levels(procedure)
    channels = ("1", "2", "3") if features.online_level(procedure) else ("1", "3")
    ministry = procedure.ministry_decision.rsplit("-", 1)[-1] if procedure.ministry_decision else ""
    decision = own[0] if own else procedure.ministry_decision
    number = procedure.code.replace(".", "")
    return {
        "ID": number,
        "MATTHC": procedure.code,
        "TENTTHC": procedure.name,
        "MACOQUANCONGBO": PROVINCE if own else ministry,
        "LOAITTHC": "2",
        "TRANGTHAI": "1" if is_public(procedure) else "0",
        "QUYETDINH": decision,
        "IDQUYETDINHCONGBO": features.decision_id(decision) if decision else "",
        "CAPTHUCHIEN": [{"CAPTHUCHIEN": c, "TENCAP": n} for c, n in (_LEVEL_CODES[each] for each in levels)],
        "LINHVUCTHUCHIEN": [{"MALINHVUC": procedure.field_code, "TENLINHVUC": procedure.field}],
        "TRINHTUTHUCHIEN": [
            {
                "TRUONGHOP": "",
                "TRINHTU": [
                    {"TENTRINHTU": "Nộp hồ sơ tại Bộ phận Một cửa, trực tuyến hoặc qua bưu chính"},
                    {"TENTRINHTU": "Cơ quan giải quyết tiếp nhận, kiểm tra và thẩm định hồ sơ"},
                    {"TENTRINHTU": "Nhận kết quả tại Bộ phận Một cửa, trực tuyến hoặc qua bưu chính"},
                ],
            }
        ]
        if features.is_complete(procedure)
        else [],
        "CACHTHUCTHUCHIEN": [{"KENH": channel, "THOIGIAN": [time]} for channel in channels],
        "DOITUONGTHUCHIEN": [
            {"MADOITUONG": str(n), "TENDOITUONG": name}
            for n, name in enumerate(features.subjects(procedure), 1)
        ],
        "THANHPHANHOSO": [
            {
                "TRUONGHOP": "Giấy tờ phải nộp",
                "GIAYTO": [{"MAGIAYTO": f"GT.{number}", "TENGIAYTO": "Đơn đề nghị theo mẫu"} | paper],
            }
        ],
        "KETQUATHUCHIEN": [
            {"MAKETQUA": f"KQ.{procedure.code}", "TENKETQUA": "Văn bản kết quả", "TENTEP": "", "URL": ""}
        ]
        if features.has_result(procedure)
        else [],
        "CANCUPHAPLY": [
            {
                "SOVANBAN": "118/2025/NĐ-CP",
                "TENVANBAN": "Nghị định về thực hiện thủ tục hành chính theo cơ chế một cửa",
                "COQUANBANHANH": "Chính phủ",
                "NGAYBANHANH": "09/06/2025",
                "NGAYHIEULUC": f"{features.takes_effect_on(procedure):%d/%m/%Y}",
                "DIACHITRUYCAP": "",
            }
        ],
        "COQUANTHUCHIEN": [performers[level] for level in levels],
        "COQUANCOTHAMQUYEN": [performers[level] for level in levels],
        "COQUANDUOCUYQUYEN": [],
        "COQUANPHOIHOP": [],
        "YEUCAU": "Không",
        "TUKHOA": "",
        "MOTA": "",
        "TTHCLIENQUAN": [],
        "TTHCLIENTHONG": [],
    } | _proposal(procedure)


def _proposal(procedure: Procedure) -> dict[str, object]:
    """As a stored detail record of the new portal has it (reporting-api.md §14): days as milliseconds; the decision's
    number stands in proposalNumber. Only of the province's own procedures, and not of each."""
    own, public_on = features.own_decision(procedure), features.public_on(procedure)
    if own is None or public_on is None or not features.tells_days(procedure):
        return {}
    told = {
        "proposalNumber": own[0],
        "decisionNumber": None,
        "issuingAgency": "Chủ tịch Ủy ban nhân dân tỉnh",
    }
    days = {"decisionDate": _milliseconds(own[1]), "publicationDate": _milliseconds(public_on)}
    return {"procedureProposal": told | days}


def _milliseconds(day: date) -> int:
    return 1000 * epoch(datetime(day.year, day.month, day.day, tzinfo=ZONE))


# What success looks like differs from service to service, as it does there: 0, "0" or "00".
_INTEGRATION: dict[str, tuple[object, Service]] = {
    "LayThuTuc": ("00", _procedure),
    "LayQDCB": ("0", _decision),
    "LayDVC": ("00", _online_services),
    "TraCuuHoSo": (0, _look_up),
    "DanhSachHoSo": ("0", _list),
}
_SHARE: dict[str, tuple[object, Service]] = {
    "LayDanhSachTTHC": ("0", _procedures),
    "LayDanhMucCoQuan": ("00", _units),
}
