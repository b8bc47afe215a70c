"""What `chiso up` does once its processes run on the sandbox: the first sync and what it found."""

from __future__ import annotations

import time
from collections.abc import Mapping

import httpx
from rich.console import Console

from shared.errors import Unavailable
from shared.settings import Settings
from shared.vocabulary import Role

START = 60.0
"""Seconds that the API has to answer for the first time."""


def first_run(
    base_url: str, sandbox_url: str, keys: Mapping[Role, str], settings: Settings, console: Console
) -> None:
    """Waits for the API and prints addresses and keys. `keys`: the key in plain text by role.

    Raises Unavailable where the API does not answer. Runs in a thread of its own: it may end at any moment.
    """
    _wait(base_url)
    console.print(f"API      {base_url}   (documentation: {base_url}/docs)", highlight=False)
    console.print(f"Sandbox  {sandbox_url}", highlight=False)
    for role, key in keys.items():
        console.print(f"Key      {role.value:<11} {key}", highlight=False, soft_wrap=True)


def _wait(base_url: str) -> None:
    limit = time.monotonic() + START
    with httpx.Client(timeout=5, trust_env=False) as client:
        while time.monotonic() < limit:
            try:
                if client.get(f"{base_url}/health").is_success:
                    return
            except httpx.TransportError:
                pass
            time.sleep(0.1)
    raise Unavailable("API không trả lời.", f"The API does not answer at {base_url}/health.")
