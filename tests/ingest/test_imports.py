"""Dossier exports as runs: stored batch by batch, in any order, taken up again; citizens' columns stay behind."""

from __future__ import annotations

import asyncio
import itertools
import os
import random
import signal
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from services.ingest import import_files, import_runs, imports
from services.ingest.import_api import router
from services.ingest.import_files import Asked
from shared.db import create_engine, session_scope
from shared.settings import Settings
from shared.vocabulary import Role
from tests import make, sheets
from tests.conftest import Cluster
from tests.make import NOW
from tests.portals import rows as rows_of

MONTHS = ("2025-11", "2025-12", "2026-01", "2026-02", "2026-03")
KEPT = (
    "code, portal, version, procedure_code, unit_code, unit_via, status, channel, received_at, due_at, finished_at,"
    " known"
)


@asynccontextmanager
async def client(
    engine: AsyncEngine, settings: Settings, role: Role = Role.CENTRE
) -> AsyncIterator[httpx.AsyncClient]:
    async with session_scope(engine) as session:
        await make.units(session)
    async with make.client(engine, settings, router, role=role) as http:
        yield http


async def post(http: httpx.AsyncClient, data: bytes, name: str = "x.xlsx", **fields: Any) -> httpx.Response:
    values = {"kind": "dossiers"} | {key: str(value) for key, value in fields.items()}
    return await http.post("/v1/imports", files={"file": (name, data)}, data=values)


async def done(http: httpx.AsyncClient, answer: httpx.Response) -> dict[str, Any]:
    """The import once it has ended."""
    assert answer.status_code == 202, answer.text
    while True:
        run: dict[str, Any] = (await http.get(answer.headers["Location"])).json()
        if run["state"] not in ("queued", "running"):
            return run
        await asyncio.sleep(0.02)


async def load(
    engine: AsyncEngine, settings: Settings, data: bytes, **asked: Any
) -> import_runs.Progress | None:
    """Without HTTP; the last progress told."""
    told: list[import_runs.Progress] = []
    with tempfile.TemporaryFile() as file:
        file.write(data)
        async with import_files.understood(
            file, Asked(kind="dossiers", by="test", **asked), settings
        ) as understood:
            async with session_scope(engine) as session:
                run_id, state = await import_runs.register(session, understood)
            if state == "done":
                return None
            await imports.work_off(engine, understood, run_id, on_progress=told.append)
    return told[-1]


async def kept(engine: AsyncEngine) -> list[tuple[Any, ...]]:
    async with session_scope(engine) as session:
        return [
            tuple(row) for row in await session.execute(text(f"SELECT {KEPT} FROM dossier ORDER BY 1, 2"))
        ]


