"""Citizens' data stay outside: marked values pushed through every door are found nowhere afterwards — in no table, no
answer, no metric, no log of a service's process and none of PostgreSQL's."""

from __future__ import annotations

import asyncio
import json
import unicodedata
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote, quote_plus

import httpx
import pytest
from sqlalchemy import text
from sqlalchemy.engine import make_url
from sqlalchemy.ext.asyncio import AsyncEngine

from services.sandbox.messages import applicant
from services.sandbox.server import running
from shared.db import session_scope
from shared.identifiers import unit_name_key
from shared.vocabulary import Role
from tests import joined, make, portals, processes, sheets
from tests.conftest import Cluster
from tests.make import NOW
from tests.portals import Answer, Call, ok

MARKS = {
    "name": "NGUYỄN VĂN MẬT-7421",
    "identity": "033099007421",
    "phone": "0912007421",
    "email": "mat7421@example.vn",
    "address": "Số 7421 đường Bí Mật",
}
CONTROL = "UBND phường Đối Chứng"
"""In a field that is taken: where this is not found, the search finds nothing at all."""
OFFICER = "Trần Thị Cán Bộ"


def forms(mark: str) -> set[str]:
    """How a text may stand in what is searched: as it is, without case or marks, escaped, encoded, as bytes."""
    plain = {mark, unicodedata.normalize("NFD", mark), mark.replace(" ", ""), mark.replace(" ", "-")}
    plain |= {each.casefold() for each in plain} | {unit_name_key(mark)}
    found = set(plain)
    for each in plain:
        found |= {
            json.dumps(each)[1:-1],
            quote(each),
            quote_plus(each),
            each.encode().hex(),
            ascii(each)[1:-1],
        }
    return found


def present(mark: str, where: str) -> bool:
    return any(form in where for form in forms(mark))


def around(mark: str, where: str) -> str:
    """Where a mark was found, for whoever has to find the leak."""
    start = next((where.find(form) for form in forms(mark) if form in where), 0)
    return where[max(start - 300, 0) : start + 100]


def dossier(serial: int, **fields: Any) -> dict[str, Any]:
    return {
        "code": f"H31.135-260803-{serial:04d}",
        "procedure_code": "1.001612",
        "unit_code": "H31.135",
        "unit_name": CONTROL,
        "status": 4,
        "received_at": "2026-08-03T09:30:00+07:00",
        "due_at": "2026-08-06T17:00:00+07:00",
        "updated_at": "2026-08-03T10:00:00+07:00",
        "steps": [{"occurred_at": "2026-08-03T09:30:00+07:00", "status": 2, "officer": OFFICER}],
    } | fields


def pushed() -> Iterator[Any]:
    """Items of POST /v1/dossiers with marks in every place that is not one for a unit's or an official's name."""
    serials = iter(range(1, 10_000))
    nested = {"who": [MARKS, {"deep": list(MARKS.values())}]}
    yield dossier(next(serials), applicant=MARKS, note=list(MARKS.values()), nested=nested)
    yield dossier(next(serials), steps=[{"occurred_at": "2026-08-03T10:00:00+07:00", "status": 4, **MARKS}])
    yield dossier(
        next(serials), supplements=[{"requested_at": "2026-08-04T10:00:00+07:00", "content": MARKS["name"]}]
    )
    for mark in MARKS.values():
        yield dossier(next(serials), **{mark: mark})
        yield dossier(next(serials), facts={"vneid": mark, mark: mark})
        yield dossier(next(serials), facts={"vneid": True, mark: mark}, status="x")
        for field in (
            "portal",
            "procedure_code",
            "status",
            "cancelled",
            "channel",
            "submitted_at",
            "received_at",
            "due_at",
            "finished_at",
            "returned_at",
            "rejected_at",
            "updated_at",
            "supplements",
            "facts",
            "steps",
        ):
            yield dossier(next(serials), **{field: mark})
            yield dossier(next(serials), **{field: {mark: [mark]}})
            yield dossier(next(serials), **{field: [mark]})
        for field in ("code", "unit_code", "unit_name"):
            yield dossier(next(serials), **{field: [mark]})
            yield dossier(next(serials), **{field: {"v": mark}})
            yield dossier(next(serials), **{field: f"{mark}\x00"})
            yield dossier(next(serials), **{field: "\ud800" + mark})
            yield dossier(next(serials), **{field: f"UBND {mark}", "status": "x"})
        yield dossier(next(serials), code=mark * 40)
        yield dossier(next(serials), supplements=[{"requested_at": mark}])
        yield dossier(next(serials), supplements=[mark])
        for field in ("occurred_at", "status", "started_at"):
            yield dossier(next(serials), steps=[{field: mark}])
        for field in ("officer", "officer_title"):
            step = {"occurred_at": "2026-08-03T10:00:00+07:00", "status": 4}
            yield dossier(next(serials), steps=[step | {field: f"{mark}\x00"}])
            yield dossier(next(serials), steps=[step | {field: [mark]}])
        yield mark
        yield [mark]
    yield dossier(next(serials), status=int(MARKS["identity"]))
    yield dossier(next(serials), channel=int(MARKS["phone"]), procedure_code=float(MARKS["identity"]))


