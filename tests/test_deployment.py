"""The containers, without a Docker engine: the files are held against the published schema and against the code, and
what Compose would run is run here, command by command, on an embedded database."""

from __future__ import annotations

import importlib
import json
import os
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest
import typer
import yaml
from sqlalchemy.engine import make_url

from services import cli, up
from services.ingest.worker import PATIENCE_SECONDS
from shared import access, postgres
from shared.db import create_engine, session_scope
from shared.settings import Settings
from shared.vocabulary import Role
from tests.conftest import Cluster
from tests.make import NOW

ROOT = Path(__file__).parents[1]
COMPOSE = ROOT / "docker-compose.yml"
TEXT = COMPOSE.read_text(encoding="utf-8")
FILE: dict[str, Any] = yaml.safe_load(TEXT)
SERVICES: dict[str, dict[str, Any]] = FILE["services"]
OPERATIONS = (ROOT / "docs/operations.md").read_text(encoding="utf-8")
DOCKERFILE = (ROOT / "Dockerfile").read_text(encoding="utf-8").replace("\\\n", "")
PORTS = {"ingest": "8001", "reconcile": "8002", "indicators": "8003"}
"""The owner's: api.md."""
PATHS = {
    "ingest": ("/v1/dossiers", "/dvcqg/login", "/dvcqg/integration", "/v1/sync-runs"),
    "reconcile": ("/v1/decisions", "/v1/catalogue", "/v1/findings", "/v1/reconciliation/dossiers"),
    "indicators": ("/v1/indicators", "/v1/indicators/{group}", "/v1/indicators/{group}/{component}/items"),
}
"""Some of each service's part of api.md."""
OURS = [name for name in SERVICES if name != "database"]
VARIABLE = re.compile(r"\$\{(\w+)(?:(:[-?])([^}]*))?\}")


def values(node: Any) -> Iterator[str]:
    if isinstance(node, dict):
        for value in node.values():
            yield from values(value)
    elif isinstance(node, list):
        for value in node:
            yield from values(value)
    elif isinstance(node, str):
        yield node


def seconds(text: str) -> int:
    number, unit = text[:-1], text[-1]
    return int(number) * {"s": 1, "m": 60}[unit]


# --- the file ------------------------------------------------------------------------------------------------


def schema_check(path: Path) -> subprocess.CompletedProcess[str]:
    """Against the Compose Specification's own schema, of which check-jsonschema carries a copy."""
    command = ["-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec", str(path)]
    return subprocess.run([sys.executable, *command], capture_output=True, text=True, check=False)


def test_compose_file_is_valid_by_the_published_schema(tmp_path: Path) -> None:
    done = schema_check(COMPOSE)
    assert done.returncode == 0, done.stdout
    # The check can fail: a key that no service has.
    wrong = tmp_path / "docker-compose.yml"
    wrong.write_text(TEXT.replace("stop_grace_period: 2m", "stop_grace: 2m"), encoding="utf-8")
    assert schema_check(wrong).returncode == 1


def test_all_processes_of_the_card_are_there() -> None:
    workers = {f"{name}-worker" for name in PORTS}
    assert set(SERVICES) == {"database", "migrate", "sandbox", *PORTS, *workers}
    assert SERVICES["database"]["image"].startswith("postgres:18-")
    assert SERVICES["database"]["volumes"] == ["database:/var/lib/postgresql"]  # of the image since 18
    assert "database" in FILE["volumes"]
    assert [name for name, service in SERVICES.items() if "profiles" in service] == ["sandbox"]
    assert SERVICES["migrate"]["restart"] == "no"
    for name in set(SERVICES) - {"migrate"}:
        assert SERVICES[name]["restart"] == "unless-stopped", name
        assert {"test", "interval", "timeout", "retries", "start_period"} <= set(
            SERVICES[name]["healthcheck"]
        )


def test_the_order_of_the_start() -> None:
    for name in (*PORTS, *(f"{name}-worker" for name in PORTS)):
        assert SERVICES[name]["depends_on"] == {
            "database": {"condition": "service_healthy"},
            "migrate": {"condition": "service_completed_successfully"},
        }, name
    assert SERVICES["migrate"]["depends_on"] == {"database": {"condition": "service_healthy"}}


