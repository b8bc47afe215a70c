"""A column spelt as an array is read by PostgreSQL as what it was."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import pytest
from sqlalchemy.ext.asyncio import AsyncSession

from shared.db import driver, spelt
from tests.make import moment

WHEN = moment("2026-08-05 09:00")


@pytest.mark.parametrize(
    ("kind", "values"),
    [
        ("text[]", []),
        ("text[]", [""]),
        ("text[]", ["", None, ""]),
        ("text[]", [None]),
        ("text[]", ["a,b", '"', "\\", '\\"', "{}", " x ", "NULL", "Hồ sơ", "'", None]),
        ("bigint[]", [0, -7, None, 2**62]),
        ("int[]", [None, None]),
        ("boolean[]", [True, False, None]),
        (
            "timestamptz[]",
            [WHEN, None, WHEN, WHEN.replace(microsecond=1), datetime.max.replace(tzinfo=WHEN.tzinfo)],
        ),
    ],
)
async def test_what_was_spelt_is_read(session: AsyncSession, kind: str, values: list[Any]) -> None:
    connection = await driver(session)
    assert await connection.fetchval(f"SELECT $1::text::{kind}", spelt(values)) == values