def broken(good: bytes) -> Iterator[bytes]:
    """Lines that are no JSON."""
    for mark in MARKS.values():
        yield f'{{"code": "H31.135-260803-8000", "name": "{mark}'.encode()
        yield f"{mark};{mark};{mark}".encode()
        yield good + mark.encode()
        yield f'{{"code": "{mark}\\'.encode()
        yield b"\xff\xfe" + mark.encode("utf-16")
        yield f'{{"code": {mark}}}'.encode()


def message(serial: int, **fields: Any) -> dict[str, Any]:
    """A DongBoHoSoMC item whose forbidden fields all hold marks (portals.md §1.4)."""
    name, identity, phone, email, address = MARKS.values()
    link = f"https://tep.example.vn/{quote(name)}/{identity}.pdf"
    every = " ".join(MARKS.values())
    return {
        "MaHoSo": f"H31.135-260803-{serial:04d}",
        "MaTTHC": "1.001612",
        "TrangThaiHoSo": "4",
        "KenhThucHien": "1",
        "DonViXuLy": CONTROL,
        "NgayTiepNhan": "20260803093000",
        "NgayHenTra": "20260806170000",
        "TenTTHC": every,
        "TenLinhVuc": every,
        "ChuHoSo": name,
        "SoGiayToChuHoSo": identity,
        "DinhDanhCHS": [{"LoaiDinhDanh": "1", "SoDinhDanh": identity}],
        "MaDoiTuong": identity,
        "Email": email,
        "Fax": phone,
        "SoDienThoai": phone,
        "DiaChi": address,
        "ThongTinKhac": every,
        "LoaiDoiTuong": every,
        "TrichYeuHoSo": every,
        "GhiChu": every,
        "ThongTinTra": every,
        "DSKetNoiCSDL": [{"MaCSDL": every}],
        "TaiLieuNop": [
            {
                "TepDinhKemId": every,
                "TenTepDinhKem": f"{name}.pdf",
                "DuongDanTaiTepTin": link,
                "DuocSoHoa": "1",
            }
        ],
        "DanhSachLePhi": [{"TenPhiLePhi": every, "Gia": identity}],
        "DanhSachHoSoBoSung": [
            {
                "HoSoBoSungId": identity,
                "NguoiYeuCauBoSung": name,
                "NoiDungBoSung": every,
                "NgayBoSung": "20260804100000",
                "NguoiTiepNhanBoSung": name,
                "ThongTinTiepNhan": every,
                "DanhSachGiayToBoSung": [{"TenGiayTo": every, "DuongDanTepTin": link}],
            }
        ],
        "DanhSachGiayToKetQua": [
            {
                "TenGiayTo": f"{name}.pdf",
                "GiayToId": identity,
                "DuongDanTepTinKetQua": link,
                "MaGiayToKetQua": every,
            }
        ],
        "DanhSachTepDinhKemKhac": [{"TenGiayTo": every, "SoLuong": every}],
        name: every,
    } | fields


