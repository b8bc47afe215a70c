"""The keys that `chiso up` makes for its sandbox: made once and kept in DATA_DIR/keys.json, because the database has
only their hashes, and a second run should print the same ones."""

from __future__ import annotations

import json
import os
from pathlib import Path

from shared import access
from shared.db import create_engine, session_scope
from shared.errors import Unauthenticated
from shared.settings import Settings
from shared.vocabulary import Role

RUN_KEYS = (Role.ADMIN, Role.CENTRE, Role.READER, Role.INTEGRATOR)
"""A unit's key must wait until units are known."""


async def run_keys(
    url: str, settings: Settings, *, roles: tuple[Role, ...] = RUN_KEYS, unit: str | None = None
) -> dict[Role, str]:
    """The kept key of each role, or a new one where the database does not know it. `unit`: what new ones see; none:
    the province. Raises NotFound for a unit that nobody told us of."""
    path = settings.data_dir.resolve() / "keys.json"
    kept = read_json(path)
    engine = create_engine(url, pool_size=1)
    try:
        async with session_scope(engine) as session:
            for role in roles:
                try:
                    await access.authenticate(session, kept.get(role.value, ""))
                except Unauthenticated:
                    _, kept[role.value] = await access.create_key(
                        session,
                        role=role,
                        unit_code=unit or settings.province_code,
                        now=settings.now(),
                        by="chiso up",
                    )
    finally:
        await engine.dispose()
    write_private(path, json.dumps(kept))
    return {role: kept[role.value] for role in roles}


def read_json(path: Path) -> dict[str, str]:
    try:
        kept: dict[str, str] = json.loads(path.read_text())
    except (OSError, ValueError):
        return {}
    return kept


def write_private(path: Path, text: str) -> None:
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as handle:
        handle.write(text)
