"""/dvcqg as the national portal's clients call it (portals.md §1.2, §1.7, §1.8)."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import httpx
import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from services.ingest import dvcqg
from shared import access
from shared.app import create_app
from shared.db import session_scope
from shared.models import Record
from shared.settings import Settings
from shared.vocabulary import Role
from tests import joined
from tests.conftest import Cluster
from tests.make import CODE, NOW

SECRET = "NGUYỄN THỊ BÍ MẬT 0912345678 033085001234"
MARKS = ("BÍ MẬT", "0912345678", "033085001234")
FORM: dict[str, Any] = {
    "MaHoSo": CODE,
    "MaTTHC": "1.001612",
    "TenTTHC": "Đăng ký thành lập hộ kinh doanh",
    "MaLinhVuc": "G12-LV08",
    "TenLinhVuc": "Thành lập hộ kinh doanh",
    "LoaiDoiTuong": "1",
    "NgayNopHoSo": "20260803080000",
    "NgayTiepNhan": "20260803093000",
    "NgayHenTra": "20260806170000",
    "NgayKetThucXuLy": "",
    "NgayTra": "",
    "NgayTuChoi": "",
    "TrangThaiHoSo": "4",
    "KenhThucHien": "1",
    "HinhThuc": "0",
    "DonViXuLy": "UBND phường Phố Hiến",
    "DanhSachHoSoBoSung": [],
}
STEP: dict[str, Any] = {
    "MaHoSo": CODE,
    "NguoiXuLy": "Trần Thị Mẫu",
    "ChucDanh": "Công chức Bộ phận Một cửa",
    "ThoiDiemXuLy": "20260803093000",
    "PhongBanXuLy": "Bộ phận Một cửa",
    "NoiDungXuLy": "Tiếp nhận",
    "TrangThai": "2",
    "NgayBatDau": "20260803093000",
    "NgayKetThucTheoQuyDinh": "20260806170000",
}


def form(number: int | None = None, **fields: Any) -> dict[str, Any]:
    return FORM | ({} if number is None else {"MaHoSo": f"H31.135-260803-{number:04d}"}) | fields


@dataclass
class Portal:
    """What a client has: an address, an account, a session."""

    http: httpx.AsyncClient
    key_id: str
    key: str
    session: str = ""

    async def post(self, path: str, body: Any) -> dict[str, Any]:
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        answer = await self.http.post(f"/dvcqg/{path}", content=content)
        assert answer.status_code == 200, answer.text
        assert answer.headers["content-type"] == "application/json"
        envelope: dict[str, Any] = answer.json()
        assert "error_code" in envelope
        assert isinstance(envelope["message"], str)
        return envelope

    async def login(self) -> dict[str, Any]:
        envelope = await self.post("login", {"username": self.key_id, "password": self.key})
        self.session = envelope.get("session", "")
        return envelope

    async def call(self, service: str, **more: Any) -> dict[str, Any]:
        body = {"session": self.session, "madonvi": "H31", "service": service, **more}
        return await self.post("integration", body)

    async def send(self, *data: Any, updating: Any = "False") -> dict[str, Any]:
        return await self.call("DongBoHoSoMC", isUpdating=updating, data=list(data))

    async def steps(self, *data: Any) -> dict[str, Any]:
        return await self.call("CapNhatTienDoHoSoMC", data=list(data))

    async def there(self, code: str = CODE) -> list[Any]:
        envelope = await self.call("TraCuuHoSo", mahoso=code)
        assert envelope["error_code"] == "0"
        found: list[Any] = envelope["result"]
        return found


@pytest.fixture(scope="module")
async def home(cluster: Cluster) -> AsyncIterator[tuple[AsyncEngine, Settings]]:
    async with joined.own_database(cluster) as made:
        yield made


@pytest.fixture
async def engine(home: tuple[AsyncEngine, Settings]) -> AsyncEngine:
    """One database for all of these tests, emptied before each."""
    async with session_scope(home[0]) as session:
        for table in reversed(Record.metadata.sorted_tables):
            await session.execute(table.delete())
    return home[0]


@pytest.fixture
def settings(home: tuple[AsyncEngine, Settings]) -> Settings:
    return home[1]


@pytest.fixture
async def portal(engine: AsyncEngine, settings: Settings) -> AsyncIterator[Portal]:
    key_id, key = await joined.key(engine, Role.INTEGRATOR)
    async with joined.serve(create_app("test", dvcqg.router, settings=settings)) as http:
        made = Portal(http, key_id, key)
        assert (await made.login())["error_code"] == 0
        yield made


async def test_what_is_wrong_is_said_in_the_words_of_the_protocol(portal: Portal) -> None:
    wrong = await portal.post("login", {"username": portal.key_id, "password": portal.key + "x"})
    assert wrong["error_code"] == "-3"
    assert "username là mã khóa" in wrong["message"]
    assert "Bearer" not in wrong["message"]
    nothing = await portal.call("TraCuuHoSo")
    assert nothing["error_code"] == "-1"
    assert "mahoso" in nothing["message"]
    alone = await portal.send(form(1, NgayTiepNhan="20260231000000"))
    assert alone["message"].startswith("Có 1/1 bản ghi bị từ chối. ")
    assert alone["message"].count("NgayTiepNhan") == 1
    beside = await portal.send(form(1, NgayTiepNhan="20260231000000"), form(2))
    assert beside["message"].startswith("Có 1/2 bản ghi bị từ chối, các bản ghi còn lại đã lưu. ")


async def rows(engine: AsyncEngine, sql: str) -> list[tuple[Any, ...]]:
    async with session_scope(engine) as session:
        return [tuple(row) for row in await session.execute(text(sql))]


# --- sessions ----------------------------------------------------------------------------------------


async def test_login(portal: Portal) -> None:
    envelope = await portal.login()
    assert envelope["error_code"] == 0
    assert envelope["session"]
    assert portal.key.partition(".")[2] not in envelope["session"]


@pytest.mark.parametrize(
    "body",
    [
        {"username": "{id}", "password": "{key}x"},
        {"username": "other", "password": "{key}"},
        {"username": "", "password": ""},
        {"password": "{key}"},
        {"username": "{id}"},
        {},
    ],
)
async def test_a_wrong_account_is_refused(portal: Portal, body: dict[str, str]) -> None:
    filled = {name: value.format(id=portal.key_id, key=portal.key) for name, value in body.items()}
    envelope = await portal.post("login", filled)
    assert envelope["error_code"] == "-3"
    assert "session" not in envelope
    assert portal.key not in envelope["message"]


async def test_an_unknown_session(portal: Portal) -> None:
    good = portal.session
    head, _, tail = good.rpartition(".")
    key_id, expires = head.split(".")
    for wrong in (
        "",
        "x",
        good[:-1],
        good + "x",
        f"{key_id}.{int(expires) + 1}.{tail}",
        "k1.9.é",
        portal.key,
    ):
        portal.session = wrong
        for service in ("DongBoHoSoMC", "TraCuuHoSo", "gì đó"):
            envelope = await portal.call(service, data=[form()], mahoso=CODE)
            assert envelope["error_code"] == "-2", wrong
    portal.session = good
    assert (await portal.there()) == []


async def test_a_session_ends(portal: Portal, engine: AsyncEngine, settings: Settings) -> None:
    for later, code in ((timedelta(hours=7, minutes=59), "0"), (timedelta(hours=8), "-2")):
        aged = settings.model_copy(update={"chiso_now": NOW + later})
        async with joined.serve(create_app("test", dvcqg.router, settings=aged)) as http:
            envelope = await Portal(http, "", "", portal.session).call("TraCuuHoSo", mahoso=CODE)
            assert envelope["error_code"] == code, later


async def test_a_revoked_key_ends_its_sessions(portal: Portal, engine: AsyncEngine) -> None:
    async with session_scope(engine) as session:
        await access.revoke_key(session, portal.key_id, now=NOW)
    assert (await portal.send(form()))["error_code"] == "-2"
    assert (await portal.login())["error_code"] == "-3"


async def test_only_an_integrator_s_or_an_administrator_s_key(portal: Portal, engine: AsyncEngine) -> None:
    for role in Role:
        other = Portal(portal.http, *await joined.key(engine, role))
        envelope = await other.login()
        if role in (Role.INTEGRATOR, Role.ADMIN):
            assert envelope["error_code"] == 0
            continue
        assert envelope["error_code"] == "-3", role
        # A session signed by hand with what such a key's hash would give is refused as well.
        async with session_scope(engine) as session:
            secret = await session.scalar(
                text("SELECT secret_hash FROM api_key WHERE id = :id"), {"id": other.key_id}
            )
        other.session = dvcqg._sign(other.key_id, int(NOW.timestamp()) + 60, bytes(secret))
        assert (await other.send(form()))["error_code"] == "-3", role
    assert await rows(engine, "SELECT code FROM dossier") == []


async def test_an_unknown_service(portal: Portal) -> None:
    for service in ("", "dongbohosomc", "LayThuTuc"):
        assert (await portal.call(service, data=[]))["error_code"] == "-4"


# --- both client styles ------------------------------------------------------------------------------


def zero(envelope: dict[str, Any]) -> bool:
    """What the strictest client takes for success."""
    return str(envelope["error_code"]) in ("0", "00") and "thành công" in envelope["message"]


async def client_a(portal: Portal, item: dict[str, Any], step: dict[str, Any]) -> bool:
    """Asks first, then adds or updates, then the step."""
    found = await portal.there(item["MaHoSo"])
    if not zero(await portal.send(item, updating="True" if found else "False")):
        return False
    return zero(await portal.steps(step))


async def client_b(portal: Portal, item: dict[str, Any], step: dict[str, Any]) -> bool:
    """Adds; where it is there already, updates."""
    envelope = await portal.send(item, updating="False")
    if str(envelope["error_code"]) in ("3", "-3") and "đã tồn tại" in envelope["message"]:
        envelope = await portal.send(item, updating="True")
    return zero(envelope) and zero(await portal.steps(step))


@pytest.mark.parametrize("style", [client_a, client_b])
async def test_both_styles_of_client_end_well(portal: Portal, engine: AsyncEngine, style: Any) -> None:
    done = {"TrangThaiHoSo": "9", "NgayKetThucXuLy": "20260805150000"}
    ended = {"ThoiDiemXuLy": "20260805150000", "TrangThai": "9", "NguoiXuLy": "Lê Văn Thử"}
    assert await style(portal, form(), STEP)
    assert await style(portal, form(**done), STEP | ended)
    assert await style(portal, form(**done), STEP | ended), "queues send twice"
    assert await style(portal, form(), STEP), "late, and older: nothing to complain about"
    found = await rows(engine, "SELECT portal, via, status, officer, officer_title, step_status FROM dossier")
    assert found == [("sent", "push", 9, "Lê Văn Thử", "Công chức Bộ phận Một cửa", 9)]
    assert await rows(engine, "SELECT status FROM dossier_step ORDER BY occurred_at") == [(2,), (9,)]
    assert await portal.there() == [{"MaHoSo": CODE}]


@pytest.mark.parametrize("style", [client_a, client_b])
async def test_progress_before_the_head(portal: Portal, engine: AsyncEngine, style: Any) -> None:
    assert zero(await portal.steps(STEP))
    assert await portal.there() == [], "a step alone is no dossier yet"
    if style is client_b:
        assert zero(await portal.send(form(), updating="False")), "so the head is new, not there already"
    else:
        assert await style(portal, form(), STEP)
    assert await rows(engine, "SELECT status, officer, step_status FROM dossier") == [(4, "Trần Thị Mẫu", 2)]


@pytest.mark.parametrize(
    ("updating", "known"),
    [
        ("False", "3"),
        ("false", "3"),
        (False, "3"),
        ("0", "3"),
        (0, "3"),
        (" FALSE ", "3"),
        ("True", "0"),
        ("true", "0"),
        (True, "0"),
        (1, "0"),
        ("", "0"),
        (None, "0"),
        ("x", "0"),
        ([], "0"),
        ({"a": 1}, "0"),
    ],
)
async def test_every_way_of_saying_is_updating(
    portal: Portal, engine: AsyncEngine, updating: Any, known: str
) -> None:
    """An update of what is not there is an add; an add of what is there is stored, and told."""
    assert (await portal.send(form(), updating=updating))["error_code"] == "0"
    newer = form(TrangThaiHoSo="10", NgayTra="20260806150000")
    envelope = await portal.send(newer, form(2), updating=updating)
    assert envelope["error_code"] == known
    assert (CODE in envelope["message"]) is (known == "3")
    assert "0002" not in envelope["message"]
    assert await rows(engine, "SELECT status FROM dossier ORDER BY code") == [(4,), (10,)]


# --- bad input ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"TrangThaiHoSo": "99"}, "TrangThaiHoSo"),
        ({"TrangThaiHoSo": [4]}, "TrangThaiHoSo"),
        ({"NgayTiepNhan": "20260231080000"}, "NgayTiepNhan"),
        ({"NgayTiepNhan": "00010101000000"}, "NgayTiepNhan"),
        ({"NgayTiepNhan": "99991231235959"}, "NgayTiepNhan"),
        ({"NgayHenTra": "hôm qua"}, "NgayHenTra"),
        ({"NgayTra": "20261201080000"}, "NgayTra"),
        ({"MaTTHC": "1.01612"}, "MaTTHC"),
        ({"DonViXuLy": "Phố\x00Hiến"}, "DonViXuLy"),
        ({"DonViXuLy": {"ten": "Phố Hiến"}}, "DonViXuLy"),
        ({"KenhThucHien": "9"}, "KenhThucHien"),
        (
            {"DanhSachHoSoBoSung": [{"NgayTiepNhanBoSung": "20260804080000"}]},
            "DanhSachHoSoBoSung[0].NgayBoSung",
        ),
        ({"DanhSachHoSoBoSung": "x"}, "DanhSachHoSoBoSung"),
    ],
)
async def test_a_bad_item_is_named_and_the_good_ones_are_stored(
    portal: Portal, engine: AsyncEngine, change: dict[str, Any], field: str
) -> None:
    envelope = await portal.send(form(1), form(2, **change), form(3))
    assert envelope["error_code"] == "-1"
    assert field in envelope["message"]
    assert "H31.135-260803-0002" in envelope["message"]
    assert "1/3" in envelope["message"]
    assert await rows(engine, "SELECT right(code, 4) FROM dossier ORDER BY code") == [("0001",), ("0003",)]
    assert await rows(engine, "SELECT door, field, position FROM quarantine") == [("dvcqg", field, 1)]


async def test_a_bad_item_is_one_refusal_whatever_its_call_holds(portal: Portal, engine: AsyncEngine) -> None:
    """Another one of a wrong type has all items of its call read one by one."""
    bad = form(2, NgayHenTra="hôm qua")
    for others in ([], [form(1)], [form(3, TrangThaiHoSo={"ma": 9})]):
        await portal.send(bad, *others)
    found = await rows(engine, "SELECT field FROM quarantine ORDER BY field")
    assert found == [("NgayHenTra",), ("TrangThaiHoSo",)]


async def test_items_that_are_no_objects_or_have_no_code(portal: Portal, engine: AsyncEngine) -> None:
    no_code = {name: value for name, value in FORM.items() if name != "MaHoSo"}
    envelope = await portal.send(form(1), "x", None, 7, [], no_code, form(MaHoSo=""), form(2))
    assert envelope["error_code"] == "-1"
    assert "6/8" in envelope["message"]
    assert await rows(engine, "SELECT count(*) FROM dossier") == [(2,)]


async def test_a_code_of_unknown_form_is_taken_and_marked(portal: Portal, engine: AsyncEngine) -> None:
    assert zero(await portal.send(form(MaHoSo="hồ sơ lạ 17/2026")))
    assert await rows(engine, "SELECT code, code_known FROM dossier") == [("hồ sơ lạ 17/2026", False)]
    assert await portal.there("hồ sơ lạ 17/2026") == [{"MaHoSo": "hồ sơ lạ 17/2026"}]


async def test_numbers_and_missing_values_instead_of_texts(portal: Portal, engine: AsyncEngine) -> None:
    sent = form(
        TrangThaiHoSo=9, KenhThucHien=2, NgayTiepNhan=20260803093000, NgayHenTra=None, DanhSachHoSoBoSung=None
    )
    del sent["NgayTra"]
    assert zero(await portal.send(sent))
    assert zero(await portal.steps(STEP | {"TrangThai": 9, "ThoiDiemXuLy": 20260805150000, "ChucDanh": None}))
    (row,) = await rows(engine, "SELECT status, channel, received_at, due_at, officer_title FROM dossier")
    assert (row[0], row[1], row[3], row[4]) == (9, 2, None, None)
    assert row[2].isoformat() == "2026-08-03T02:30:00+00:00"


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"ThoiDiemXuLy": ""}, "ThoiDiemXuLy"),
        ({"ThoiDiemXuLy": "20270101080000"}, "ThoiDiemXuLy"),
        ({"TrangThai": "0"}, "TrangThai"),
        ({"NguoiXuLy": "\u0000"}, "NguoiXuLy"),
        ({"MaHoSo": None}, "MaHoSo"),
    ],
)
async def test_a_bad_step_is_named_and_the_good_ones_are_stored(
    portal: Portal, engine: AsyncEngine, change: dict[str, Any], field: str
) -> None:
    envelope = await portal.steps(STEP, STEP | {"MaHoSo": "H31.135-260803-0099"} | change)
    assert envelope["error_code"] == "-1"
    assert field in envelope["message"]
    assert await rows(engine, "SELECT code FROM dossier_step") == [(CODE,)]


async def test_one_broken_item_among_ten_thousand(portal: Portal, engine: AsyncEngine) -> None:
    items = [form(n) for n in range(10_000)]
    items[7_654]["TrangThaiHoSo"] = "mười"
    envelope = await portal.send(*items)
    assert envelope["error_code"] == "-1"
    assert "1/10000" in envelope["message"]
    assert "H31.135-260803-7654: TrangThaiHoSo" in envelope["message"]
    assert await rows(engine, "SELECT count(*) FROM dossier") == [(9_999,)]


async def test_one_item_that_is_nested_too_deep_costs_its_neighbours_nothing(
    portal: Portal, engine: AsyncEngine
) -> None:
    deep = b'{"MaHoSo": "H31.135-260803-7654", "X": %s}' % (b"[" * 100_000 + b"]" * 100_000)
    items = [json.dumps(form(1)).encode(), deep, json.dumps(form(2)).encode()]
    call = b'{"session": "%s", "service": "DongBoHoSoMC", "data": [%s], "isUpdating": "False"}' % (
        portal.session.encode(),
        b",".join(items),
    )
    envelope = await portal.post("integration", call)
    assert envelope["error_code"] == "-1"
    assert "1/3" in envelope["message"]
    assert "mục 2" in envelope["message"]
    assert await rows(engine, "SELECT count(*) FROM dossier") == [(2,)]
    assert await rows(engine, "SELECT field, position FROM quarantine") == [("data", 1)]


async def test_many_bad_items_make_no_endless_message(portal: Portal) -> None:
    envelope = await portal.send(*(form(n, TrangThaiHoSo="x") for n in range(500)))
    assert "500/500" in envelope["message"]
    assert len(envelope["message"]) < 5_000


UNREADABLE = {
    "empty": b"",
    "broken": b'{"session": ',
    "not utf-8": b'{"session": "\xff"}',
    "array": b"[]",
    "number": b"1",
    "deep": b"[" * 200_000,
    "deep session": b'{"service": "DongBoHoSoMC", "data": [], "session": '
    + b"[" * 100_000
    + b"]" * 100_000
    + b"}",
    "data is an object": b'{"session": "SESSION", "service": "DongBoHoSoMC", "data": {}}',
    "data is null": b'{"session": "SESSION", "service": "CapNhatTienDoHoSoMC", "data": null}',
    "data is broken": b'{"session": "SESSION", "service": "DongBoHoSoMC", "data": [{]}',
    "session is a number": b'{"session": 7, "service": "DongBoHoSoMC", "data": []}',
    "code is a list": b'{"session": "SESSION", "service": "TraCuuHoSo", "mahoso": []}',
}


@pytest.mark.parametrize("body", UNREADABLE.values(), ids=UNREADABLE)
async def test_what_cannot_be_read(portal: Portal, engine: AsyncEngine, body: bytes) -> None:
    envelope = await portal.post("integration", body.replace(b"SESSION", portal.session.encode()))
    assert envelope["error_code"] in ("-5", "-2"), envelope
    assert await rows(engine, "SELECT count(*) FROM dossier") == [(0,)]
    if b"SESSION" not in body:
        assert (await portal.post("login", body))["error_code"] in ("-5", "-3")


async def test_a_code_that_is_none(portal: Portal) -> None:
    for code in ("", "\x00", "x" * 5_000, "\ud800"):
        assert (await portal.call("TraCuuHoSo", mahoso=code))["error_code"] in ("-1", "-5"), repr(code)
    assert (await portal.call("TraCuuHoSo"))["error_code"] == "-1"


async def test_a_body_over_20_mb(portal: Portal) -> None:
    for path in ("login", "integration"):
        envelope = await portal.post(path, b" " * (20 * 1024 * 1024 + 1))
        assert envelope["error_code"] == "-1"
        assert "20 MB" in envelope["message"]


async def test_a_database_that_refuses_for_now(cluster: Cluster) -> None:
    """A lock that is not had in time: the connection lives on, and the driver's own error is said."""
    async with joined.own_database(cluster) as (engine, settings):
        await cluster.statement(f"ALTER DATABASE {engine.url.database} SET lock_timeout = '100ms'")
        key_id, key = await joined.key(engine, Role.INTEGRATOR)
        async with joined.serve(create_app("test", dvcqg.router, settings=settings)) as http:
            portal = Portal(http, key_id, key)
            await portal.login()
            assert zero(await portal.send(form()))
            async with session_scope(engine) as session:
                await session.execute(text("SELECT 1 FROM dossier FOR UPDATE"))
                assert (await portal.send(form(TrangThaiHoSo="9")))["error_code"] == "-9"
                assert (await portal.steps(STEP))["error_code"] == "-9"
            assert zero(await portal.send(form(TrangThaiHoSo="9"), updating="True"))


