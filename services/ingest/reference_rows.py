"""Rows of reference data: asked for side by side, read one by one, the bad ones put aside."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime
from typing import TypeVar

import msgspec
from sqlalchemy.ext.asyncio import AsyncSession

from services.ingest import runs
from services.ingest.normalise import Refusal, refusal
from services.ingest.service import accept
from shared.errors import Invalid

Row = TypeVar("Row")
Asked = TypeVar("Asked")
Told = TypeVar("Told")

CONCURRENCY = 8


def read_rows(rows: Sequence[object], read: Callable[[object], Row]) -> tuple[list[Row], list[Refusal]]:
    """Rows that can be read, and what is refused of the others. Pure."""
    good: list[Row] = []
    bad: list[Refusal] = []
    for position, row in enumerate(rows):
        try:
            good.append(read(row))
        except Invalid as error:
            bad.append(refusal(error, position=position, raw=msgspec.json.encode(row), item=None))
    return good, bad


async def quarantine(session: AsyncSession, run: runs.Run, refused: list[Refusal], now: datetime) -> None:
    if refused:
        await accept(
            session,
            portal=run.portal,
            via="pull",
            door=run.subject.value,
            sender=run.portal.value,
            now=now,
            heads=refused,
        )


async def gather(asked: Sequence[Asked], ask: Callable[[Asked], Awaitable[Told]]) -> list[Told]:
    """The answers in order, CONCURRENCY at a time; the first error ends all."""
    gate = asyncio.Semaphore(CONCURRENCY)

    async def one(each: Asked) -> Told:
        async with gate:
            return await ask(each)

    tasks = [asyncio.create_task(one(each)) for each in asked]
    try:
        return list(await asyncio.gather(*tasks))
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
