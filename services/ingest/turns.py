"""Long computations that leave the event loop to others in between."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import TypeVar

Item = TypeVar("Item")

EVERY = 100
"""Items read before others have their turn: a millisecond or two. Read at one go, a batch of thousands would let every
other push wait at each of its statements."""


async def in_turns(items: Iterable[Item]) -> list[Item]:
    """All items, read a few at a time."""
    found: list[Item] = []
    for item in items:
        found.append(item)
        if len(found) % EVERY == 0:
            await asyncio.sleep(0)
    return found
