"""What `chiso up` runs, with which addresses and keys."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import sys
from datetime import datetime, time
from pathlib import Path

from alembic.util.exc import CommandError
from rich.console import Console
from sqlalchemy.engine import make_url

from migrations import runner
from services.first_run import first_run
from services.run_keys import read_json, run_keys, write_private
from services.supervisor import Command, Supervisor
from shared import postgres
from shared.calendar import TZ
from shared.errors import Invalid
from shared.settings import Settings
from shared.vocabulary import Role

WORKERS = ("ingest", "reconcile", "indicators")
OUTPUT = {"PYTHONUNBUFFERED": "1", "PYTHONIOENCODING": "utf-8"}
"""What the supervisor, which reads the processes' lines, expects of them in any locale."""


SANDBOX_START = 30.0
"""Seconds that the sandbox has to make its world before the workers ask it all the same."""


class PortUnusable(Invalid):
    def __init__(self, host: str, port: int, why: str) -> None:
        super().__init__(
            f"Không mở được cổng {port}.",
            f"Port {port} on {host} cannot be used: {why}. Choose another: `make run PORT={port + 1}`, or "
            f"`PORT={port + 1} chiso up`.",
            field="PORT",
        )


def run(settings: Settings, console: Console) -> None:
    """Runs all processes until a signal comes. Raises AlreadyRunning, PortUnusable, ChildFailed, and what the
    database or the first sync raise; whatever was started is stopped by then."""
    data_dir = settings.data_dir.resolve()
    with Supervisor(data_dir, console) as running:
        # After what an earlier run has left was stopped: it may have held the port.
        if why := _port_problem(settings.host, settings.port):
            raise PortUnusable(settings.host, settings.port, why)
        sandboxed = settings.national_url is None and settings.provincial_url is None
        base_url = f"http://{_reachable(settings.host)}:{settings.port}"
        sandbox_url, keys = "", {}
        with running.preparing():
            database = _database(settings, data_dir, running)
            running.say("chiso", "bringing the tables up to date")
            migrate(database.owner_url)
            # The administrator's and the owner's address stay here: the services get their own role's, the
            # sandbox none.
            for name in ("DATABASE_URL", "DATABASE_OWNER_URL"):
                os.environ.pop(name, None)
            env = {"DATABASE_URL": database.app_url, "DATA_DIR": str(data_dir)} | OUTPUT
            if sandboxed:
                keys = asyncio.run(run_keys(database.app_url, settings))
                sandbox_url = f"http://127.0.0.1:{_free_port(settings.sandbox_port, settings.port)}"
                env |= _sandbox_environment(sandbox_url)
                anchor = _anchor(settings, data_dir)
                write_private(data_dir / "portals.json", json.dumps({"sandbox": sandbox_url}))
                running.start(_sandbox(settings, sandbox_url, base_url, keys[Role.INTEGRATOR], anchor))
            # The integrator's first pushes are hundreds of requests that went well: they would drown what is found.
            quiet = (
                {"LOG_LEVEL": "WARNING"} if sandboxed and "log_level" not in settings.model_fields_set else {}
            )
            running.start(_api(settings, env | quiet))
            if sandboxed:  # else the first thing to be read is that the portals do not answer
                running.wait_until(lambda: _listens(sandbox_url), SANDBOX_START)
            for name in WORKERS:
                running.start(Command(name, [sys.executable, "-m", "services.cli", "work", name], env))
        if sandboxed:
            own = settings.model_copy(update={"database_url": database.app_url})
            running.watch(lambda: first_run(base_url, sandbox_url, keys, own, console))
        else:
            running.say("chiso", f"the API listens on {base_url}")
            running.watch()


def migrate(url: str) -> None:
    """Raises Invalid where the tables are of a version that this code does not know, and what the runner raises."""
    try:
        runner.run(url)
    except CommandError as error:
        raise Invalid(
            "Bảng dữ liệu thuộc một phiên bản khác của chương trình.",
            f"The tables cannot be brought up to date: {error}. Another version of chiso made them: use that one, or "
            "another DATA_DIR or database; what came from the sandbox may be removed.",
        ) from None


def on_running_sandbox(settings: Settings) -> Settings:
    """For commands beside a running `chiso up`: the settings that lead to its sandbox, where there is one and no portal
    is set."""
    url = read_json(settings.data_dir / "portals.json").get("sandbox", "")
    if settings.national_url or settings.provincial_url or not (url and _listens(url)):
        return settings
    changed = {name.lower(): value for name, value in _sandbox_environment(url).items()}
    return Settings(**(settings.model_dump(exclude_unset=True) | changed))