@pytest.mark.parametrize("name", PORTS)
def test_ports_are_those_of_the_contract(name: str) -> None:
    port, command = PORTS[name], SERVICES[name]["command"]
    assert command[command.index("--port") + 1] == port
    assert SERVICES[name]["ports"] == [f"${{CHISO_BIND:-127.0.0.1}}:{port}:{port}"]
    assert f"http://127.0.0.1:{port}/health" in SERVICES[name]["healthcheck"]["test"][-1]


def test_every_command_exists() -> None:
    known = typer.main.get_command(cli.command)
    for name in OURS:
        program, *rest = SERVICES[name]["command"]
        if program == "chiso":
            assert rest[0] in known.commands, name  # type: ignore[attr-defined]
            assert rest[0] != "work" or f"{rest[1]}-worker" == name
            assert rest[0] != "work" or rest[1] in cli.WORKERS
        elif program == "uvicorn":
            module, _, factory = rest[rest.index("--factory") + 1].partition(":")
            assert module == f"services.{name}.main"
            assert callable(getattr(importlib.import_module(module), factory))
        else:
            assert (program, rest[:2]) == ("python", ["-m", "services.sandbox"])
    for name in cli.WORKERS:
        test = SERVICES[f"{name}-worker"]["healthcheck"]["test"]
        assert test == ["CMD", "python", "-m", "shared.alive", name]


def test_containers_have_more_time_to_end_than_their_processes_take() -> None:
    for name in PORTS:
        command = SERVICES[name]["command"]
        graceful = int(command[command.index("--timeout-graceful-shutdown") + 1])
        assert graceful < seconds(SERVICES[name]["stop_grace_period"])
        assert seconds(SERVICES[f"{name}-worker"]["stop_grace_period"]) > PATIENCE_SECONDS
    assert seconds(SERVICES["database"]["stop_grace_period"]) >= 60


# --- settings and secrets ------------------------------------------------------------------------------------


def test_every_variable_is_documented_and_every_setting_exists() -> None:
    in_example = set(re.findall(r"^([A-Z_]+)=", (ROOT / ".env.example").read_text(encoding="utf-8"), re.M))
    for text in values(FILE):
        for name, *_ in VARIABLE.findall(text):
            assert name in in_example or f"`{name}`" in OPERATIONS, name
    known = {name.upper() for name in Settings.model_fields}
    for name in set(OURS) - {"sandbox"}:
        assert set(SERVICES[name]["environment"]) - known == set(), name


def test_defaults_are_those_of_the_settings() -> None:
    for name in set(OURS) - {"sandbox"}:
        for key, text in SERVICES[name]["environment"].items():
            variable = VARIABLE.fullmatch(text)
            if variable is None:
                continue  # the addresses of the database
            own, how, default = variable.groups()
            assert (own, how) == (key, ":-")
            expected = Settings.model_fields[key.lower()].get_default(call_default_factory=True)
            read = Settings(
                _env_file=None,
                **({key.lower(): json.loads(default) if "[" in default else default} if default else {}),
            )
            assert getattr(read, key.lower()) == expected, key


def test_no_secret_stands_in_the_file_outside_the_sandbox() -> None:
    for name, service in SERVICES.items():
        if service.get("profiles") == ["sandbox"]:
            continue
        for key, text in service["environment"].items():
            if re.search("PASSWORD|SECRET|TOKEN|KEY", key):
                assert re.fullmatch(r"\$\{\w+(:-|:\?[^}]+)\}", text), f"{name}: {key}"
            for secret in re.findall(r"://[^:/]+:(.*)@", text):
                assert re.fullmatch(r"\$\{\w+:\?[^}]+\}", secret), f"{name}: {key}"
    for variable in ("CHISO_OWNER_PASSWORD", "CHISO_APP_PASSWORD"):
        assert {how for own, how, _ in VARIABLE.findall(TEXT) if own == variable} == {":?"}


def test_who_holds_which_password() -> None:
    """The owner's: the database and migrate. The portals': ingest and its worker."""
    holds = {
        variable: {name for name, service in SERVICES.items() if variable in " ".join(values(service))}
        for variable in ("CHISO_OWNER_PASSWORD", "NATIONAL_PASSWORD", "PROVINCIAL_CLIENT_SECRET")
    }
    assert holds["CHISO_OWNER_PASSWORD"] == {"database", "migrate"}
    assert holds["NATIONAL_PASSWORD"] == holds["PROVINCIAL_CLIENT_SECRET"] == {"ingest", "ingest-worker"}
    for name in set(OURS) - {"sandbox"}:
        assert (
            make_url(SERVICES[name]["environment"]["DATABASE_URL"].replace("?", "")).username == "chiso_app"
        )


