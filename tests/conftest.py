"""One embedded PostgreSQL a test run. `alembic upgrade head` runs once, into a template; what a test gets is a
savepoint session on a shared copy, or, where it needs several connections, a database of its own (0.05 s)."""

from __future__ import annotations

import asyncio
import itertools
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import asyncpg
import hypothesis
import pytest
from sqlalchemy.engine import make_url
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession

from migrations import runner
from shared import postgres, postgres_roles
from shared.db import create_engine
from shared.settings import Settings
from tests.make import NOW

# No test asserts a time: the machine may be busy, and the first use of the calendar loads the holidays.
hypothesis.settings.register_profile("chiso", deadline=None)
hypothesis.settings.load_profile("chiso")

_numbers = itertools.count(1)


class Cluster:
    """The run's server and its migrated template."""

    def __init__(self, server: postgres.Server, provisioned: postgres_roles.Provisioned) -> None:
        self.server = server
        self.provisioned = provisioned

    async def statement(self, sql: str) -> None:
        url = make_url(self.server.admin_url())
        connection = await asyncpg.connect(
            host=str(url.query["host"]), user=url.username, password=url.password, database="postgres"
        )
        try:
            await connection.execute(sql)
        finally:
            await connection.close()

    def app_url(self, database: str) -> str:
        """The address that the services would get: neither superuser nor owner."""
        return make_url(self.provisioned.app_url).set(database=database).render_as_string(hide_password=False)

    def owner_url(self, database: str) -> str:
        return (
            make_url(self.provisioned.owner_url).set(database=database).render_as_string(hide_password=False)
        )

    async def create(self) -> str:
        name = f"test_{next(_numbers)}"
        await self.statement(f"CREATE DATABASE {name} TEMPLATE chiso")
        return name

    async def drop(self, name: str) -> None:
        await self.statement(f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture(scope="session")
def cluster() -> Iterator[Cluster]:
    with tempfile.TemporaryDirectory(prefix="chiso-test-") as folder:
        server = postgres.start(Path(folder) / "data")
        try:
            provisioned = asyncio.run(
                postgres_roles.provision(server.admin_url(), data_dir=server.data_dir, database="chiso")
            )
            runner.run(provisioned.owner_url)
            yield Cluster(server, provisioned)
        finally:
            server.stop("immediate")


@pytest.fixture
async def database(cluster: Cluster) -> AsyncIterator[str]:
    """The address of a fresh database, as the services' role. For tests with several connections."""
    name = await cluster.create()
    yield cluster.app_url(name)
    await cluster.drop(name)


@pytest.fixture
async def engine(database: str) -> AsyncIterator[AsyncEngine]:
    engine = create_engine(database)
    yield engine
    await engine.dispose()


@pytest.fixture(scope="session")
async def shared_engine(cluster: Cluster) -> AsyncIterator[AsyncEngine]:
    name = await cluster.create()
    engine = create_engine(cluster.app_url(name))
    yield engine
    await engine.dispose()
    await cluster.drop(name)


@pytest.fixture
async def session(shared_engine: AsyncEngine) -> AsyncIterator[AsyncSession]:
    """A session whose work is undone after the test, whatever it commits (a savepoint each time)."""
    async with shared_engine.connect() as connection:
        outer = await connection.begin()
        async with AsyncSession(
            connection, expire_on_commit=False, join_transaction_mode="create_savepoint"
        ) as session:
            yield session
        await outer.rollback()


@pytest.fixture
def settings(database: str) -> Settings:
    """Settings on a fresh database, without any .env and with a clock of their own set by the test."""
    return Settings(_env_file=None, database_url=database, chiso_now=NOW)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """What tests have to say besides passing (`record_property("printed", …)`), wherever they ran."""
    for report in terminalreporter.getreports("passed"):
        for name, value in report.user_properties:
            if name == "printed":
                terminalreporter.write_line(str(value))
