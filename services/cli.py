"""The command `chiso`, and the one place that joins the services' APIs into one application."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import typer
from fastapi import FastAPI
from rich.console import Console

from migrations import runner
from services import supervisor
from services import up as everything
from shared import logging, postgres
from shared.app import create_app
from shared.errors import ChisoError
from shared.settings import Settings, SettingsInvalid, get_settings

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
    return create_app("chiso", settings=settings)


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
    console.print("stopped: " + ", ".join(stopped) if stopped else "nothing was running", highlight=False)


@command.command()
def migrate() -> None:
    """Bring the tables up to date, on DATABASE_OWNER_URL, else DATABASE_URL, else the embedded server."""
    settings = get_settings()
    with _owner_url(settings) as url:
        runner.run(url)
    console.print(f"the tables are at {runner.head()}", highlight=False)


def main() -> None:
    """The entry point. What a person can mend is said in a line, not in a traceback."""
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
def _owner_url(settings: Settings) -> Iterator[str]:
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
