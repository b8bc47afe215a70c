"""Long computations that leave the event loop to others in between."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import TypeVar
from weakref import WeakKeyDictionary

Item = TypeVar("Item")

EVERY = 100
"""Items read before others have their turn: a millisecond or two. Read at one go, a batch of thousands would let every
other push wait at each of its statements."""

_reading: WeakKeyDictionary[asyncio.AbstractEventLoop, asyncio.Lock] = WeakKeyDictionary()


async def in_turns(items: Iterable[Item]) -> list[Item]:
    """All items, read a few at a time.

    Of two long batches one is read after the other: read side by side, both would be done late, and then both wait for
    the database while nobody reads. A batch below EVERY waits for nobody.
    """
    found: list[Item] = []
    rest = iter(items)
    for item in rest:
        found.append(item)
        if len(found) == EVERY:
            break
    else:
        return found
    lock = _reading.setdefault(asyncio.get_running_loop(), asyncio.Lock())
    async with lock:
        for item in rest:
            found.append(item)
            if len(found) % EVERY == 0:
                await asyncio.sleep(0)
    return found
