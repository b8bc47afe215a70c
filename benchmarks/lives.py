"""Dossiers as in life, for the benchmarks of what happens after they came in: three copies each, steps, a look-up,
units and procedures. One in a hundred differs between its copies. Filled by COPY, portal by portal as batches come.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from datetime import datetime, timedelta

import asyncpg

from benchmarks.stage import NOW
from shared.vocabulary import Known, Portal

BATCH = 2_000
UNITS = [f"H31.{n}" for n in range(100, 204)]
PROCEDURES = [f"1.{1000 + n:06d}" for n in range(212)]
DAYS = 365
"""The received lie in the year before NOW, the same number each day."""

_COLUMNS = (
    "code", "portal", "code_known", "source_system", "known", "version", "procedure_code", "agency_code", "unit_name",
    "unit_code", "unit_via", "status", "cancelled", "channel", "submitted_at", "received_at", "due_at", "finished_at",
    "supplements", "officer", "officer_title", "officer_at", "step_status", "step_status_at", "via", "learnt_at",
)  # fmt: skip
_STEP_COLUMNS = ("code", "portal", "occurred_at", "status", "officer", "officer_title", "learnt_at")
_ALL = sum(bit.value for bit in Known)
_HEAD = _ALL & ~(Known.OFFICER | Known.OFFICER_TITLE)


def code_of(n: int, dossiers: int) -> str:
    return f"{UNITS[n % len(UNITS)]}-{_received(n, dossiers):%y%m%d}-{n // len(UNITS):06d}"


def _received(n: int, dossiers: int) -> datetime:
    day = (NOW - timedelta(days=DAYS)).replace(hour=7, minute=30) + timedelta(days=n * DAYS // dossiers)
    return day + timedelta(seconds=(n * 7919) % 32_400)


def _rows(n: int, dossiers: int) -> tuple[dict[Portal, tuple[str, ...]], list[tuple[str, ...]]]:
    """The texts of COPY of one dossier: its copies, and the steps of what was sent."""
    received = _received(n, dossiers)
    code, unit = code_of(n, dossiers), UNITS[n % len(UNITS)]
    finished: datetime | None = received + timedelta(days=n % 7, seconds=(n * 104_729) % 20_000)
    if n % 50 == 7 or (finished and finished > NOW):
        finished = None
    due = None if n % 25 == 3 else (received + timedelta(days=3 + n % 5)).replace(hour=17, minute=0, second=0)
    asked = received + timedelta(hours=20)
    supplements = (
        f'[{{"requested_at": "{asked.isoformat()}", "completed_at": "{(asked + timedelta(hours=30)).isoformat()}",'
        ' "due_before": null, "due_after": null}]'
        if n % 24 == 5
        else "\\N"
    )
    version = finished or received
    status = "9" if finished else "4"
    copies: dict[Portal, tuple[str, ...]] = {}
    for portal in Portal:
        told_due, told_end = due, finished
        if portal is Portal.NATIONAL and n % 200 == 11 and due:
            told_due = due + timedelta(days=1)
        if portal is not Portal.PROVINCIAL and n % 200 == 111 and finished:
            told_end = finished + timedelta(hours=5)
        sent = portal is Portal.SENT
        copies[portal] = (
            code, portal.value, "t", "province", str(_ALL if sent else _HEAD), version.isoformat(),
            PROCEDURES[n * 31 % len(PROCEDURES)], unit, f"UBND xã số {unit[4:]}", unit,
            "agency_code" if portal is Portal.PROVINCIAL else "alias", status, "f", str(1 + n % 2),
            (received - timedelta(seconds=n % 5000)).isoformat(), received.isoformat(),
            told_due.isoformat() if told_due else "\\N", told_end.isoformat() if told_end else "\\N", supplements,
            "Trần Thị Mẫu" if sent else "\\N", "Công chức" if sent else "\\N", version.isoformat() if sent else "\\N",
            status if sent else "\\N", version.isoformat() if sent else "\\N",
            "list" if portal is Portal.PROVINCIAL else "push", version.isoformat(),
        )  # fmt: skip
    steps = [(received, "2"), *([(finished, "9")] if finished else [])]
    told: list[tuple[str, ...]] = [
        (code, "sent", at.isoformat(), state, "Trần Thị Mẫu", "Công chức", at.isoformat())
        for at, state in steps
    ]
    return copies, told


async def _text(rows: Iterable[Sequence[str]]) -> AsyncIterator[bytes]:
    yield ("\n".join(map("\t".join, rows)) + "\n").encode()


def _batches(dossiers: int) -> Iterator[range]:
    return (range(start, min(start + BATCH, dossiers)) for start in range(0, dossiers, BATCH))


async def fill(connection: asyncpg.Connection, dossiers: int) -> None:
    """Units, procedures, and `dossiers` with three copies each; statistics are up to date afterwards."""
    await connection.copy_records_to_table(
        "unit",
        columns=("code", "valid_from", "name", "level", "parent_code", "mark", "source", "updated_at"),
        records=[
            (
                code,
                (NOW - timedelta(days=800)).date(),
                f"UBND xã số {code[4:]}",
                "commune",
                "H31",
                "practice",
                "",
                NOW,
            )
            for code in UNITS
        ],
    )
    await connection.copy_records_to_table(
        "procedure",
        columns=(
            "code",
            "name",
            "levels",
            "public",
            "max_duration",
            "duration_unit",
            "unverified",
            "listed_at",
        ),
        records=[
            (code, f"Thủ tục {code}", ["commune"], True, 3 + n % 20, "Ngày làm việc", False, NOW)
            for n, code in enumerate(PROCEDURES)
        ],
    )
    await connection.execute(
        "INSERT INTO sync_state (portal, subject, complete_through, updated_at)"
        " VALUES ('provincial', 'dossiers', $1, $1)",
        NOW,
    )
    for batch in _batches(dossiers):
        made = [_rows(n, dossiers) for n in batch]
        for portal in Portal:
            await connection.copy_to_table(
                "dossier", source=_text(copies[portal] for copies, _ in made), columns=_COLUMNS, format="text"
            )
        await connection.copy_to_table(
            "dossier_step",
            source=_text(step for _, steps in made for step in steps),
            columns=_STEP_COLUMNS,
            format="text",
        )
        await connection.copy_records_to_table(
            "presence",
            columns=("code", "portal", "found", "checked_at", "via"),
            records=[(code_of(n, dossiers), "national", True, NOW, "lookup") for n in batch],
        )
    for table in ("dossier", "dossier_step", "presence"):
        await connection.execute(f"VACUUM (ANALYZE) {table}")