def messages(serial: int) -> list[Any]:
    """Good items, and items refused for each field that is read."""
    items: list[Any] = [message(serial)]
    for mark in MARKS.values():
        for field in (
            "MaTTHC",
            "TrangThaiHoSo",
            "KenhThucHien",
            "NgayNopHoSo",
            "NgayTiepNhan",
            "NgayHenTra",
            "NgayKetThucXuLy",
            "NgayTra",
            "NgayTuChoi",
            "DanhSachHoSoBoSung",
            "HoSoCoThanhPhanSoHoa",
            "TaiKhoanDuocXacThucVoiVNeID",
            "DuocThanhToanTrucTuyen",
            "DSKetNoiCSDL",
            "TaiLieuNop",
            "DanhSachLePhi",
            "DanhSachGiayToKetQua",
        ):
            items += [message(serial + len(items), **{field: bad}) for bad in (mark, [mark], {mark: mark})]
        items.append(message(serial + len(items), DanhSachHoSoBoSung=[{"NgayBoSung": mark}]))
        for told in facts(mark):
            items.append(message(serial + len(items), **told))
            items.append(message(serial + len(items), **told, TrangThaiHoSo="x"))
        items.append(message(serial + len(items), MaHoSo=f"{mark}\x00"))
        items.append(message(serial + len(items), MaHoSo=mark * 20))
        items.append(message(serial + len(items), DonViXuLy=f"{mark}\x00"))
        items.append(message(serial + len(items), DonViXuLy=f"UBND {mark}", TrangThaiHoSo="x"))
        items += [mark, [mark]]
    return items


def facts(mark: str) -> Iterator[dict[str, Any]]:
    """Links, names of files and codes that hold a mark: taken, and refused for a value of their own."""
    link = f"https://tep.example.vn/{mark}/{quote(mark)}"
    component = {
        "TepDinhKemId": mark,
        "TenTepDinhKem": f"{mark}.pdf",
        "MaThanhPhanHoSo": mark,
        "MaKetQuaThayThe": mark,
        "DuongDanTaiTepTin": link,
    }
    for flags in ({}, {"DuocSoHoa": mark}, {"IsDeleted": [mark]}, {"DuocTaiSuDung": "9"}, {"DuocSoHoa": "1"}):
        yield {"TaiLieuNop": [component | flags, component | {"DuongDanTaiTepTin": mark}]}
    for same in (link, mark, [link]):
        result = {"TenGiayTo": mark, "DuongDanTepTinKetQua": same, "MaGiayToKetQua": mark, "GiayToId": mark}
        yield {"TaiLieuNop": [component], "DanhSachGiayToKetQua": [result, {mark: mark}]}
    yield {"DanhSachLePhi": [{"TenPhiLePhi": mark, "Gia": "50.000"}, {"Gia": mark}]}
    yield {"DSKetNoiCSDL": [{"MaCSDL": mark, mark: mark}]}


def steps() -> list[Any]:
    """CapNhatTienDoHoSoMC (portals.md §1.5)."""
    every = " ".join(MARKS.values())
    good = {
        "MaHoSo": "H31.135-260803-9000",
        "NguoiXuLy": OFFICER,
        "ChucDanh": "Công chức",
        "ThoiDiemXuLy": "20260803100000",
        "PhongBanXuLy": every,
        "NoiDungXuLy": every,
        "TrangThai": "4",
        "NgayKetThucTheoQuyDinh": every,
        "ChuHoSo": every,
    }
    items: list[Any] = [good]
    for mark in MARKS.values():
        for field in ("ThoiDiemXuLy", "TrangThai", "NgayBatDau"):
            items += [good | {field: bad} for bad in (mark, [mark], {mark: mark})]
        items += [
            good | {"NguoiXuLy": f"{mark}\x00"},
            good | {"ChucDanh": [mark]},
            good | {"MaHoSo": mark * 20},
        ]
    return items


def petitions() -> Iterator[Any]:
    """Items of POST /v1/petitions with marks in every place that is not one for a unit's name."""
    serials = iter(range(1, 10_000))

    def item(**fields: Any) -> dict[str, Any]:
        return {
            "code": f"PAKN.20260803.{next(serials):04d}",
            "kind": "tthc",
            "unit_name": CONTROL,
            "sent_at": "2026-08-03T09:30:00+07:00",
        } | fields

    yield item(sender=MARKS, content=list(MARKS.values()))
    for mark in MARKS.values():
        yield item(**{mark: mark})
        for field in item():
            yield item(**{field: [mark]})
            yield item(**{field: {mark: mark}})
        for field in (
            "code",
            "kind",
            "dossier_code",
            "repeats_code",
            "likes",
            "dislikes",
            "received_at",
            "updated_at",
        ):
            yield item(**{field: mark})
            yield item(**{field: f"{mark}\x00"})
            yield item(**{field: mark * 40})
        yield item(unit_name=f"UBND {mark}", kind="x")
        yield mark