def _database(settings: Settings, data_dir: Path, running: Supervisor) -> postgres.Provisioned:
    """The prepared database: the embedded server, or DATABASE_URL as the address of its administrator, or,
    with DATABASE_OWNER_URL, the two roles as given."""
    if settings.database_url is None:
        server = postgres.start(data_dir)
        running.at_end("database", server.stop)
        how = "ran already" if server.adopted else "is ready"
        running.say(
            "database", f"embedded PostgreSQL {how} (pid {server.pid}, log {data_dir / 'postgres.log'})"
        )
        return asyncio.run(postgres.provision(server.admin_url(), data_dir=data_dir))
    running.say("database", "using the server of DATABASE_URL")
    if settings.database_owner_url is not None:
        return asyncio.run(
            postgres.provision(
                settings.database_owner_url,
                data_dir=data_dir,
                database=_database_name(settings.database_owner_url),
                app_url=settings.database_url,
            )
        )
    return asyncio.run(
        postgres.provision(
            settings.database_url, data_dir=data_dir, database=_database_name(settings.database_url)
        )
    )


def _database_name(url: str) -> str:
    """The database that an address means; the server's own, `postgres`, is nobody's place for tables."""
    name = make_url(url).database
    return name if name and name != "postgres" else "chiso"


def _api(settings: Settings, env: dict[str, str]) -> Command:
    argv = [sys.executable, "-m", "uvicorn", "--factory", "services.cli:api", "--no-access-log"]
    return Command("api", [*argv, "--host", settings.host, "--port", str(settings.port)], env)


def _anchor(settings: Settings, data_dir: Path) -> str:
    """The day on which the sandbox's world begins: today, at the first run. Kept, so that a later run goes on with
    the same world instead of mixing two."""
    path = data_dir / "sandbox.json"
    wanted = {"size": str(settings.sandbox_size), "seed": str(settings.sandbox_seed)}
    kept = read_json(path)
    anchor = kept.pop("anchor", None)
    if anchor is not None and kept != wanted:
        raise Invalid(
            "Dữ liệu đang có thuộc một sandbox khác.",
            f"{data_dir} holds a sandbox of size {kept.get('size')} and seed {kept.get('seed')}. Set SANDBOX_SIZE and "
            "SANDBOX_SEED to these, or choose another DATA_DIR, or remove it to begin anew.",
        )
    if anchor is None:
        anchor = datetime.combine(settings.now().date(), time(), TZ).isoformat()
        write_private(path, json.dumps({"anchor": anchor, **wanted}))
    return anchor


def _sandbox(settings: Settings, url: str, push_to: str, integrator: str, anchor: str) -> Command:
    argv = [sys.executable, "-m", "services.sandbox", "--port", url.rpartition(":")[2]]
    argv += ["--size", str(settings.sandbox_size), "--seed", str(settings.sandbox_seed), "--anchor", anchor]
    argv += ["--push-to", push_to, "--follow"]
    env = {
        "CHISO_SANDBOX_PUSH_USERNAME": integrator.partition(".")[0],
        "CHISO_SANDBOX_PUSH_PASSWORD": integrator,
    } | OUTPUT
    return Command("sandbox", argv, env)


def _sandbox_environment(url: str) -> dict[str, str]:
    """What the services must know to take the sandbox for both portals."""
    return {
        "NATIONAL_URL": f"{url}/national",
        "NATIONAL_USERNAME": "H31",
        "NATIONAL_PASSWORD": "sandbox",
        "PROVINCIAL_URL": f"{url}/provincial",
        "PROVINCIAL_CLIENT_ID": "chiso",
        "PROVINCIAL_CLIENT_SECRET": "sandbox",
        "REPORTING_URL": f"{url}/reporting",
        "REPORTING_PAUSE_SECONDS": "0",
        "READY_AFTER_SUMMARY": "1",
        "LOOKUPS_PER_SECOND": "2000",
    }


def _port_problem(host: str, port: int) -> str | None:
    """Why nothing can listen there; None if it can."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind, protocol) as probe:
            # As uvicorn does: connections of an earlier run that linger do not count as use.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
            probe.listen(1)
    except OSError as error:
        return error.strerror or str(error)
    return None


def _listens(url: str) -> bool:
    host, _, port = url.rpartition("/")[2].rpartition(":")
    try:
        socket.create_connection((host, int(port)), timeout=1).close()
    except OSError:
        return False
    return True


def _free_port(wanted: int, taken: int) -> int:
    if wanted != taken and _port_problem("127.0.0.1", wanted) is None:
        return wanted
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _reachable(host: str) -> str:
    """An address to call a server at that listens on `host`."""
    if host in ("0.0.0.0", "", "::"):  # noqa: S104 compared, not bound
        return "127.0.0.1"
    return f"[{host}]" if ":" in host else host