async def test_a_month_over_http(engine: AsyncEngine, settings: Settings) -> None:
    rows = sheets.month("2026-08", 30)
    rows[4] = sheets.dossier(4, "2026-08", **{"Ngày tiếp nhận": "31/02/2026"})
    rows[5] = sheets.dossier(5, "2026-08", **{"Mã TTHC": "2.00048"})
    rows[6] = sheets.dossier(6, "2026-08", **{"Trạng thái": "Chưa biết"})
    rows[7] = sheets.dossier(7, "2026-08", **{"Mã hồ sơ": sheets.NUMBER})
    rows[8] = sheets.dossier(8, "2026-08", **{"Mã hồ sơ": sheets.MARK})
    rows[9] = sheets.dossier(9, "2026-08", **{"Mã TTHC": 1.001612, "Ngày hẹn trả": 46237.395833333336})
    data = sheets.xlsx(rows)
    async with client(engine, settings) as http:
        tried = await post(http, data, dry_run=True)
        assert tried.status_code == 200, tried.text
        trial = tried.json()
        assert await kept(engine) == []
        assert (await http.get("/v1/imports")).json()["items"] == []
        answer = await post(http, data, period="2026-08")
        run = await done(http, answer)
        again = await post(http, data)
        assert (again.status_code, again.json()["id"]) == (200, run["id"])
        listed = (await http.get("/v1/imports", params={"kind": "dossiers", "limit": 1})).json()
        assert [item["id"] for item in listed["items"]] == [run["id"]]
        assert (await http.get("/v1/imports", params={"cursor": listed["next"]})).json()["items"] == []
        table = await http.get("/v1/imports", headers={"Accept": "text/csv"})
        assert table.text.splitlines()[1].startswith(f"{run['id']},dossiers,national,2026-08")
    assert (trial["id"], trial["state"], trial["received"][0][:7]) == (None, "dry_run", "2026-08")
    assert (trial["items"], trial["accepted"], trial["rejected"], trial["header_row"]) == (30, 25, 5, 2)
    assert (run["state"], run["items"], run["accepted"], run["rejected"]) == ("done", 30, 25, 5)
    assert (run["last_row"], run["total"]) == (32, 32)
    assert run["refusals"] == trial["refusals"]
    assert [(item["row"], item["field"]) for item in run["refusals"]] == [
        (7, "received_at"),
        (8, "procedure_code"),
        (9, "status"),
        (10, "code"),
        (11, "code"),
    ]
    told = {
        column["position"]: (column["header"], column["field"], column["why"]) for column in run["columns"]
    }
    assert told[1] == (None, None, "unknown")
    assert told[2] == ("Mã hồ sơ", "code", None)
    assert told[3] == ("Chủ hồ sơ", None, "citizen")
    assert told[16] == (None, None, "unknown")
    stored = await kept(engine)
    assert len(stored) == 25
    assert {row[1:2] + row[3:8] for row in stored} == {("national", "1.001612", "H31.135", "alias", 9, 2)}
    serial = next(row for row in stored if row[0].endswith("-0009"))
    assert serial[9] == make.moment("2026-08-03 09:30")
    quarantined = await rows_of(
        engine, "SELECT position, field, door, sender, code FROM quarantine ORDER BY 1"
    )
    assert [(row[0], row[1], row[2]) for row in quarantined] == [
        (7, "received_at", "import"),
        (8, "procedure_code", "import"),
        (9, "status", "import"),
        (10, "code", "import"),
        (11, "code", "import"),
    ]


async def test_citizens_data_are_found_nowhere(
    engine: AsyncEngine, settings: Settings, capfd: pytest.CaptureFixture[str]
) -> None:
    rows = sheets.month("2026-08", 5)
    rows[1] = sheets.dossier(1, "2026-08", **{"Mã hồ sơ": sheets.MARK, "Trạng thái": sheets.MARK})
    rows[2] = sheets.dossier(2, "2026-08", **{"Ngày tiếp nhận": sheets.MARK})
    rows[3] = sheets.dossier(3, "2026-08", **{"Mã hồ sơ": sheets.NUMBER, "Mã TTHC": sheets.NUMBER})
    said = []
    async with client(engine, settings) as http:
        for data in (sheets.xlsx(rows), sheets.text(rows)):
            said.append((await post(http, data, name=f"{sheets.MARK}.xlsx", dry_run=True)).text)
            answer = await post(http, data, name=f"{sheets.MARK}.xlsx")
            await done(http, answer)
        wrong = (sheets.MARK.encode(), sheets.xlsx(rows, header=[sheets.MARK] * 16))
        said += [(await post(http, each, name=sheets.MARK)).text for each in wrong]
        said.append((await post(http, sheets.xlsx(rows), **{sheets.MARK: sheets.MARK})).text)
        said.append((await post(http, sheets.xlsx(rows), period=sheets.MARK)).text)
        said.append((await http.get("/v1/imports")).text)
        said.append((await http.get("/metrics")).text)
    async with session_scope(engine) as session:
        tables = await session.scalars(text("SELECT tablename FROM pg_tables WHERE schemaname = 'public'"))
        for table in tables.all():
            said += [str(tuple(row)) for row in await session.execute(text(f"SELECT t::text FROM {table} t"))]
    out, err = capfd.readouterr()
    everything = "\n".join([*said, out, err])
    assert "H31.135-2608" in everything
    assert sheets.MARK not in everything
    assert sheets.NUMBER not in everything


