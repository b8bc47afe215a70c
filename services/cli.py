"""The command `chiso`, and the one place that joins the services' APIs into one application."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from datetime import datetime
from io import TextIOWrapper
from pathlib import Path
from typing import Annotated

import typer
import uvloop
from fastapi import FastAPI
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TextColumn,
    TimeElapsedColumn,
)
from rich.table import Table
from sqlalchemy.engine import make_url
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncEngine

from migrations import runner
from services import supervisor
from services import up as everything
from services.indicators import capture_scores
from services.indicators import main as indicators
from services.indicators import recount as recounting
from services.indicators import worker as indicators_worker
from services.ingest import capture_circuit, captures, import_files, imports, pull, run_queries, runs
from services.ingest import main as ingest
from services.ingest import worker as ingest_worker
from services.ingest.files.columns import KINDS
from services.reconcile import main as reconcile_main
from services.reconcile import worker as reconcile_worker
from shared import access, logging, postgres
from shared.app import create_app
from shared.db import create_engine, session_scope
from shared.errors import ChisoError, Invalid, Unavailable
from shared.settings import Settings, SettingsInvalid, get_settings
from shared.vocabulary import Portal, Role, Subject

command = typer.Typer(
    name="chiso",
    help="Service-quality indicators of Quyết định 766/QĐ-TTg: ingest, reconcile, serve.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
console = Console()


def api() -> FastAPI:
    """The application of all services, for uvicorn's --factory."""
    settings = get_settings()
    logging.configure(settings.log_level)
    routers = (*ingest.routers, *reconcile_main.routers, *indicators.routers)
    return create_app("chiso", *routers, settings=settings)


@command.command()
def up() -> None:
    """Run everything: database, migrations, sandbox portals, API and workers; Ctrl-C stops it all.

    The sandbox plays the portals unless NATIONAL_URL or PROVINCIAL_URL is set.
    """
    settings = get_settings()
    logging.configure(settings.log_level)
    everything.run(settings, console)


@command.command()
def down() -> None:
    """Stop what an earlier `chiso up` on this DATA_DIR left running, its database too."""
    data_dir = get_settings().data_dir.resolve()
    stopped = supervisor.stop(data_dir)
    server = postgres.running(data_dir)
    if server is not None:
        server.stop()
        stopped.append(f"PostgreSQL (pid {server.pid})")
    console.print(
        "stopped: " + ", ".join(stopped) if stopped else "nothing was running",
        highlight=False,
        soft_wrap=True,
    )


@command.command()
def migrate() -> None:
    """Bring the tables up to date, on DATABASE_OWNER_URL, else DATABASE_URL, else the embedded server.

    With both addresses, the role of DATABASE_URL is given its rights, and made where the owner may make roles.
    """
    settings = get_settings()
    with _owner_url(settings) as url:
        everything.migrate(url)
    console.print(f"the tables are at {runner.head()}", highlight=False)


WORKERS = {
    "ingest": ingest_worker.run,
    "reconcile": reconcile_worker.run,
    "indicators": indicators_worker.run,
}


@command.command()
def work(name: Annotated[str, typer.Argument(help="ingest, reconcile or indicators")]) -> None:
    """Run one worker until INT or TERM; any number of them may run beside each other."""
    if name not in WORKERS:
        raise Invalid(
            f"Không có tiến trình {name}.",
            f"There is no worker {name!r}: choose one of {', '.join(WORKERS)}.",
        )
    settings = get_settings()
    logging.configure(settings.log_level)
    uvloop.run(WORKERS[name](settings))


@command.command()
def sync(portal: Portal, subject: Subject) -> None:
    """Pull one subject of a portal now, with progress, in this process.

    Without NATIONAL_URL and PROVINCIAL_URL: from the sandbox of the `chiso up` that runs on this DATA_DIR.
    """
    settings = everything.on_running_sandbox(get_settings())
    runs.check_subject(portal, subject, settings)
    logging.configure(settings.log_level if "log_level" in settings.model_fields_set else "WARNING")
    with _services_url(settings) as url, _bar() as bar:
        task = bar.add_task(f"{portal.value} {subject.value}", total=None)

        async def once() -> None:
            async with _engine(url) as engine:
                run_id = await pull.run_one(
                    engine,
                    settings,
                    portal,
                    subject,
                    on_progress=lambda now: bar.update(task, completed=now.items, total=now.total),
                )
                async with session_scope(engine) as session:
                    run = await run_queries.read(session, run_id)
            bar.stop()
            counts = ", ".join(
                f"{run[name]} {name}" for name in ("accepted", "unchanged", "stale", "rejected")
            )
            console.print(
                f"run {run_id} {run['state']}: {run['items']} items ({counts})",
                highlight=False,
                soft_wrap=True,
            )

        asyncio.run(once())


