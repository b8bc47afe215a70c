"""What `chiso up` does once its processes run on the sandbox: the first sync, and a summary of what it found.

Everything goes through the REST API, as the one-stop system or ops would do it; only the mark that the summary has
been told (for /ready) is written to the database.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from typing import Any

import httpx
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn
from rich.table import Table

from shared import queue
from shared.access import create_key
from shared.db import create_engine, session_scope
from shared.errors import Unavailable
from shared.settings import Settings
from shared.vocabulary import Role

START = 60.0
"""Seconds that the API has to answer for the first time."""
LONGEST = 540.0
"""Seconds that one stage of the first sync may take before we say that it does not end."""
FIRST_PULLS = (
    ("national", "units"),
    ("national", "procedures"),
    ("provincial", "dossiers"),
    ("national", "lookups"),
)
SHOWN_UNIT = "H31.135"
"""The commune whose key and figures the summary and the README's examples show: phường Phố Hiến."""


def first_run(
    base_url: str, sandbox_url: str, keys: Mapping[Role, str], settings: Settings, console: Console
) -> None:
    """Waits for the first pulls, loads the decision register, takes the integrator's pushes, moves the sandbox to
    now and prints what was found. `keys`: the key in plain text by role; `settings.database_url`: the services'.

    Raises Unavailable where something does not answer. Runs in a thread of its own: it may end at any moment.
    """
    headers = {"Authorization": f"Bearer {keys[Role.ADMIN]}"}
    with (
        httpx.Client(base_url=base_url, headers=headers, timeout=60, trust_env=False) as api,
        httpx.Client(base_url=sandbox_url, timeout=LONGEST, trust_env=False) as sandbox,
    ):
        _wait(api, base_url)
        started = time.monotonic()
        with _bars(console) as bars:
            _first_pulls(api, bars, FIRST_PULLS[:2])
            _load_decisions(api, sandbox, bars)
            _first_pulls(api, bars, FIRST_PULLS[2:3])
            _integrator_pushes(sandbox, bars)
            _first_pulls(api, bars, FIRST_PULLS[3:])
            _time_moves(api, sandbox, settings, bars)
            _workers_catch_up(api, bars)
        unit_key = asyncio.run(_finish(settings))
        _summary(api, console, time.monotonic() - started)
        _addresses(console, base_url, sandbox_url, keys, unit_key)
    asyncio.run(_told(settings))


def _wait(api: httpx.Client, base_url: str) -> None:
    limit = time.monotonic() + START
    while time.monotonic() < limit:
        try:
            if api.get("/health").is_success:
                return
        except httpx.TransportError:
            pass
        time.sleep(0.1)
    raise Unavailable("API không trả lời.", f"The API does not answer at {base_url}/health.")


