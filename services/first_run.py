"""What `chiso up` does once its processes run on the sandbox: the first sync, and a summary of what it found.

Everything goes through the REST API, as the one-stop system or ops would do it; only the commune's key, the wish that
patterns of units are looked for now (the worker would some minutes later) and the mark that the summary has been told
(for /ready) are written to the database.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from typing import Any

import httpx
from rich.console import Console

from services.run_keys import run_keys
from services.summary import addresses, summary
from shared import queue
from shared.db import create_engine, session_scope
from shared.errors import Unavailable
from shared.settings import Settings
from shared.vocabulary import Consumer, Role

START = 60.0
"""Seconds that the API has to answer for the first time."""
LONGEST = 540.0
"""Seconds that one stage of the first sync may take before we say that it does not end."""
SILENCE = 10.0
"""Seconds after which a stage that has not ended says how far it is."""
NAMES = {
    ("national", "units"): "Đơn vị trên Cổng DVCQG (national units)",
    ("national", "procedures"): "TTHC trên CSDLQG (national procedures)",
    ("provincial", "dossiers"): "Hồ sơ ở một cửa tỉnh (provincial)",
    ("national", "lookups"): "Tra cứu trên Cổng DVCQG (look-ups)",
    ("national", "captures"): "Số liệu Cổng công bố (published figures)",
}
"""What is pulled, for an officer who watches and for whoever reads the log."""
SHOWN_UNIT = "H31.135"
"""The commune whose key and figures the summary and the README's examples show: phường Phố Hiến."""


def first_run(
    base_url: str, sandbox_url: str, keys: Mapping[Role, str], settings: Settings, console: Console
) -> None:
    """Waits for the first pulls, loads the decision register, takes the integrator's pushes, moves the sandbox to
    now and prints what was found. `keys`: the key in plain text by role; `settings.database_url`: the services'.

    Raises Unavailable where something does not answer or does not end. Runs in a thread of its own: it may end at
    any moment."""
    headers = {"Authorization": f"Bearer {keys[Role.ADMIN]}"}
    with (
        httpx.Client(base_url=base_url, headers=headers, timeout=60, trust_env=False) as api,
        httpx.Client(base_url=sandbox_url, timeout=LONGEST, trust_env=False) as sandbox,
    ):
        _wait(api, base_url)
        stages = Stages(console)
        for portal, subject in (("national", "units"), ("national", "procedures")):
            stages.done(NAMES[portal, subject], _first(api, stages, portal, subject)["items"])
        stages.done("Quyết định công bố (decisions)", _load_decisions(api, sandbox))
        stages.done(NAMES["provincial", "dossiers"], _first(api, stages, "provincial", "dossiers")["items"])
        stages.done("Tỉnh gửi lên quốc gia (pushes to /dvcqg)", _push(sandbox))
        stages.done(NAMES["national", "lookups"], _first(api, stages, "national", "lookups")["items"])
        sandbox.post("/_sandbox/clock", json={"now": settings.now().isoformat()}).raise_for_status()
        stages.done("Gửi tiếp đến hiện tại (pushes up to now)", _push(sandbox))
        for portal, subject in (("provincial", "dossiers"), ("national", "lookups")):
            stages.done(f"{NAMES[portal, subject]}: mới", _pull(api, stages, portal, subject)["items"])
        captured = _pull(api, stages, "national", "captures")
        stages.done(NAMES["national", "captures"], captured["accepted"] + captured["rejected"])
        asyncio.run(_patterns_asked_for(settings))
        stages.done("Đã đối soát, tính điểm (compared, counted)", _caught_up(api))
        unit_key = asyncio.run(
            run_keys(settings.database_url or "", settings, roles=(Role.UNIT,), unit=SHOWN_UNIT)
        )
        summary(api, console, stages.seconds(), SHOWN_UNIT)
        named = {role.value: key for role, key in (*keys.items(), *unit_key.items())}
        addresses(console, base_url, sandbox_url, named, SHOWN_UNIT)
    asyncio.run(_told(settings))