def test_the_database_logs_no_values_and_is_tuned_like_the_embedded_one() -> None:
    given = dict(text.removeprefix("-c").split("=", 1) for text in SERVICES["database"]["command"][1:])
    sized = {"shared_buffers", "max_connections"}
    assert {key: value for key, value in postgres.TUNING.items() if key not in sized}.items() <= given.items()
    private = {key: value for key, value in postgres.FIXED.items() if key.startswith("log_")}
    del private["log_line_prefix"]
    assert private.items() <= given.items()


def test_the_sandbox_s_credentials_are_those_that_the_document_gives_the_services() -> None:
    told = dict(re.findall(r"^([A-Z_]+)=(\S+)$", OPERATIONS, re.M))
    wanted = up._sandbox_environment("http://sandbox:8090")
    assert {key: told.get(key) for key in wanted if key != "READY_AFTER_SUMMARY"} == {
        key: value for key, value in wanted.items() if key != "READY_AFTER_SUMMARY"
    }
    sandbox = SERVICES["sandbox"]["environment"]
    assert sandbox["CHISO_SANDBOX_USERNAME"] == wanted["NATIONAL_USERNAME"]
    assert sandbox["CHISO_SANDBOX_PASSWORD"] == wanted["NATIONAL_PASSWORD"]
    assert sandbox["CHISO_SANDBOX_CLIENT_ID"] == wanted["PROVINCIAL_CLIENT_ID"]
    assert sandbox["CHISO_SANDBOX_CLIENT_SECRET"] == wanted["PROVINCIAL_CLIENT_SECRET"]
    read = set(re.findall(r'option\("(\w+)"\)', (ROOT / "services/sandbox/__main__.py").read_text("utf-8")))
    assert {key.removeprefix("CHISO_SANDBOX_") for key in sandbox} <= read


def test_the_table_of_settings_in_the_document_is_that_of_the_code() -> None:
    rows = dict(re.findall(r"^\| `([A-Z_]+)` \| (.*?) \|", OPERATIONS, re.M))
    example = dict(re.findall(r"^([A-Z_]+)=(.*)$", (ROOT / ".env.example").read_text("utf-8"), re.M))
    for name in Settings.model_fields:
        told = rows.get(name.upper(), "no row in docs/operations.md")
        assert told.strip("`") == example[name.upper()], name.upper()


# --- the image -----------------------------------------------------------------------------------------------


def test_the_image_is_plain_pinned_and_not_root() -> None:
    stages = re.findall(r"^FROM (\S+)", DOCKERFILE, re.M)
    assert len(stages) <= 2
    assert set(stages) == {"python:3.11-slim-bookworm"}
    last = DOCKERFILE.rpartition("\nFROM ")[2]
    assert re.findall(r"^USER (.+)$", last, re.M)[-1] == "7660:7660"
    installs = re.findall(r"pip install ([^&\n]+)", DOCKERFILE)
    assert installs
    for install in installs:
        assert "--require-hashes" in install or install.split() == ["--no-deps", "/wheels/*.whl"], install
    assert "://" not in DOCKERFILE
    assert not re.search(r"^(ARG|ENV) .*(PASSWORD|SECRET|KEY|TOKEN)", DOCKERFILE, re.M)