async def test_a_database_that_goes_away_in_the_middle(
    portal: Portal, engine: AsyncEngine, cluster: Cluster
) -> None:
    """The envelope says "later"; the client's queue sends it again."""
    assert zero(await portal.send(form()))
    async with session_scope(engine) as session:
        await session.execute(text("SELECT 1 FROM dossier FOR UPDATE"))
        sending = asyncio.create_task(portal.send(form(TrangThaiHoSo="9", NgayTra="20260805150000"), form(2)))
        async with asyncio.timeout(30):
            while not (  # noqa: ASYNC110 - a lock sets no event
                waiting := await session.scalar(
                    text(
                        "SELECT min(pid) FROM pg_locks"
                        " WHERE NOT granted AND pg_backend_pid() = ANY(pg_blocking_pids(pid))"
                    )
                )
            ):
                await asyncio.sleep(0.01)
        await cluster.statement(f"SELECT pg_terminate_backend({waiting})")
        assert (await sending)["error_code"] == "-9"
    assert await rows(engine, "SELECT status FROM dossier") == [(4,)], "nothing of the call was stored"
    assert zero(await portal.send(form(2), updating="True"))


# --- what must never come in -------------------------------------------------------------------------

FORBIDDEN: dict[str, Any] = {
    "ChuHoSo": SECRET,
    "SoGiayToChuHoSo": SECRET,
    "DinhDanhCHS": [{"LoaiDinhDanh": "1", "SoDinhDanh": SECRET}],
    "MaDoiTuong": SECRET,
    "Email": SECRET,
    "Fax": SECRET,
    "SoDienThoai": SECRET,
    "ThongTinKhac": SECRET,
    "TrichYeuHoSo": SECRET,
    "GhiChu": SECRET,
    "ThongTinTra": SECRET,
    "TaiLieuNop": [{"TenTepDinhKem": SECRET, "DuongDanTaiTepTin": f"https://x/{SECRET}"}],
    "DanhSachGiayToKetQua": [{"TenGiayTo": SECRET, "DuongDanTepTinKetQua": SECRET}],
    "DanhSachTepDinhKemKhac": [{"TenGiayTo": SECRET}],
    "DanhSachLePhi": [{"TenPhiLePhi": SECRET}],
    SECRET: SECRET,
}
SUPPLEMENT = {
    "HoSoBoSungId": SECRET,
    "NguoiYeuCauBoSung": SECRET,
    "NoiDungBoSung": SECRET,
    "NgayBoSung": "20260804080000",
    "NguoiTiepNhanBoSung": SECRET,
    "NgayTiepNhanBoSung": "",
    "NgayHenTraTruoc": "20260806170000",
    "NgayHenTraMoi": "20260810170000",
}