@command.command()
def capture(
    period: Annotated[
        str | None, typer.Option(help="2026-08, 2026-Q3, 2026; none: those that are due")
    ] = None,
    close_circuit: Annotated[
        bool, typer.Option("--close-circuit", help="ask again a portal that blocked us: a person has looked")
    ] = False,
) -> None:
    """Capture what the national portal publishes now, with progress, in this process.

    Needs REPORTING_URL; without it and without portals: from the sandbox of the `chiso up` that runs on this DATA_DIR.
    """
    settings = everything.on_running_sandbox(get_settings())
    runs.check_subject(Portal.NATIONAL, Subject.CAPTURES, settings)
    cursor = runs.capture_of(Subject.CAPTURES, period, settings.now()) if period else None
    logging.configure(settings.log_level if "log_level" in settings.model_fields_set else "WARNING")
    with _services_url(settings) as url, _bar() as bar:
        task = bar.add_task("capture", total=None)

        async def once() -> None:
            async with _engine(url) as engine:
                if close_circuit:
                    async with session_scope(engine) as session:
                        await capture_circuit.close(session, by="chiso capture", now=settings.now())
                found: list[captures.Told] = []
                for _ in range(2):  # a run that lay unfinished is gone on with, and may be of other periods
                    run_id = await pull.run_one(
                        engine,
                        settings,
                        Portal.NATIONAL,
                        Subject.CAPTURES,
                        on_progress=lambda now: bar.update(task, completed=now.items, total=now.total),
                        by="chiso capture",
                        cursor=cursor,
                    )
                    async with session_scope(engine) as session:
                        found += await captures.of_run(session, run_id)
                    if period is None or period in {each.period for each in found}:
                        break
            bar.stop()
            for line in captures.told(found):
                console.print(line, highlight=False, soft_wrap=True, markup=False)

        asyncio.run(once())


@command.command("import")
def import_file(
    file: Path,
    kind: Annotated[str, typer.Option(help=", ".join(KINDS))],
    portal: Annotated[Portal, typer.Option(help="dossiers: whose export it is")] = Portal.NATIONAL,
    period: Annotated[str | None, typer.Option(help="a label: 2026-08, 2026-Q3, 2026")] = None,
    exported_at: Annotated[
        datetime | None, typer.Option(help="dossiers, petitions: when the portal made it")
    ] = None,
    valid_from: Annotated[datetime | None, typer.Option(help="units: their first day")] = None,
    valid_to: Annotated[datetime | None, typer.Option(help="units, predecessors: the last day")] = None,
    complete: Annotated[bool, typer.Option(help="procedures: the file holds all there are")] = False,
    again: Annotated[bool, typer.Option(help="begin anew")] = False,
    dry_run: Annotated[bool, typer.Option(help="say what is understood, store nothing")] = False,
) -> None:
    """Import a file (XLSX, CSV) with progress; one that was interrupted goes on where it ended."""
    settings = get_settings()
    asked = import_files.asked(
        kind,
        by="chiso import",
        name=file.name,
        portal=portal,
        period=period,
        exported_at=exported_at,
        valid_from=valid_from and valid_from.date(),
        valid_to=valid_to and valid_to.date(),
        complete=complete,
        again=again,
    )
    logging.configure(settings.log_level if "log_level" in settings.model_fields_set else "WARNING")
    with _services_url(settings) as url, _bar() as bar:
        task = bar.add_task(f"import {kind}", total=None)

        async def once() -> None:
            async with _engine(url) as engine:
                run = await imports.run_one(
                    engine,
                    settings,
                    file,
                    asked,
                    trial=dry_run,
                    on_progress=lambda now: bar.update(task, completed=now.cursor, total=now.total),
                )
            bar.stop()
            for line in imports.told(run):
                console.print(line, highlight=False, soft_wrap=True, markup=False)

        asyncio.run(once())


@command.command()
def reconcile() -> None:
    """Compare all dossiers from scratch, with progress; ends in the same findings as the worker's."""
    settings = get_settings()
    with _services_url(settings) as url, _bar() as bar:
        task = bar.add_task("reconcile", total=None)

        async def full() -> dict[str, int]:
            async with _engine(url) as engine:
                return await reconcile_worker.full(
                    engine,
                    settings.now,
                    on_progress=lambda done, total: bar.update(task, completed=done, total=total),
                )

        found = asyncio.run(full())
    compared = found.pop("compared", 0)
    changes = ", ".join(f"{number} {what}" for what, number in found.items() if number)
    console.print(
        f"{compared} dossiers compared again; findings: {changes or 'none changed'}", highlight=False
    )


@command.command()
def recount() -> None:
    """Rebuild assessments and tally from the dossiers, with progress, and say what differed; score captures again."""
    settings = get_settings()
    with _services_url(settings) as url, _bar() as bar:
        task = bar.add_task("recount", total=None)

        async def again() -> None:
            async with _engine(url) as engine, session_scope(engine) as session:
                before = await recounting.check(session)
                counted = await recounting.recount(
                    session,
                    now=settings.now(),
                    on_progress=lambda now: bar.update(task, completed=now.dossiers, total=now.total),
                )
                await capture_scores.score_captures(session, now=settings.now(), again=True)
            bar.stop()
            console.print(f"{len(before)} cells differed; {counted} dossiers counted again", highlight=False)

        asyncio.run(again())