async def test_months_in_any_order_end_in_the_same_rows(cluster: Cluster) -> None:
    """What a later export tells of a dossier again is newer: it has come further since."""
    files = {name: sheets.month(name, 40) for name in MONTHS}
    for earlier, later in itertools.pairwise(MONTHS):
        for n in range(0, 40, 5):  # still open when its month was exported
            ended = files[earlier][n]
            files[later].append(list(ended))
            files[earlier][n] = [
                "Đang xử lý" if header == "Trạng thái" else "" if header == "Ngày kết thúc xử lý" else cell
                for header, cell in zip(sheets.HEADER, ended, strict=True)
            ]
    results = []
    for order in (MONTHS, MONTHS[::-1], random.Random(7).sample(MONTHS, len(MONTHS))):
        name = await cluster.create()
        engine = create_engine(cluster.app_url(name))
        settings = Settings(_env_file=None, database_url=cluster.app_url(name), chiso_now=make.NOW)
        async with session_scope(engine) as session:
            await make.units(session)
        for n, month in enumerate(order):
            make_file = sheets.xlsx if n % 2 else sheets.text
            assert await load(engine, settings, make_file(files[month])) is not None
        results.append(await kept(engine))
        await engine.dispose()
        await cluster.drop(name)
    assert len(results[0]) == 200
    assert results[1] == results[0]
    assert results[2] == results[0]


async def test_it_stops_after_a_batch_and_goes_on_with_the_same_file(
    engine: AsyncEngine, settings: Settings
) -> None:
    data = sheets.xlsx(sheets.month("2026-08", 10))
    async with client(engine, settings) as http:
        with tempfile.TemporaryFile() as file:
            file.write(sheets.text(sheets.month("2026-09", 4500)))
            stop = asyncio.Event()
            stop.set()
            async with import_files.understood(
                file, Asked(kind="dossiers", by="test"), settings
            ) as understood:
                async with session_scope(engine) as session:
                    run_id, _ = await import_runs.register(session, understood)
                assert await imports.work_off(engine, understood, run_id, stop=stop)
            shown = (await http.get(f"/v1/imports/{run_id}")).json()
            assert (shown["state"], shown["items"], shown["last_row"]) == ("interrupted", 2000, 2001)
            async with import_files.understood(
                file, Asked(kind="dossiers", by="test"), settings
            ) as understood:
                async with session_scope(engine) as session:
                    assert await import_runs.register(session, understood) == (run_id, "queued")
                told: list[int] = []
                await imports.work_off(
                    engine, understood, run_id, on_progress=lambda run: told.append(run.items)
                )
            assert told == [4000, 4500, 4500]
            shown = (await http.get(f"/v1/imports/{run_id}")).json()
            assert (shown["state"], shown["attempts"], shown["accepted"]) == ("done", 2, 4500)
            assert shown["last_row"] == shown["total"] == 4501
        assert len(await kept(engine)) == 4500
        anew = await done(http, await post(http, data))
        redone = await done(http, await post(http, data, again=True))
        assert (redone["id"], redone["items"], redone["unchanged"]) == (anew["id"], 10, 10)


WORK = """
import asyncio, os, signal, sys
from services.ingest import import_runs, imports
from services.ingest.import_files import Asked, understood as understanding
from shared.db import create_engine, session_scope
from shared.settings import Settings

async def main():
    settings = Settings(_env_file=None, database_url=sys.argv[1], chiso_now="2026-11-02T09:00:00+07:00")
    engine = create_engine(sys.argv[1])
    def told(run):
        print(run.cursor, flush=True)
        if run.cursor > 4000:
            os.kill(os.getpid(), signal.SIGKILL)
    with open(sys.argv[2], "rb") as file:
        async with understanding(file, Asked(kind="dossiers", by="test"), settings) as understood:
            async with session_scope(engine) as session:
                run_id, _ = await import_runs.register(session, understood)
            await imports.work_off(engine, understood, run_id, on_progress=told)

asyncio.run(main())
"""


