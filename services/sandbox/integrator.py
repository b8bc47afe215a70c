"""The province's integrator: tells a receiver what it tells the nation, in its protocol (portals.md §1.7), and the
petitions by its own address, where the receiver has that.

Only what changed since its last push is sent. It behaves as the strictest known client: success needs a zero
error_code and "thành công"; "đã tồn tại" → once more as an update; -2 → log in again; no answer or 5xx →
again later.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field

import httpx

from services.sandbox import messages, ratings
from services.sandbox.answers import encode
from services.sandbox.dossier import Copy, Dossier
from services.sandbox.world import World

HEADS, STEPS = 500, 1000  # items in a call; petitions and ratings come as many as heads
_ATTEMPTS = 6
_LONGEST_WAIT = 5.0


class PushFailed(Exception):
    """The receiver does not answer, or refuses the login."""


@dataclass(frozen=True, slots=True)
class Target:
    """Where to push to (without /dvcqg) and as whom."""

    url: str
    username: str
    password: str = field(repr=False)


@dataclass(slots=True)
class PushCounts:
    """What one push did, in dossiers, steps, petitions and ratings. `refused` counts items of batches that were
    answered with an error, and petitions that were rejected; they are sent again by the next push."""

    new: int = 0
    updated: int = 0
    steps: int = 0
    petitions: int = 0
    ratings: int = 0
    calls: int = 0
    logins: int = 0
    retries: int = 0
    refused: int = 0
    messages: list[str] = field(default_factory=list)

    def as_dict(self) -> dict[str, object]:
        return asdict(self)


class Integrator:
    def __init__(self, world: World, target: Target) -> None:
        self.world, self.target = world, target
        self.told: dict[str, int] = {}  # code → events told, of a dossier or of a petition
        self.rated: set[tuple[int, int]] = set()  # months whose ratings were told
        self._takes_petitions = True
        self._session = ""
        self._lock = asyncio.Lock()

    async def push(self) -> PushCounts:
        """Sends all that changed until the world's clock. PushFailed when the receiver cannot be had."""
        async with (
            self._lock,
            httpx.AsyncClient(base_url=self.target.url, timeout=60, trust_env=False) as http,
        ):
            counts = PushCounts()
            at = self.world.now
            changed: list[tuple[Dossier, int]] = []
            for dossier in self.world.dossiers:
                told = self.world.sent_count(dossier, at)
                if told > self.told.get(dossier.code, 0):
                    changed.append((dossier, told))
            new = [pair for pair in changed if pair[0].code not in self.told]
            known = [pair for pair in changed if pair[0].code in self.told]
            for update, group in ((False, new), (True, known)):
                for start in range(0, len(group), HEADS):
                    await self._batch(http, group[start : start + HEADS], update, at, counts)
            await self._petitions(http, at, counts)
            await self._ratings(http, counts)
            return counts

    async def _petitions(self, http: httpx.AsyncClient, at: int, counts: PushCounts) -> None:
        changed = [each for each in self.world.petitions if each.told(at) > self.told.get(each.code, 0)]
        for start in range(0, len(changed) if self._takes_petitions else 0, HEADS):
            group = changed[start : start + HEADS]
            said = await self._post(http, "/v1/petitions", [each.message(at) for each in group], counts)
            if said is None:  # a receiver that speaks the national protocol only
                self._takes_petitions = False
                return
            items = said.get("items")
            if not isinstance(items, list):
                raise PushFailed(f"petitions refused: {said.get('status')} {said.get('detail', '')}")
            for each, item in zip(group, items, strict=True):
                if item["result"] == "rejected":
                    counts.refused += 1
                    counts.messages.append(f"{each.code}: {item['reason']}"[:500])
                else:
                    self.told[each.code] = each.told(at)
            counts.petitions += len(group)

    async def _ratings(self, http: httpx.AsyncClient, counts: PushCounts) -> None:
        for month in self.world.ended_months():
            if month in self.rated:
                continue
            items = list(ratings.ratings(self.world.seed, *month))
            taken = True
            for start in range(0, len(items), HEADS):
                taken = (
                    await self._send(http, "DongBoDanhGia", items[start : start + HEADS], counts) and taken
                )
            counts.ratings += len(items)
            if taken:
                self.rated.add(month)

    async def _batch(
        self,
        http: httpx.AsyncClient,
        group: list[tuple[Dossier, int]],
        update: bool,
        at: int,
        counts: PushCounts,
    ) -> None:
        """Heads, then the steps that are new. A dossier counts as told when both were taken."""
        copies = [(dossier, self._copy(dossier, at)) for dossier, _ in group]
        heads = [messages.head(dossier, copy, with_applicant=True) for dossier, copy in copies]
        taken = await self._send(http, "DongBoHoSoMC", heads, counts, isUpdating=str(update))
        for items in self._steps(copies):
            taken = await self._send(http, "CapNhatTienDoHoSoMC", items, counts) and taken
            counts.steps += len(items)
        if update:
            counts.updated += len(group)
        else:
            counts.new += len(group)
        if taken:
            self.told.update((dossier.code, told) for dossier, told in group)

    def _copy(self, dossier: Dossier, at: int) -> Copy:
        dossier.pushed_at = at
        copy = self.world.sent(dossier, at)
        assert copy is not None
        return copy

    def _steps(self, copies: list[tuple[Dossier, Copy]]) -> Iterator[list[messages.Item]]:
        """Batches that keep a dossier's steps together and in order. A submission has no step."""
        batch: list[messages.Item] = []
        for dossier, copy in copies:
            new = messages.steps(copy, max(self.told.get(dossier.code, 0) - 1, 0))
            if len(batch) + len(new) > STEPS:
                yield batch
                batch = []
            batch = batch + new
        if batch:
            yield batch

    async def _send(
        self,
        http: httpx.AsyncClient,
        service: str,
        items: list[messages.Item],
        counts: PushCounts,
        **extra: str,
    ) -> bool:
        """One batch; whether it was taken."""
        for _ in range(3):
            if not self._session:
                await self._login(http, counts)
            call = {"session": self._session, "madonvi": "H31", "service": service, "data": items} | extra
            said = await self._post(http, "/dvcqg/integration", call, counts) or {}
            code, text = str(said.get("error_code")), str(said.get("message", ""))
            if code in ("0", "00") and "thành công" in text:
                return True
            if code == "-2":
                self._session = ""
            elif "đã tồn tại" in text and extra.get("isUpdating") == "False":
                extra = {"isUpdating": "True"}
            else:
                break
        counts.refused += len(items)
        counts.messages.append(f"{service}: {code} {text}"[:500])
        return False

    async def _login(self, http: httpx.AsyncClient, counts: PushCounts) -> None:
        account = {"username": self.target.username, "password": self.target.password}
        said = await self._post(http, "/dvcqg/login", account, counts) or {}
        session = said.get("session")
        if str(said.get("error_code")) not in ("0", "00") or not isinstance(session, str) or not session:
            raise PushFailed(f"login refused: {said.get('error_code')} {said.get('message', '')}")
        self._session = session
        counts.logins += 1

    async def _post(
        self, http: httpx.AsyncClient, path: str, content: object, counts: PushCounts
    ) -> dict[str, object] | None:
        """None: there is no such address."""
        problem = ""
        for attempt in range(_ATTEMPTS):
            if attempt:
                counts.retries += 1
                await asyncio.sleep(min(0.1 * 2**attempt, _LONGEST_WAIT))
            counts.calls += 1
            try:
                headers = {"content-type": "application/json", "x-api-key": self.target.password}
                response = await http.post(path, content=encode(content), headers=headers)
            except httpx.TransportError as error:
                problem = type(error).__name__
                continue
            if response.status_code >= 500:
                problem = f"HTTP {response.status_code}"
                continue
            if response.status_code == 404:
                return None
            try:
                said = response.json()
            except ValueError:
                raise PushFailed(f"{path}: HTTP {response.status_code}, not JSON") from None
            if not isinstance(said, dict):
                raise PushFailed(f"{path}: HTTP {response.status_code}, not an object")
            return said
        raise PushFailed(f"{path}: {problem} after {_ATTEMPTS} attempts")