async def test_citizens_data_is_in_no_table_no_answer_and_no_log(
    portal: Portal, engine: AsyncEngine, capsys: pytest.CaptureFixture[str]
) -> None:
    answers = [
        await portal.send(form(1, **FORBIDDEN, DanhSachHoSoBoSung=[SUPPLEMENT])),
        await portal.steps(STEP | {"NoiDungXuLy": SECRET, "PhongBanXuLy": SECRET, "GhiChu": SECRET}),
    ]
    assert [zero(answer) for answer in answers] == [True, True]
    typed_wrongly = [
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
    ]
    for name in typed_wrongly:
        answers += [
            await portal.send(form(2, **FORBIDDEN) | {name: value})
            for value in (SECRET, [SECRET], {SECRET: SECRET}, [{"NgayBoSung": SECRET}])
        ]
    answers.append(await portal.send(SECRET, [SECRET], form(3, TrangThaiHoSo="99", DonViXuLy=SECRET)))
    answers += [
        await portal.steps(STEP | {name: SECRET, "NguoiXuLy": SECRET, "ChucDanh": SECRET})
        for name in ("ThoiDiemXuLy", "TrangThai", "NgayBatDau")
    ]
    assert all(answer["error_code"] == "-1" for answer in answers[2:])
    answers += [
        await portal.call(SECRET),
        await portal.call("TraCuuHoSo", mahoso="x" * 200 + SECRET),
        await portal.post("integration", f'{{"session": "{portal.session}", "data": [{SECRET}'.encode()),
        await portal.post("login", {"username": SECRET, "password": SECRET}),
    ]
    dumped = {
        table: str(await rows(engine, f"SELECT t::text FROM {table} t")) for table in Record.metadata.tables
    }
    assert dumped["quarantine"].count("dvcqg") > 20
    logged = capsys.readouterr()
    told = {"answers": json.dumps(answers, ensure_ascii=False), "out": logged.out, "err": logged.err} | dumped
    for place, content in told.items():
        for mark in (*MARKS, portal.key.partition(".")[2]):
            assert mark not in content, place