async def test_after_kill_9_the_same_file_goes_on(
    database: str, engine: AsyncEngine, settings: Settings, tmp_path: Path
) -> None:
    data = sheets.text(sheets.month("2026-08", 5000))
    path = tmp_path / "x.csv"
    path.write_bytes(data)
    async with client(engine, settings) as http:
        killed = await asyncio.to_thread(
            subprocess.run,
            [sys.executable, "-c", WORK, database, str(path)],
            capture_output=True,
            check=False,
        )
        assert killed.returncode == -signal.SIGKILL, killed.stderr
        shown = (await http.get("/v1/imports")).json()["items"][0]
        assert (shown["state"], shown["last_row"]) == ("interrupted", 4001), "its lock is gone with it"
        run = await done(http, await post(http, data))
    assert (run["id"], run["attempts"], run["state"]) == (shown["id"], 2, "done")
    assert (run["items"], run["accepted"], run["unchanged"]) == (5000, 5000, 0), "nothing was read twice"
    assert len(await kept(engine)) == 5000


async def test_the_database_goes_away_for_a_moment(
    cluster: Cluster, engine: AsyncEngine, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All connections are cut again and again, whatever they are at; the file is stored once and whole."""
    monkeypatch.setattr(imports, "PATIENCE", (0.01,) * 1000)
    name = engine.url.database

    async def cut() -> None:
        for _ in range(6):
            await asyncio.sleep(0.1)
            await cluster.statement(
                f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'"
            )

    async with session_scope(engine) as session:
        await make.units(session)
    with tempfile.TemporaryFile() as file:
        file.write(sheets.text(sheets.month("2026-08", 9000)))
        async with import_files.understood(file, Asked(kind="dossiers", by="test"), settings) as understood:
            async with session_scope(engine) as session:
                run_id, _ = await import_runs.register(session, understood)
            cutting = asyncio.create_task(cut())
            try:
                assert await imports.work_off(engine, understood, run_id)
            finally:
                await cutting
    (run,) = await rows_of(
        engine, "SELECT state, items, accepted, unchanged, stale, rejected, cursor, attempts FROM import_run"
    )
    assert tuple(run)[:7] == ("done", 9000, 9000, 0, 0, 0, 9001)
    assert run.attempts > 1
    assert len(await kept(engine)) == 9000


async def test_a_file_from_the_command_line(
    cluster: Cluster, database: str, engine: AsyncEngine, tmp_path: Path
) -> None:
    path = tmp_path / "x.xlsx"
    path.write_bytes(
        sheets.xlsx([*sheets.month("2026-08", 3), sheets.dossier(3, "2026-08", **{"Mã hồ sơ": "x"})])
    )

    async def chiso(*arguments: str) -> subprocess.CompletedProcess[str]:
        return await asyncio.to_thread(
            subprocess.run,
            [sys.executable, "-W", "error", "-m", "services.cli", "import", *arguments],
            env={
                **os.environ,
                "DATABASE_URL": database,
                "DATA_DIR": str(tmp_path),
                "CHISO_NOW": NOW.isoformat(),
            },
            capture_output=True,
            text=True,
            check=False,
        )

    tried = await chiso(str(path), "--kind", "dossiers", "--dry-run")
    assert tried.returncode == 0, tried.stderr
    assert "import dry_run: 4 rows (3 accepted, 0 unchanged, 0 stale, 1 rejected)" in tried.stdout
    assert "header in row 2" in tried.stdout
    assert "column 3 Chủ hồ sơ: not read (citizen)" in tried.stdout
    assert "row 6: code: not a dossier code" in tried.stdout
    assert sheets.MARK not in tried.stdout
    assert await kept(engine) == []
    done = await chiso(str(path), "--kind", "dossiers", "--period", "2026-08")
    assert "import 1 done: 4 rows (3 accepted, 0 unchanged, 0 stale, 1 rejected)" in done.stdout, done.stderr
    assert len(await kept(engine)) == 3
    wrong = await chiso(str(path), "--kind", "units")
    assert wrong.returncode == 1
    assert "this looks like a file of the kind dossiers, not units" in wrong.stderr
    assert "Traceback" not in wrong.stderr


async def test_one_process_works_on_a_file(engine: AsyncEngine, settings: Settings) -> None:
    data = sheets.text(sheets.month("2026-08", 20))
    async with client(engine, settings) as http:
        with tempfile.TemporaryFile() as file:
            file.write(data)
            async with import_files.understood(
                file, Asked(kind="dossiers", by="test"), settings
            ) as understood:
                async with session_scope(engine) as session:
                    run_id, _ = await import_runs.register(session, understood)
                async with import_runs.lock(engine, run_id) as held:
                    assert held
                    beside = await post(http, data)
                    assert (beside.status_code, beside.json()["id"]) == (202, run_id)
                    assert beside.json()["state"] == "queued"
                    await asyncio.sleep(0.2)
                    assert await kept(engine) == []
        run = await done(http, await post(http, data))
        assert (run["id"], run["items"]) == (run_id, 20)


async def test_the_copy_that_a_file_is_of(engine: AsyncEngine, settings: Settings) -> None:
    async with client(engine, settings) as http:
        data = sheets.xlsx(sheets.month("2026-08", 3))
        national = await done(http, await post(http, data))
        provincial = await done(http, await post(http, data, portal="provincial"))
        assert national["id"] != provincial["id"]
        assert (await post(http, data, portal="sent")).status_code == 422
    assert {row[1] for row in await kept(engine)} == {"national", "provincial"}


async def test_how_old_an_export_is_decides_where_no_moment_does(
    engine: AsyncEngine, settings: Settings
) -> None:
    """A state alone has no moment: the export's own is its age, whichever file comes first."""
    waiting = sheets.dossier(1, "2026-08", **{"Trạng thái": "Đang xử lý", "Ngày kết thúc xử lý": ""})
    asked = sheets.dossier(1, "2026-08", **{"Trạng thái": "Yêu cầu bổ sung", "Ngày kết thúc xử lý": ""})
    newer, older = make.moment("2026-09-10 08:00"), make.moment("2026-09-03 08:00")
    await load(engine, settings, sheets.xlsx([asked]), exported_at=newer)
    run = await load(engine, settings, sheets.xlsx([waiting]), exported_at=older)
    assert run is not None
    assert run.stale == 1
    assert (await kept(engine))[0][6] == 5


@pytest.mark.parametrize("role", [Role.UNIT, Role.READER, Role.INTEGRATOR])
async def test_roles(engine: AsyncEngine, settings: Settings, role: Role) -> None:
    async with client(engine, settings, role) as http:
        assert (await post(http, b"x")).status_code == 403
        assert (await http.get("/v1/imports")).status_code == 403
        assert (await http.get("/v1/imports/1")).status_code == 403


async def test_bad_requests(engine: AsyncEngine, settings: Settings) -> None:
    data = sheets.xlsx(sheets.month("2026-08", 1))
    async with client(engine, settings) as http:
        for fields, field in (
            ({"kind": "petitions"}, "kind"),
            ({"portal": "x"}, "portal"),
            ({"period": "2026-13"}, "period"),
            ({"dry_run": "perhaps"}, "dry_run"),
            ({"valid_from": "31/02/2026"}, "valid_from"),
            ({"anything": "x"}, "form"),
        ):
            answer = await post(http, data, **fields)
            assert (answer.status_code, answer.json()["field"]) == (422, field), answer.text
        assert (await http.post("/v1/imports", data={"kind": "dossiers"})).status_code == 422
        assert (await http.post("/v1/imports", json={})).status_code == 422
        broken = await http.post(
            "/v1/imports", content=b"x", headers={"Content-Type": "multipart/form-data; boundary=a"}
        )
        assert broken.status_code in (400, 422)
        assert (await http.get("/v1/imports/9")).status_code == 404
        assert (await http.get("/v1/imports", params={"cursor": "WzBd"})).status_code == 422
    assert await kept(engine) == []


async def test_uploads_have_a_limit_of_their_own(
    engine: AsyncEngine, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shared.app.UPLOAD_LIMIT", 100_000)
    monkeypatch.setattr("shared.app.BODY_LIMIT", 10_000)
    data = sheets.text(sheets.month("2026-08", 200))
    assert 10_000 < len(data) < 100_000
    async with client(engine, settings) as http:
        assert (await post(http, data, dry_run=True)).status_code == 200
        assert (await post(http, data * 3, dry_run=True)).status_code == 413