def test_the_tool_that_builds_is_pinned_by_the_lock() -> None:
    """The line of the Dockerfile that takes setuptools out of the other lock takes it, with hashes, and no more."""
    (cut,) = re.findall(r"(sed .*? requirements-dev\.lock) > build\.lock", DOCKERFILE)
    got = subprocess.run(shlex.split(cut), cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert re.findall(r"^([\w-]+)==", got, re.M) == ["setuptools"]
    assert "--hash=sha256:" in got
    assert "\nsetuptools==" not in (ROOT / "requirements.lock").read_text(encoding="utf-8")


def test_what_the_image_copies_is_let_through_and_nothing_private() -> None:
    lines = [line for line in (ROOT / ".dockerignore").read_text("utf-8").splitlines() if line[:1] not in "#"]
    assert lines[0] == "*"
    allowed = {line.removeprefix("!").rstrip("/") for line in lines if line.startswith("!")}
    packages = {"migrations", "services", "shared"}
    assert allowed == packages | {"pyproject.toml", "README.md", "requirements.lock", "requirements-dev.lock"}
    assert "**/.env*" in lines


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The packages as the image gets them: built from the files that .dockerignore lets through, not editable."""
    folder = tmp_path_factory.mktemp("image")
    source, target = folder / "src", folder / "site"
    source.mkdir()
    for name in ("migrations", "services", "shared"):
        shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__", "*.pyc"))
    for name in ("pyproject.toml", "README.md"):
        if (ROOT / name).exists():
            shutil.copy(ROOT / name, source)
    command = ["install", "-q", "--no-deps", "--no-build-isolation", "--target", str(target)]
    subprocess.run([sys.executable, "-m", "pip", *command, str(source)], check=True)
    return target


def test_an_installation_holds_every_file(installed: Path) -> None:
    sources = [
        path.relative_to(ROOT)
        for name in ("migrations", "services", "shared")
        for path in (ROOT / name).rglob("*")
        if path.is_file() and path.suffix != ".pyc"
    ]
    assert {path.suffix for path in sources} >= {".py", ".toml", ".tsv", ".mako", ".json"}
    assert [str(path) for path in sources if not (installed / path).is_file()] == []


# --- what Compose would run -----------------------------------------------------------------------------------


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


class Containers:
    """Starts the processes of the Compose file: their commands and environments, on a database of the tests' and on
    free ports, from the installed packages."""

    def __init__(self, installed: Path, owner_url: str, app_url: str, folder: Path) -> None:
        self.installed, self.owner_url, self.app_url, self.folder = installed, owner_url, app_url, folder
        self.ports: dict[str, int] = {}
        self.running: dict[str, subprocess.Popen[bytes]] = {}

    def environment(self, name: str) -> dict[str, str]:
        given = dict(SERVICES[name]["environment"])
        given["DATABASE_URL"] = self.app_url
        if "DATABASE_OWNER_URL" in given:
            given["DATABASE_OWNER_URL"] = self.owner_url
        filled = {key: VARIABLE.sub(lambda found: found[3], text) for key, text in given.items()}
        own = {"PATH": os.environ["PATH"], "PYTHONPATH": str(self.installed), "PYTHONIOENCODING": "utf-8"}
        return own | filled | {"CHISO_NOW": NOW.isoformat()}

    def argv(self, name: str, words: list[str]) -> list[str]:
        modules = {"chiso": "services.cli", "uvicorn": "uvicorn"}
        first = [sys.executable] if words[0] == "python" else [sys.executable, "-m", modules[words[0]]]
        argv = [*first, *words[1:]]
        if name in PORTS:
            text = json.dumps(argv).replace(PORTS[name], str(self.ports[name]))
            argv = [word.replace("0.0.0.0", "127.0.0.1") for word in json.loads(text)]
        return argv

    def run(self, name: str, words: list[str]) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            self.argv(name, words),
            env=self.environment(name),
            cwd=self.folder,
            capture_output=True,
            text=True,
            check=False,
        )

    def start(self, name: str) -> None:
        if name in PORTS:
            self.ports[name] = free_port()
        with (self.folder / f"{name}.log").open("wb") as log:
            self.running[name] = subprocess.Popen(
                self.argv(name, SERVICES[name]["command"]),
                env=self.environment(name),
                cwd=self.folder,
                stdout=log,
                stderr=subprocess.STDOUT,
            )

    def healthy(self, name: str) -> bool:
        return self.run(name, SERVICES[name]["healthcheck"]["test"][1:]).returncode == 0

    def url(self, name: str) -> str:
        return f"http://127.0.0.1:{self.ports[name]}"

    def log(self, name: str) -> str:
        return (self.folder / f"{name}.log").read_text(encoding="utf-8", errors="replace")

    def stop(self) -> dict[str, int]:
        for process in self.running.values():
            process.send_signal(signal.SIGTERM)
        return {name: process.wait(timeout=60) for name, process in self.running.items()}


@contextmanager
def ending(containers: Containers) -> Iterator[Containers]:
    try:
        yield containers
    finally:
        for process in containers.running.values():
            process.kill()
            process.wait()


@asynccontextmanager
async def empty_database(cluster: Cluster) -> AsyncIterator[tuple[str, str]]:
    """As the image of PostgreSQL leaves it: a database without tables whose owner may make roles, and no more.
    Gives the owner's address, and that of a role that does not exist yet."""
    await cluster.statement("CREATE ROLE deploying LOGIN CREATEROLE PASSWORD 'deploying'")
    await cluster.statement("CREATE DATABASE deployed OWNER deploying TEMPLATE template0")
    owner = make_url(cluster.owner_url("deployed")).set(username="deploying", password="deploying")
    app = owner.set(username="deployed_app", password="chosen")
    try:
        yield owner.render_as_string(hide_password=False), app.render_as_string(hide_password=False)
    finally:
        await cluster.drop("deployed")
        await cluster.statement("DROP ROLE IF EXISTS deployed_app")
        await cluster.statement("DROP ROLE deploying")


async def until(client: httpx.AsyncClient, containers: Containers, name: str, status: int) -> httpx.Response:
    """The answer of /ready once it has this status; how long that takes is not judged."""
    for _ in range(600):
        if (code := containers.running[name].poll()) is not None:
            raise AssertionError(f"{name} ended with {code}:\n{containers.log(name)}")
        try:
            answer = await client.get(f"{containers.url(name)}/ready")
        except httpx.ConnectError:
            time.sleep(0.1)  # noqa: ASYNC251 nothing else runs in this loop
            continue
        if answer.status_code == status:
            return answer
        time.sleep(0.1)  # noqa: ASYNC251
    raise AssertionError(f"{name}: /ready never answered {status}\n{containers.log(name)}")


async def test_what_compose_would_run(cluster: Cluster, installed: Path, tmp_path: Path) -> None:
    async with empty_database(cluster) as (owner_url, app_url), httpx.AsyncClient() as client:
        with ending(Containers(installed, owner_url, app_url, tmp_path)) as containers:
            # migrate makes the role and the tables.
            done = containers.run("migrate", SERVICES["migrate"]["command"])
            assert done.returncode == 0, done.stderr
            assert done.stdout.startswith("the tables are at ")
            engine = create_engine(app_url)
            async with session_scope(engine) as session:
                _, key = await access.create_key(
                    session, role=Role.ADMIN, unit_code="H31", now=NOW, by="test", note=""
                )
            await engine.dispose()

            # Without workers: alive, and each waits for its own worker only.
            for name in PORTS:
                containers.start(name)
            for name in PORTS:
                answer = await until(client, containers, name, 503)
                assert answer.json()["missing"] == [f"worker {name}"]
                assert containers.healthy(name)

            # Each answers its part of the contract, and not the others'.
            for name in PORTS:
                paths = (await client.get(f"{containers.url(name)}/openapi.json")).json()["paths"]
                for owner, expected in PATHS.items():
                    assert [path for path in expected if (path in paths) != (owner == name)] == [], name
                assert (await client.get(f"{containers.url(name)}/docs")).status_code == 200
            asked = {"ingest": "/v1/sync-runs", "reconcile": "/v1/findings", "indicators": "/v1/indicators"}
            for name, path in asked.items():
                for other in PORTS:
                    answer = await client.get(
                        containers.url(other) + path, headers={"Authorization": f"Bearer {key}"}
                    )
                    assert answer.status_code == (200 if other == name else 404), (name, other, answer.text)

            # A worker makes its own service ready, and its health check content.
            assert not containers.healthy("reconcile-worker")
            containers.start("reconcile-worker")
            await until(client, containers, "reconcile", 200)
            assert (await until(client, containers, "indicators", 503)).json()["missing"] == [
                "worker indicators"
            ]
            assert containers.healthy("reconcile-worker")
            for name in ("ingest", "indicators"):
                containers.start(f"{name}-worker")
            for name in ("ingest", "indicators"):
                await until(client, containers, name, 200)

            # TERM, as `docker compose stop` sends it, ends all of them by themselves.
            assert set(containers.stop().values()) <= {0, -signal.SIGTERM}
            assert urlsplit(app_url).password is not None
            for name in containers.running:
                assert "chosen" not in containers.log(name)
