"""Both protocols over a real socket."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import httpx
import pytest

from services.sandbox.facts import procedures, units
from services.sandbox.messages import head
from services.sandbox.world import World

SEARCH = "/provincial/pa/dossier/search"


def login(client: httpx.Client) -> str:
    said = client.post("/national/login", json={"username": "H31", "password": "sandbox"}).json()
    assert said["error_code"] == 0
    session = said["session"]
    assert isinstance(session, str)
    return session


def token(client: httpx.Client) -> dict[str, str]:
    form = {"grant_type": "client_credentials", "client_id": "chiso", "client_secret": "sandbox"}
    answer = client.post("/provincial/auth/realms/digo/protocol/openid-connect/token", data=form)
    assert answer.status_code == 200
    return {"authorization": f"Bearer {answer.json()['access_token']}"}


def call(client: httpx.Client, session: str, service: str, path: str = "integration", **more: str) -> Any:
    body = {"session": session, "madonvi": "H31", "service": service} | more
    answer = client.post(f"/national/{path}", json=body)
    assert answer.status_code == 200
    return answer.json()


def walk(client: httpx.Client, headers: dict[str, str], size: int) -> list[Any]:
    rows: list[Any] = []
    while True:
        query: dict[str, str | int] = {
            "page": len(rows) // size,
            "size": size,
            "sort": "updatedDate,desc",
            "remove-status": 18,
        }
        page = client.get(SEARCH, params=query, headers=headers).json()
        assert page["number"] == len(rows) // size
        assert page["totalPages"] == -(-page["totalElements"] // size)
        rows += page["content"]
        if page["last"]:
            assert len(rows) == page["totalElements"]
            return rows


def test_login_and_sessions(still_portals: httpx.Client) -> None:
    wrong = still_portals.post("/national/login", json={"username": "H31", "password": "?"}).json()
    assert wrong["error_code"] not in (0, "0", "00")
    assert "session" not in wrong
    unknown = call(still_portals, "nobody", "TraCuuHoSo", mahoso="x")
    assert unknown == {"error_code": "-2", "message": "Phiên làm việc không hợp lệ"}
    session = login(still_portals)
    assert (
        call(still_portals, session, "LayDanhSachTTHC")["error_code"] == "-1"
    )  # stands on the other endpoint
    assert call(still_portals, session, "TraCuuHoSo")["error_code"] == "-1"  # without a code
    for nonsense in (b"", b"[]", b"{", b"null"):
        assert still_portals.post("/national/share", content=nonsense).json()["error_code"] == "-2"


def test_procedures(still_portals: httpx.Client) -> None:
    session = login(still_portals)
    listed = call(still_portals, session, "LayDanhSachTTHC", "share")
    assert listed["error_code"] == "0"
    hidden = [p.code for p in procedures() if p.story == "missing_absent"]
    assert {row["MATTHC"] for row in listed["result"]} == {p.code for p in procedures()} - set(hidden)
    assert call(still_portals, session, "LayThuTuc", maTTHC=hidden[0])["result"] == []
    for procedure in procedures()[::20]:
        said = call(still_portals, session, "LayThuTuc", maTTHC=procedure.code)
        assert said["error_code"] == "00"
        if not said["result"]:
            continue
        record = said["result"][0]
        assert (record["MATTHC"], record["TENTTHC"]) == (procedure.code, procedure.name)
        time = record["CACHTHUCTHUCHIEN"][0]["THOIGIAN"][0]
        assert time["THOIGIANGIAIQUYET"] == str(procedure.duration)
        assert time["DONVITINH"] == procedure.duration_unit
        assert record["TRANGTHAI"] in ("0", "1")


def test_units(still_portals: httpx.Client) -> None:
    said = call(still_portals, login(still_portals), "LayDanhMucCoQuan", "share")
    assert said["error_code"] == "00"
    assert [row["MADONVI"] for row in said["result"]] == [unit.code for unit in units()]
    assert sum(bool(row["GHICHU"]) for row in said["result"]) == 6


def test_look_up_tells_what_the_nation_knows(still_portals: httpx.Client, still_world: World) -> None:
    session = login(still_portals)
    some = [*still_world.dossiers[:40], *(d for d in still_world.dossiers if d.kind.startswith("lost_"))][:60]
    for dossier in some:
        said = call(still_portals, session, "TraCuuHoSo", mahoso=dossier.code)
        shown = still_world.national(dossier, still_world.now)
        known = shown is not None and shown.code == dossier.code
        assert said["error_code"] == 0
        assert said["result"] == ([{"MaHoSo": dossier.code}] if known else [])
    assert call(still_portals, session, "TraCuuHoSo", mahoso="H31.1-260101-0001")["result"] == []


def test_the_list_is_refused_unless_granted(still_portals: httpx.Client) -> None:
    window = {"donViXuLy": "", "ngayNhan1": "20260901000000", "ngayNhan2": "20261001000000"}
    assert call(still_portals, login(still_portals), "DanhSachHoSo", **window) == {
        "error_code": "-3",
        "message": "Đơn vị không được cấp quyền sử dụng dịch vụ này",
    }


def test_the_granted_list(portals: httpx.Client, world: World) -> None:
    session = login(portals)
    halves = [("20260101000000", "20260901000000"), ("20260901000000", "20270101000000")]
    rows = []
    for begin, end in halves:
        rows += call(portals, session, "DanhSachHoSo", donViXuLy="", ngayNhan1=begin, ngayNhan2=end)["result"]
    copies = [(dossier, world.national(dossier, world.now)) for dossier in world.dossiers]
    expected = [head(dossier, copy, with_applicant=False) for dossier, copy in copies if copy is not None]
    assert sorted(rows, key=lambda row: row["MaHoSo"]) == sorted(expected, key=lambda row: str(row["MaHoSo"]))
    assert not any("ChuHoSo" in row or "MẪU" in str(row) for row in rows)
    wrong = call(portals, session, "DanhSachHoSo", donViXuLy="", ngayNhan1="1/9/2026", ngayNhan2="x")
    assert wrong["error_code"] == "-1"


def test_search_walks_all_pages_newest_first(still_portals: httpx.Client, still_world: World) -> None:
    rows = walk(still_portals, token(still_portals), 500)
    updated = [row["updatedDate"] for row in rows]
    assert updated == sorted(updated, reverse=True)
    codes = {row["nationCode"] for row in rows}
    assert len(codes) == len(rows)
    held = (dossier for dossier in still_world.dossiers if still_world.provincial(dossier, still_world.now))
    assert codes == {dossier.code for dossier in held}
    row = next(row for row in rows if row["completedDate"])
    copy = still_world.copies(row["nationCode"])["provincial"]
    assert copy is not None
    assert row["agency"]["code"] == copy.unit.code
    assert row["procedure"]["code"] == copy.procedure.code
    assert row["currentTask"][0]["assignee"]["fullname"]
    assert all(row["updatedDate"].endswith(".000+0000") for row in rows)


def test_search_filters_and_limits(portals: httpx.Client, world: World) -> None:
    headers = token(portals)
    rows = walk(portals, headers, 37)
    unit = rows[0]["agency"]
    mine = portals.get(SEARCH, params={"size": 500, "ancestor-agency-id": unit["id"]}, headers=headers).json()
    assert mine["totalElements"] == sum(row["agency"]["id"] == unit["id"] for row in rows)
    left = portals.get(SEARCH, params={"size": 500, "remove-status": "5,4"}, headers=headers).json()
    assert {row["dossierStatus"]["id"] for row in left["content"]}.isdisjoint({4, 5})
    for query in ({"size": 501}, {"page": -1}, {"size": "many"}, {"sort": "code,asc"}):
        assert portals.get(SEARCH, params=query, headers=headers).status_code == 400


def test_tokens_are_asked_for_and_expire(portals: httpx.Client, world: World) -> None:
    assert portals.get(SEARCH).status_code == 401
    assert portals.get(SEARCH, headers={"authorization": "Bearer x"}).status_code == 401
    form = {"grant_type": "client_credentials", "client_id": "chiso", "client_secret": "?"}
    wrong = portals.post("/provincial/auth/realms/digo/protocol/openid-connect/token", data=form)
    assert wrong.status_code == 401
    headers = token(portals)
    assert portals.get(SEARCH, headers=headers).status_code == 200
    later = (world.clock + timedelta(seconds=301)).isoformat()
    assert portals.post("/_sandbox/clock", json={"now": later}).status_code == 200
    assert portals.get(SEARCH, headers=headers).status_code == 401
    assert portals.get(SEARCH, headers=token(portals)).status_code == 200


def test_agencies(portals: httpx.Client) -> None:
    headers = token(portals)
    province = units()[0]
    found = portals.get(f"/provincial/ba/agency/{province.id}", headers=headers).json()
    assert found["code"] == "H31"
    query = {"parent-id": province.id}
    below = portals.get("/provincial/ba/agency/--by-parent-id", params=query, headers=headers).json()
    assert {each["code"] for each in below["content"]} == {unit.code for unit in units()[1:]}
    assert portals.get("/provincial/ba/agency/0", headers=headers).status_code == 404


def test_control(portals: httpx.Client, world: World) -> None:
    assert portals.get("/_sandbox/health").json() == {"status": "ok"}
    clock = portals.get("/_sandbox/clock").json()
    assert clock["now"] == clock["anchor"] == "2026-10-05T00:00:00+07:00"
    moved = portals.post("/_sandbox/clock", json={"now": "2026-10-07T09:30:00+07:00"})
    assert moved.json()["now"] == world.clock.isoformat() == "2026-10-07T09:30:00+07:00"
    for refused in ("2026-10-06T00:00:00+07:00", "2026-11-01T00:00:00+07:00"):
        answer = portals.post("/_sandbox/clock", json={"now": refused})
        assert answer.status_code == 409
        assert refused in answer.json()["message"]
    for unreadable in ("tomorrow", "2026-10-08T00:00:00", None):
        assert portals.post("/_sandbox/clock", json={"now": unreadable}).status_code == 400
    earlier = portals.get("/_sandbox/truth", params={"at": "2026-10-06T00:00:00+07:00"}).json()
    assert earlier["at"] == "2026-10-06T00:00:00+07:00"
    assert portals.get("/_sandbox/truth").json()["at"] == "2026-10-07T09:30:00+07:00"
    assert portals.get("/_sandbox/truth", params={"at": "soon"}).status_code == 400
    assert len(portals.get("/_sandbox/decisions").json()["items"]) >= 12
    assert portals.post("/_sandbox/push", json={"wait": True}).status_code == 409
    call(portals, "nobody", "TraCuuHoSo", mahoso="x")
    assert portals.get("/_sandbox/stats").json()["calls"]["national"] == {"TraCuuHoSo": 1}


@pytest.mark.parametrize("method", ["GET", "PUT"])
def test_other_methods_are_refused(still_portals: httpx.Client, method: str) -> None:
    assert still_portals.request(method, "/national/integration").status_code == 405