def ratings() -> list[Any]:
    """DongBoDanhGia (portals.md §1.3)."""
    good = {
        "NgayTongHop": "8-2026",
        "TongSoNguoiDanhGia": "3",
        "PhanTramDanhGia": {"RatHaiLong": "100"},
        "MaThuTuc": "1.001612",
        "Madonvi": "H31.135",
        "TenDonVi": CONTROL,
    }
    items: list[Any] = [good | {"NguoiDanhGia": MARKS, "YKien": MARKS["name"]}]
    for mark in MARKS.values():
        items += [good | {field: bad} for field in good for bad in ([mark], {mark: mark}, f"{mark}\x00")]
        items += [
            good | {field: mark}
            for field in ("NgayTongHop", "TongSoNguoiDanhGia", "PhanTramDanhGia", "MaThuTuc")
        ]
        items += [good | {"PhanTramDanhGia": {"HaiLong": mark}}, good | {"TenDonVi": mark}, mark]
    return items


class Doors:
    """What is sent to the API, and everything that it says."""

    def __init__(self, http: httpx.AsyncClient, admin: tuple[str, str]) -> None:
        self.http, (self.key_id, self.key) = http, admin
        self.said: list[str] = []
        self.statuses: dict[str, set[int]] = {}

    async def send(self, method: str, path: str, **sent: Any) -> httpx.Response:
        headers = {"X-API-Key": self.key} | sent.pop("headers", {})
        answer = await self.http.request(method, path, headers=headers, **sent)
        self.said += [answer.text, repr(answer.headers)]
        self.statuses.setdefault(path.partition("?")[0], set()).add(answer.status_code)
        assert answer.status_code != 500, (path, answer.text)
        return answer


async def push(doors: Doors) -> None:
    items = list(pushed())
    as_json = [json.dumps(item).encode() for item in items]
    readable = [
        item for item in as_json if rb"\ud800" not in item
    ]  # half a character is no JSON: the array is refused
    for start in range(0, len(readable), 50):
        body = b"[" + b",".join(readable[start : start + 50]) + b"]"
        answer = await doors.send("POST", "/v1/dossiers", content=body)
        assert answer.status_code == 200, answer.text
    for line in (*broken(as_json[0]), *(item for item in as_json if item not in readable)):
        await doors.send("POST", "/v1/dossiers", content=b"[" + line + b"]")
    lines = [*as_json, *broken(as_json[0]), MARKS["name"].encode() * 60_000]
    ndjson = {"Content-Type": "application/x-ndjson"}
    answer = await doors.send("POST", "/v1/dossiers", content=b"\n".join(lines), headers=ndjson)
    counts = json.loads(answer.text.splitlines()[-1])["counts"]
    assert counts["rejected"] > 100
    # As text, not escaped.
    raw = [json.dumps(item, ensure_ascii=False).encode(errors="surrogatepass") for item in items]
    await doors.send("POST", "/v1/dossiers", content=b"\n".join(raw), headers=ndjson)


async def complain(doors: Doors) -> None:
    answer = await doors.send("POST", "/v1/petitions", json=list(petitions()))
    assert answer.json()["counts"]["accepted"] > 0
    assert answer.json()["counts"]["rejected"] > 100
    for line in broken(b"{}"):
        await doors.send("POST", "/v1/petitions", content=b"[" + line + b"]")


async def integrate(doors: Doors) -> None:
    async def call(path: str, content: Any) -> httpx.Response:
        body = content if isinstance(content, bytes) else json.dumps(content).encode()
        return await doors.send("POST", f"/dvcqg/{path}", content=body)

    for mark in MARKS.values():
        await call("login", {"username": mark, "password": mark})
        await call("login", f'{{"username": "{mark}'.encode())
        await call("login", [mark])
    session = (await call("login", {"username": doors.key_id, "password": doors.key})).json()["session"]
    for service, data in (
        ("DongBoHoSoMC", messages(9000)),
        ("CapNhatTienDoHoSoMC", steps()),
        ("DongBoDanhGia", ratings()),
    ):
        asked = {"session": session, "service": service, "isUpdating": "True", "data": data}
        assert (await call("integration", asked)).json()["error_code"] == "-1", (
            "some are stored, most refused"
        )
        await call("integration", asked | {"isUpdating": "False", "data": data[:1]})
        for mark in MARKS.values():
            for wrong in (
                {"data": mark},
                {"data": {mark: mark}},
                {"isUpdating": mark},
                {"service": mark},
                {"session": mark},
                {mark: mark},
                {"madonvi": mark, "data": []},
            ):
                await call("integration", asked | wrong)
            await call("integration", json.dumps(asked).encode()[:-3] + mark.encode())
    for mark in MARKS.values():
        await call("integration", {"session": session, "service": "TraCuuHoSo", "mahoso": mark})