# --- anything at all ---------------------------------------------------------------------------------

SCALARS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=20)
    | st.sampled_from(["20260803093000", "4", "1.001612", CODE, "\x00", ""])
)
JSON = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.sampled_from([*FORM, *STEP]) | st.text(max_size=5), inner, max_size=5)
    ),
    max_leaves=12,
)
RATING = ["NgayTongHop", "TongSoNguoiDanhGia", "PhanTramDanhGia", "MaThuTuc", "Madonvi", "TenDonVi"]
ITEMS = st.lists(
    JSON | st.fixed_dictionaries({}, optional=dict.fromkeys([*FORM, *STEP], JSON) | {"MaHoSo": SCALARS}),
    max_size=5,
)
CALLS = st.fixed_dictionaries(
    {"service": st.sampled_from(["DongBoHoSoMC", "CapNhatTienDoHoSoMC", "DongBoDanhGia", "TraCuuHoSo"])},
    optional={"data": ITEMS | JSON, "isUpdating": JSON, "mahoso": JSON, "madonvi": JSON}
    | dict.fromkeys(RATING, SCALARS | JSON),
)


@pytest.fixture(scope="module")
async def fuzzed(cluster: Cluster) -> AsyncIterator[Portal]:
    async with joined.own_database(cluster) as (engine, settings):
        key_id, key = await joined.key(engine, Role.INTEGRATOR)
        async with joined.serve(create_app("test", dvcqg.router, settings=settings)) as http:
            made = Portal(http, key_id, key)
            await made.login()
            yield made


@hypothesis_settings(
    max_examples=150, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(call=CALLS)
async def test_any_json_gets_an_envelope(fuzzed: Portal, call: dict[str, Any]) -> None:
    body = json.dumps({"session": fuzzed.session} | call).encode()
    envelope = await fuzzed.post("integration", body)
    assert envelope["error_code"] in ("0", "3", "-1", "-5")
    assert envelope["message"]


@hypothesis_settings(
    max_examples=60, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(body=st.binary(max_size=60) | JSON.map(lambda value: json.dumps(value).encode()))
async def test_any_bytes_get_an_envelope(fuzzed: Portal, body: bytes) -> None:
    for path in ("login", "integration"):
        envelope = await fuzzed.post(path, body)
        assert envelope["error_code"] in ("-2", "-3", "-5")
        assert envelope["message"]