def _bars(console: Console) -> Progress:
    return Progress(
        TextColumn("{task.description:<34}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        console=console,
        disable=not console.is_terminal,
    )


def _get(api: httpx.Client, path: str, **query: str) -> Any:
    answer = api.get(path, params=query)
    answer.raise_for_status()
    return answer.json()


def _first_pulls(api: httpx.Client, bars: Progress, wanted: tuple[tuple[str, str], ...]) -> None:
    """The worker asks for them by itself; here they are only watched."""
    for portal, subject in wanted:
        _watch(api, bars, portal, subject)


def _watch(api: httpx.Client, bars: Progress, portal: str, subject: str, *, after: int = 0) -> int:
    """Follow the newest run of a subject to its end. Returns its id."""
    task = bars.add_task(f"{portal}: {subject}", total=None)
    limit = time.monotonic() + LONGEST
    while time.monotonic() < limit:
        items = _get(api, "/v1/sync-runs", portal=portal, subject=subject, limit="1")["items"]
        run = items[0] if items and items[0]["id"] > after else None
        if run is not None:
            total = run["total"] or (run["items"] if run["state"] == "done" else None)
            bars.update(task, completed=run["items"], total=total)
            if run["state"] == "done":
                return int(run["id"])
            if run["state"] == "failed":
                raise Unavailable(
                    "Lần lấy dữ liệu đầu tiên không thành công.",
                    f"The pull of {subject} from the {portal} portal failed: {run['error']}",
                )
        time.sleep(0.25)
    raise Unavailable("Lần lấy dữ liệu đầu tiên không kết thúc.", f"The pull of {portal} {subject} does not end.")


def _load_decisions(api: httpx.Client, sandbox: httpx.Client, bars: Progress) -> None:
    decisions = _get(sandbox, "/_sandbox/decisions")["items"]
    for decision in bars.track(decisions, description="decisions of the chairman"):
        api.post("/v1/decisions", json=decision).raise_for_status()


def _integrator_pushes(sandbox: httpx.Client, bars: Progress) -> None:
    task: TaskID = bars.add_task("integrator's pushes to /dvcqg", total=None)
    answer = sandbox.post("/_sandbox/push", json={"wait": True})
    answer.raise_for_status()
    sent = answer.json()
    done = int(sent.get("new", 0)) + int(sent.get("updated", 0))
    bars.update(task, completed=done, total=done)


def _time_moves(api: httpx.Client, sandbox: httpx.Client, settings: Settings, bars: Progress) -> None:
    """From the sandbox's anchor (today's first moment) to now: dossiers arrive, states advance, updates are pushed."""
    before = _get(api, "/v1/sync-runs", portal="provincial", subject="dossiers", limit="1")["items"][0]["id"]
    sandbox.post("/_sandbox/clock", json={"now": settings.now().isoformat()}).raise_for_status()
    _integrator_pushes(sandbox, bars)
    if api.post("/v1/sync-runs", json={"portal": "provincial", "subject": "dossiers"}).status_code != 409:
        _watch(api, bars, "provincial", "dossiers", after=before)
    runs = _get(api, "/v1/sync-runs", portal="national", subject="lookups", limit="1")["items"]
    if api.post("/v1/sync-runs", json={"portal": "national", "subject": "lookups"}).status_code != 409:
        _watch(api, bars, "national", "lookups", after=runs[0]["id"])


def _workers_catch_up(api: httpx.Client, bars: Progress) -> None:
    task = bars.add_task("comparing and counting", total=None)
    limit = time.monotonic() + LONGEST
    highest = 0
    while time.monotonic() < limit:
        pending = sum(api.get("/ready").json()["pending_changes"].values())
        highest = max(highest, pending)
        bars.update(task, completed=highest - pending, total=highest)
        if not pending:
            return
        time.sleep(0.25)
    raise Unavailable("Các tiến trình xử lý không theo kịp.", "The workers do not catch up.")


async def _finish(settings: Settings) -> str:
    """A key of one commune, to see what its officers see."""
    engine = create_engine(settings.database_url or "", pool_size=1)
    try:
        async with session_scope(engine) as session:
            _, key = await create_key(
                session, role=Role.UNIT, unit_code=SHOWN_UNIT, now=settings.now(), by="chiso up"
            )
            return key
    finally:
        await engine.dispose()


async def _told(settings: Settings) -> None:
    engine = create_engine(settings.database_url or "", pool_size=1)
    try:
        async with session_scope(engine) as session:
            await queue.beat(session, "summary", now=settings.now())
    finally:
        await engine.dispose()


def _summary(api: httpx.Client, console: Console, seconds: float) -> None:
    dossiers = _get(api, "/v1/reconciliation/dossiers")
    procedures = _get(api, "/v1/reconciliation/procedures")
    progress = _get(api, "/v1/indicators/progress")
    console.print()
    console.rule(f"Kết quả sau {seconds:.0f} giây · what was found")
    console.print_json(data={"dossiers": dossiers, "procedures": procedures, "progress": progress})
    findings = Table("Sai lệch · finding", "Số lượng · open")
    console.print(findings)


def _addresses(
    console: Console, base_url: str, sandbox_url: str, keys: Mapping[Role, str], unit_key: str
) -> None:
    console.print()
    for name, address in (
        ("API", base_url),
        ("Documentation", f"{base_url}/docs"),
        ("Ready, metrics", f"{base_url}/ready  {base_url}/metrics"),
        ("Sandbox portals", f"{sandbox_url}/_sandbox/stats"),
    ):
        console.print(f"{name:<16}{address}", highlight=False, soft_wrap=True)
    for role, key in keys.items():
        console.print(f"{'Key ' + role.value:<16}{key}", highlight=False, soft_wrap=True)
    console.print(f"{'Key unit':<16}{unit_key}   ({SHOWN_UNIT} only)", highlight=False, soft_wrap=True)