async def upload(doors: Doors) -> None:
    """Columns about the applicant, cells of refused rows, a file's name, fields of the form."""
    name, identity, *_ = MARKS.values()
    every = " ".join(MARKS.values())
    rows = sheets.month("2026-08", 6)
    private = {"Chủ hồ sơ": name, "Số giấy tờ": identity, "Địa chỉ": every, "Cột của riêng tệp này": every}
    rows[0] = sheets.dossier(0, "2026-08", **private)
    for n, field in enumerate(("Trạng thái", "Ngày tiếp nhận", "Mã TTHC"), 1):
        rows[n] = sheets.dossier(n, "2026-08", **private, **{field: every})
    for kind in ("dossiers", "units", "predecessors", "procedures"):
        for content in (sheets.xlsx(rows), sheets.text(rows), every.encode(), b"PK\x03\x04" + every.encode()):
            for dry in ("true", "false"):
                answer = await doors.send(
                    "POST",
                    "/v1/imports",
                    files={"file": (f"{name} {identity}.xlsx", content)},
                    data={"kind": kind, "dry_run": dry},
                )
                while answer.status_code in (200, 202) and answer.json().get("state") in (
                    "queued",
                    "running",
                ):
                    await asyncio.sleep(0.05)
                    answer = await doors.send("GET", f"/v1/imports/{answer.json()['id']}")
    form = {"kind": every, every: every, "period": every, "exported_at": every, "portal": every}
    await doors.send("POST", "/v1/imports", files={every: (every, b"x")}, data=form)
    await doors.send("POST", "/v1/imports", files={"file": (every, sheets.xlsx(rows))}, data=form)


async def ask(doors: Doors) -> None:
    """Decisions with more than they should hold, queries and headers, then every list that the API has."""
    decision = joined.DECISION
    rows = [row | MARKS | {"note": list(MARKS.values())} for row in decision["rows"]]
    await doors.send("POST", "/v1/decisions", json=decision | MARKS | {"rows": rows, MARKS["name"]: MARKS})
    await doors.send("POST", "/v1/decisions", json=decision)
    paths = (await doors.send("GET", "/openapi.json")).json()["paths"]
    plain = [path for path, methods in paths.items() if "get" in methods and "{" not in path]
    for mark in MARKS.values():
        headers = {
            "User-Agent": quote(mark),
            "Referer": f"https://x.vn/{quote(mark)}",
            "X-Citizen": quote(mark),
        }
        for path in plain:
            for name in ("unit", "cursor", mark):
                await doors.send("GET", path, params={name: mark}, headers=headers)
        await doors.send("GET", "/v1/findings", headers={"X-API-Key": quote(mark)})
        await doors.send("GET", "/v1/findings", headers={"Authorization": f"Bearer {quote(mark)}"})
        for path, methods in paths.items():
            for method in methods:
                if "{" in path and "unit-aliases" not in path:
                    filled = "/".join(quote(mark) if part[:1] == "{" else part for part in path.split("/"))
                    await doors.send(method.upper(), filled)
        await doors.send("GET", f"/{quote(mark)}?{quote(mark)}")
        await doors.send("POST", "/v1/sync-runs", json={"portal": mark, "subject": mark, mark: mark})
        await doors.send(
            "PUT", "/v1/unit-aliases/x", json={mark: mark, "unit_code": [mark], "valid_from": mark}
        )
    for n in range(1, 40):
        await doors.send("POST", f"/v1/quarantine/{n}/replay")
    for path in plain:
        following: str | None = None
        while True:
            answer = await doors.send("GET", path, params={"cursor": following} if following else {})
            kind = answer.headers["Content-Type"]
            following = answer.json().get("next") if kind.startswith("application/json") else None
            if not following:
                break
        await doors.send("GET", path, headers={"Accept": "text/csv"})