class Stages:
    """One line for each stage when it has ended, with what it took."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self.began = self.last = self.told = time.monotonic()

    def waiting(self, what: str, items: int, total: int | None) -> None:
        """A sign of life in a stage that takes long."""
        now = time.monotonic()
        if now - max(self.told, self.last) >= SILENCE:
            self.told = now
            self.console.print(
                f"chiso      | … {what:<42}{items:>8} / {total or '?'}", highlight=False, soft_wrap=True
            )

    def done(self, what: str, items: int) -> None:
        now = time.monotonic()
        self.console.print(
            f"chiso      | {what:<44}{items:>8}{now - self.last:>8.1f} s", highlight=False, soft_wrap=True
        )
        self.last = now

    def seconds(self) -> float:
        return time.monotonic() - self.began


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


def _runs(api: httpx.Client, portal: str, subject: str) -> list[dict[str, Any]]:
    answer = api.get("/v1/sync-runs", params={"portal": portal, "subject": subject, "limit": "1"})
    answer.raise_for_status()
    items: list[dict[str, Any]] = answer.json()["items"]
    return items


def _watch(api: httpx.Client, stages: Stages, portal: str, subject: str, *, after: int = 0) -> dict[str, Any]:
    """Follow the newest run of a subject, later than run `after`, to its end."""
    limit = time.monotonic() + LONGEST
    while time.monotonic() < limit:
        for run in _runs(api, portal, subject):
            if run["id"] > after and run["state"] == "done":
                return run
            if run["id"] > after and run["state"] == "failed":
                raise Unavailable(
                    "Lần lấy dữ liệu không thành công.",
                    f"The pull of {subject} from the {portal} portal failed: {run['error']}",
                )
            stages.waiting(NAMES[portal, subject], run["items"], run["total"])
        time.sleep(0.5)
    raise Unavailable("Lần lấy dữ liệu không kết thúc.", f"The pull of {portal} {subject} does not end.")


def _first(api: httpx.Client, stages: Stages, portal: str, subject: str) -> dict[str, Any]:
    """The worker asks for the first pull by itself; a later start finds it done. One that failed, perhaps in an
    earlier process, is asked for once more."""
    newest = _runs(api, portal, subject)
    failed = bool(newest) and newest[0]["state"] == "failed"
    return _pull(api, stages, portal, subject) if failed else _watch(api, stages, portal, subject)


def _pull(api: httpx.Client, stages: Stages, portal: str, subject: str) -> dict[str, Any]:
    """Ask for one more pull, or join the one that is under way."""
    before = _runs(api, portal, subject)
    answer = api.post("/v1/sync-runs", json={"portal": portal, "subject": subject})
    if answer.status_code == 409:
        return _watch(api, stages, portal, subject)
    answer.raise_for_status()
    return _watch(api, stages, portal, subject, after=before[0]["id"] if before else 0)


def _load_decisions(api: httpx.Client, sandbox: httpx.Client) -> int:
    register = sandbox.get("/_sandbox/decisions")
    register.raise_for_status()
    decisions = register.json()["items"]
    for decision in decisions:
        api.post("/v1/decisions", json=decision).raise_for_status()
    return len(decisions)


def _push(sandbox: httpx.Client) -> int:
    """Asked for, and asked after: one request as long as the push would be cut off where somebody stops us then."""
    number = sandbox.post("/_sandbox/push", json={}).raise_for_status().json()["number"]
    limit = time.monotonic() + LONGEST
    while time.monotonic() < limit:
        sent = sandbox.get("/_sandbox/stats").raise_for_status().json()["last_push"]
        if sent and sent["number"] >= number:
            if "failed" in sent:
                raise Unavailable("Bên gửi không gửi được.", f"The integrator cannot push: {sent['failed']}")
            return int(sent["new"]) + int(sent["updated"])
        time.sleep(0.25)
    raise Unavailable("Lần gửi không kết thúc.", "The integrator's push does not end.")


def _caught_up(api: httpx.Client) -> int:
    """Wait until the workers have nothing due; returns how many dossiers there are."""
    limit = time.monotonic() + LONGEST
    while time.monotonic() < limit:
        pending: dict[str, int] = api.get("/ready").json()["pending_changes"]
        if not pending[Consumer.RECONCILE.value] + pending[Consumer.INDICATORS.value]:
            copies = api.get("/v1/reconciliation/dossiers").raise_for_status().json()["copies"]
            return int(copies["dossiers"])
        time.sleep(0.25)
    raise Unavailable("Các tiến trình xử lý không theo kịp.", "The workers do not catch up.")


async def _patterns_asked_for(settings: Settings) -> None:
    """A change of the queue like any other: `_caught_up` waits for it too."""
    engine = create_engine(settings.database_url or "", pool_size=1)
    try:
        async with session_scope(engine) as session:
            now = settings.now()
            await queue.enqueue(session, [queue.UNITS], consumers=(Consumer.RECONCILE,), now=now)
    finally:
        await engine.dispose()


async def _told(settings: Settings) -> None:
    engine = create_engine(settings.database_url or "", pool_size=1)
    try:
        async with session_scope(engine) as session:
            await queue.beat(session, "summary", now=settings.now())
    finally:
        await engine.dispose()