key = typer.Typer(help="API keys: create, list, revoke.", no_args_is_help=True)
command.add_typer(key, name="key")


@key.command("create")
def key_create(
    role: Role,
    unit: Annotated[str, typer.Option(help="the unit whose subtree the key sees")] = "H31",
    note: Annotated[str, typer.Option(help="what it is for")] = "",
) -> None:
    """Make a key and print it, this once: only its hash is kept."""
    settings = get_settings()

    async def make() -> None:
        async with _engine(url) as engine, session_scope(engine) as session:
            _, made = await access.create_key(
                session, role=role, unit_code=unit, now=settings.now(), by="chiso key", note=note
            )
        console.print(made, highlight=False, soft_wrap=True)

    with _services_url(settings) as url:
        asyncio.run(make())


@key.command("list")
def key_list() -> None:
    """All keys, without their secrets."""

    async def show() -> None:
        async with _engine(url) as engine, session_scope(engine) as session:
            _table(
                [
                    {
                        "id": row.id,
                        "role": row.role,
                        "unit": row.unit_code,
                        "created": f"{row.created_at:%Y-%m-%d}",
                        "by": row.created_by,
                        "note": row.note,
                        "revoked": f"{row.revoked_at:%Y-%m-%d}" if row.revoked_at else "",
                    }
                    for row in await access.list_keys(session)
                ]
            )

    with _services_url(get_settings()) as url:
        asyncio.run(show())


@key.command("revoke")
def key_revoke(key_id: Annotated[str, typer.Argument(metavar="ID")]) -> None:
    """End a key at once."""
    settings = get_settings()

    async def end() -> None:
        async with _engine(url) as engine, session_scope(engine) as session:
            await access.revoke_key(session, key_id, now=settings.now())
        console.print(f"{key_id} revoked", highlight=False)

    with _services_url(settings) as url:
        asyncio.run(end())


@asynccontextmanager
async def _engine(url: str) -> AsyncIterator[AsyncEngine]:
    engine = create_engine(url, pool_size=4)
    try:
        try:
            async with engine.connect() as connection:
                found = await runner.current(connection)
        except (OSError, DBAPIError) as error:
            raise Unavailable(
                "Không kết nối được cơ sở dữ liệu.",
                f"The database of DATABASE_URL cannot be used ({type(error).__name__}).",
            ) from None
        if found != runner.head():
            raise Unavailable(
                "Cơ sở dữ liệu chưa có bảng của phiên bản này.",
                f"The tables are at {found or 'nothing'}, this code needs {runner.head()}: `chiso migrate`, or "
                "`chiso up`, brings them up to date.",
            )
        yield engine
    finally:
        await engine.dispose()


def _bar() -> Progress:
    return Progress(
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
    )


def _table(rows: Sequence[Mapping[str, object]]) -> None:
    table = Table()
    for name in rows[0] if rows else ("nothing",):
        table.add_column(name)
    for row in rows:
        table.add_row(*(str(value) for value in row.values()))
    console.print(table)


def main() -> None:
    """The entry point. What a person can mend is said in a line, not in a traceback."""
    for stream in (sys.stdout, sys.stderr):  # a terminal that is not UTF-8 gets question marks, not a crash
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="replace")
    try:
        command()
    except SettingsInvalid as error:
        _complain(error.en)
        sys.exit(2)
    except ChisoError as error:
        _complain(error.en)
        sys.exit(1)


def _complain(text: str) -> None:
    Console(stderr=True).print(text, style="red", markup=False, highlight=False, soft_wrap=True)


@contextmanager
def _services_url(settings: Settings) -> Iterator[str]:
    """The services' own role: DATABASE_URL, else the embedded server, which is started where it does not run."""
    if settings.database_url is not None:
        yield settings.database_url
        return
    server = postgres.start(settings.data_dir)
    try:
        yield asyncio.run(postgres.provision(server.admin_url(), data_dir=server.data_dir)).app_url
    finally:
        if not server.adopted:
            server.stop()


@contextmanager
def _owner_url(settings: Settings) -> Iterator[str]:
    if settings.database_owner_url is not None and settings.database_url is not None:
        name = make_url(settings.database_owner_url).database or "chiso"
        yield asyncio.run(
            postgres.provision(
                settings.database_owner_url,
                data_dir=settings.data_dir,
                database=name,
                app_url=settings.database_url,
            )
        ).owner_url
        return
    if settings.owner_url is not None:
        yield settings.owner_url
        return
    server = postgres.start(settings.data_dir)
    try:
        yield asyncio.run(postgres.provision(server.admin_url(), data_dir=server.data_dir)).owner_url
    finally:
        if not server.adopted:
            server.stop()


if __name__ == "__main__":
    main()