async def without_database(cluster: Cluster, database: str, doors: Doors) -> None:
    """What is said, and logged, of a request that the database does not serve."""
    name = make_url(database).database
    await cluster.statement(f"ALTER DATABASE {name} CONNECTION LIMIT 0")
    await cluster.statement(
        f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'"
    )
    for mark in MARKS.values():
        for path in ("dossiers", "findings", "decisions", "unit-aliases"):
            await doors.send("GET", f"/v1/{path}/{quote(mark)}", params={"unit": mark})
        await doors.send("POST", "/v1/dossiers", json=[dossier(1, note=mark)])
        await doors.send("PUT", f"/v1/unit-aliases/{quote(mark)}", json={"unit_code": "H31.135"})
        await doors.send("POST", "/dvcqg/login", json={"username": mark, "password": mark})
    await cluster.statement(f"ALTER DATABASE {name} CONNECTION LIMIT -1")
    assert doors.statuses["/v1/dossiers"] >= {200, 503}


async def raw(url: str) -> str:
    """What is no HTTP at all."""
    host, _, port = url.removeprefix("http://").partition(":")
    said = b""
    for mark in MARKS.values():
        for sent in (
            f"GET /{mark} HTTP/1.1\r\n\r\n",
            f"{mark}\r\n\r\n",
            f"POST / HTTP/1.1\r\n{mark}\r\n\r\n",
        ):
            reader, writer = await asyncio.open_connection(host, int(port))
            writer.write(sent.encode())
            writer.write_eof()
            said += await reader.read()
            writer.close()
            await writer.wait_closed()
    return said.decode(errors="replace")


def province() -> portals.Province:
    """iGate with marks in all fields that nobody asked for, and in those that it should fill otherwise."""
    name, identity, phone, email, address = MARKS.values()
    every = " ".join(MARKS.values())
    person = {
        "fullname": name,
        "identityNumber": identity,
        "phoneNumber": phone,
        "email": email,
        "address": address,
    }
    task = {
        "isCurrent": 1,
        "assignee": {"id": "5c", "fullname": OFFICER},
        "bpmProcessDefinitionTask": {"name": every},
    }
    common: dict[str, Any] = {
        "applicant": {"userId": identity, "data": person | {"ownerFullname": name, "organization": every}},
        "code": every,
        "description": every,
        "attachment": [{"filename": f"{name}.pdf", "url": f"https://x.vn/{identity}"}],
        "accepter": person,
        every: every,
        "currentTask": [task],
    }
    rows = [portals.igate("H31.135-260803-7000") | common]
    for mark in MARKS.values():
        for field in (
            "dossierStatus",
            "applyMethod",
            "procedure",
            "appliedDate",
            "acceptedDate",
            "appointmentDate",
            "completedDate",
            "returnedDate",
            "currentTask",
            "agency",
        ):
            for wrong in (mark, {"id": mark, "code": [mark], "name": {mark: mark}}, [mark]):
                rows.append(portals.igate(f"H31.135-260803-{7000 + len(rows)}") | common | {field: wrong})
        rows.append(portals.igate(mark * 20) | common)
    return portals.Province(rows)


def nation(call: Call) -> Answer:
    if call.path.endswith("/login"):
        return ok({"error_code": 0, "session": "s"})
    if call.json.get("service") == "DanhSachHoSo":
        in_window = call.json["ngayNhan1"] <= "20260803093000" < call.json["ngayNhan2"]
        return ok({"error_code": "0", "result": messages(6000) if in_window else []})
    return ok({"error_code": "-1", "message": " ".join(MARKS.values())})


async def sync(folder: Path, env: dict[str, str], portal: str, subject: str) -> str:
    """`chiso sync` in a process of its own; what it said."""
    process = processes.Process("sync", [*processes.CHISO, "sync", portal, subject], env, folder)
    before = len(process.said())
    with processes.killed_at_end(process):
        process.start()
        await asyncio.to_thread(process.wait)
    return process.said()[before:]


async def tables(engine: AsyncEngine) -> dict[str, str]:
    """Every table as text."""
    async with session_scope(engine) as session:
        names = await session.scalars(text("SELECT tablename FROM pg_tables WHERE schemaname = 'public'"))
        return {
            name: "\n".join(await session.scalars(text(f"SELECT t::text FROM {name} t")))
            for name in names.all()
        }


