"""What `make run` prints at its end: what was found, and where to look."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import httpx
from rich.console import Console


def summary(api: httpx.Client, console: Console, seconds: float, unit: str) -> None:
    import json

    for path in ("/v1/reconciliation/dossiers", "/v1/reconciliation/procedures", "/v1/indicators/progress", f"/v1/indicators/progress?unit={unit}"):
        console.print(path)
        console.print(json.dumps(api.get(path).json(), ensure_ascii=False, indent=1))


def addresses(console: Console, base_url: str, sandbox_url: str, keys: Mapping[str, str], unit_key: str) -> None:
    _: Any = None
