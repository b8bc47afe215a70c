"""A small world at a fixed day, and its portals on a real socket."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime

import httpx
import pytest

from services.sandbox.server import running
from services.sandbox.world import World

ANCHOR = datetime.fromisoformat("2026-10-05T00:00:00+07:00")


@pytest.fixture(scope="session")
def still_world() -> World:
    """Shared, and never moved."""
    return World(size=3_000, anchor=ANCHOR)


@pytest.fixture
def world() -> World:
    """One's own, to move."""
    return World(size=150, anchor=ANCHOR, until=datetime.fromisoformat("2026-10-20T00:00:00+07:00"))


@pytest.fixture(scope="session")
def still_portals(still_world: World) -> Iterator[httpx.Client]:
    with running(still_world) as url, httpx.Client(base_url=url, timeout=30) as client:
        yield client


@pytest.fixture
def portals(world: World) -> Iterator[httpx.Client]:
    """Of a world to move, with the national list granted."""
    with running(world, grant_list=True) as url, httpx.Client(base_url=url, timeout=30) as client:
        yield client