@pytest.fixture
async def keys(engine: AsyncEngine) -> tuple[str, str]:
    async with session_scope(engine) as session:
        await make.units(session)
        await make.procedure(session)
    return await joined.key(engine, Role.ADMIN)


async def test_marked_values_are_found_nowhere(
    cluster: Cluster, engine: AsyncEngine, database: str, keys: tuple[str, str], tmp_path: Path
) -> None:
    env = {
        "DATABASE_URL": database,
        "CHISO_NOW": NOW.isoformat(),
        "LOG_LEVEL": "DEBUG",
        "NATIONAL_LIST": "true",
        "NATIONAL_USERNAME": "H31",
        "NATIONAL_PASSWORD": "sandbox",
        "PROVINCIAL_CLIENT_ID": "chiso",
        "PROVINCIAL_CLIENT_SECRET": "sandbox",
    }
    world = portals.world(60)
    port = processes.free_port()
    url = f"http://127.0.0.1:{port}"
    api = processes.api(env, tmp_path, port)
    with processes.killed_at_end(api):
        api.start()
        await processes.answering(api, url)
        async with httpx.AsyncClient(base_url=url, trust_env=False, timeout=60) as http:
            doors = Doors(http, keys)
            await push(doors)
            await complain(doors)
            await integrate(doors)
            await upload(doors)
            with running(world) as sandbox:
                said = await sync(tmp_path, env | _portals(sandbox), "provincial", "dossiers")
                assert "done" in said, said
            async with portals.serving(province()) as there, portals.serving(nation) as nationwide:
                asked = env | {"PROVINCIAL_URL": there, "NATIONAL_URL": nationwide}
                for portal, subject in (
                    ("provincial", "dossiers"),
                    ("national", "dossiers"),
                    ("national", "lookups"),
                    ("national", "units"),
                    ("provincial", "units"),
                ):
                    await sync(tmp_path, asked, portal, subject)
            await joined.work(engine)
            await ask(doors)
            await without_database(cluster, database, doors)
        broken_http = await raw(url)
        api.signal(15)
        await asyncio.to_thread(api.wait)

    rows = await tables(engine)
    assert CONTROL in rows["dossier"], "what is taken is found"
    assert OFFICER in rows["dossier_step"]
    assert "H31.135-260803-7000" in rows["dossier"], "the hand-made province was read"
    doors_of_refusals = ("dossiers", "petitions", "ratings", "dvcqg", "pull", "list")
    assert all(door in rows["quarantine"] for door in doors_of_refusals), "each door refused some"
    assert CONTROL in rows["petition"]
    assert "H31.135" in rows["citizen_rating"]
    assert "route=/v1/dossiers" in api.said(), "the API's log is its log"
    places = {f"table {name}": content for name, content in rows.items()} | {
        "answers": "\n".join(doors.said),
        "answers to what is no HTTP": broken_http,
        "log of the API": api.said(),
        "log of chiso sync": (tmp_path / "sync.log").read_text(errors="replace"),
        "log of PostgreSQL": (cluster.server.data_dir / "postgres.log").read_text(errors="replace"),
    }
    assert all(places[name] for name in places if name.startswith("log")), "a log that is empty shows nothing"
    invented = [applicant(each) for each in world.dossiers]
    theirs = {who[field] for who in invented for field in ("name", "identity", "phone", "email")}
    leaks = [
        (place, mark, around(mark, content))
        for place, content in places.items()
        for mark in [*MARKS.values(), "007421", "ật-7421", "7421 đường"]
        if present(mark, content)
    ]
    leaks += [
        (place, mark, around(mark, content))
        for place, content in places.items()
        for mark in theirs
        if mark in content
    ]
    assert not leaks, "\n".join(map(str, leaks))


def _portals(url: str) -> dict[str, str]:
    return {"PROVINCIAL_URL": f"{url}/provincial", "NATIONAL_URL": f"{url}/national"}


@pytest.mark.parametrize("mark", MARKS.values())
def test_the_search_finds_a_mark_in_any_form(mark: str) -> None:
    for hidden in (
        f"({mark},1)",
        json.dumps({"x": mark}),
        f"/v1/x?q={quote_plus(mark)}",
        repr(mark.encode("utf-8").hex()),
        mark.lower(),
        unicodedata.normalize("NFD", mark),
    ):
        assert present(mark, hidden)
    assert not present(mark, CONTROL)
