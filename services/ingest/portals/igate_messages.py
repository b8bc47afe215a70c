"""A dossier of the provincial one-stop system, iGate (portals.md §4) → our rows. Pure; wire names live here
only.

The structs are the allow-list: `applicant` and all else that they do not name is never decoded.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import NamedTuple

import msgspec

from services.ingest.normalise import (
    Head,
    Refusal,
    Refused,
    Step,
    check_not_ahead,
    clean,
    dossier_code,
    moment,
    procedure_code,
    refusal,
    stamp,
    stamped,
)
from services.ingest.portals.igate_units import Agency, Coded, Named, agency_name, first_name
from shared.errors import Invalid
from shared.identifiers import name_key
from shared.vocabulary import Known

NAME_LIMIT = 300
OFFICER_LIMIT = 200
ALWAYS_KNOWN = (
    Known.PROCEDURE
    | Known.UNIT
    | Known.STATUS
    | Known.SUBMITTED_AT
    | Known.RECEIVED_AT
    | Known.DUE_AT
    | Known.FINISHED_AT
    | Known.RETURNED_AT
)
"""What the search tells of every dossier. It tells neither supplements, nor a time of refusal, nor titles."""


class Status(msgspec.Struct):
    id: int | str | None = None
    name: list[Named] | None = None


class Method(msgspec.Struct):
    id: int | str | None = None


class Assignee(msgspec.Struct):
    fullname: str | None = None


class Task(msgspec.Struct, rename="camel"):
    is_current: int | bool | None = None
    assignee: Assignee | None = None


class Item(msgspec.Struct, rename="camel"):
    nation_code: str | None = None
    procedure: Coded | None = None
    agency: Agency | None = None
    dossier_status: Status | None = None
    apply_method: Method | None = None
    applied_date: str | None = None
    accepted_date: str | None = None
    appointment_date: str | None = None
    completed_date: str | None = None
    returned_date: str | None = None
    updated_date: str | None = None
    current_task: list[Task] | None = None


class Page(msgspec.Struct, rename="camel"):
    """A Spring page; the rows are decoded one by one, so that a broken one breaks nothing else."""

    content: list[msgspec.Raw]
    total_elements: int
    last: bool


class Read(NamedTuple):
    """A page's rows: `heads` in their order, `steps` of those that tell an officer; `newest` and `oldest`
    updatedDate of the rows that could be read."""

    heads: list[Head | Refusal]
    steps: list[Step]
    newest: datetime | None
    oldest: datetime | None


class Maps(NamedTuple):
    by_id: Mapping[str, int]
    by_name: Mapping[str, int]
    channels: Mapping[str, int]


@cache
def maps() -> Maps:
    """status_map.toml, which is configuration: ids differ from province to province."""
    with (Path(__file__).parent / "status_map.toml").open("rb") as file:
        table = tomllib.load(file)
    return Maps(
        by_id=table["status"]["by_id"],
        by_name={name_key(name): status for name, status in table["status"]["by_name"].items()},
        channels=table["channel"]["by_id"],
    )


class OnlyCode(msgspec.Struct, rename="camel"):
    nation_code: str | None = None


_item = msgspec.json.Decoder(Item)


def read(rows: Sequence[msgspec.Raw], *, now: datetime) -> Read:
    """Rows of a search page. One that breaks a rule becomes a Refusal with its field; the others go on."""
    heads: list[Head | Refusal] = []
    steps: list[Step] = []
    moved: list[datetime] = []
    for position, raw in enumerate(rows):
        item: Item | None = None
        try:
            item = _item.decode(raw)
            head, step = dossier(item, now=now)
        except Invalid as error:
            heads.append(refusal(error, position=position, raw=bytes(raw), item=item))
            continue
        except (msgspec.MsgspecError, RecursionError) as error:
            heads.append(refusal(_wrong_type(error), position=position, raw=bytes(raw), item=_code_of(raw)))
            continue
        heads.append(head)
        moved.append(datetime.fromisoformat(head.version))
        if step is not None:
            steps.append(step)
    return Read(heads, steps, max(moved, default=None), min(moved, default=None))


def dossier(item: Item, *, now: datetime) -> tuple[Head, Step | None]:
    """One dossier and who handles it now. Raises Refused with the field at fault.

    `updatedDate` is the version of both parts (architecture.md §4). A task without an assignee is a missing
    officer; no task at all tells nothing about the officer.
    """
    code = dossier_code(item.nation_code, "nationCode")
    procedure, suffix = procedure_code(item.procedure and item.procedure.code, "procedure.code")
    agency = item.agency or Agency()
    version = moment(item.updated_date, "updatedDate")
    if version is None:
        raise Refused("updatedDate", "Thiếu updatedDate.", "updatedDate: a time is needed")
    submitted_at = stamped(item.applied_date, "appliedDate")
    received_at = stamped(item.accepted_date, "acceptedDate")
    finished_at = stamped(item.completed_date, "completedDate")
    returned_at = stamped(item.returned_date, "returnedDate")
    check_not_ahead(
        (
            ("updatedDate", stamp(version)),
            ("appliedDate", submitted_at),
            ("acceptedDate", received_at),
            ("completedDate", finished_at),
            ("returnedDate", returned_at),
        ),
        now,
    )
    channel = maps().channels.get(str(item.apply_method.id)) if item.apply_method else None
    head = Head(
        code=code.code,
        code_known=code.known,
        source_system=code.source_system,
        known=int(ALWAYS_KNOWN | (Known.CHANNEL if channel is not None else 0)),
        version=stamp(version),
        procedure_code=procedure,
        procedure_suffix=suffix,
        agency_code=clean(agency.code, "agency.code", limit=100),
        unit_name=clean(agency_name(agency), "agency.name", limit=NAME_LIMIT),
        status=_status(item.dossier_status),
        cancelled=False,
        channel=channel,
        submitted_at=submitted_at,
        received_at=received_at,
        due_at=stamped(item.appointment_date, "appointmentDate"),
        finished_at=finished_at,
        returned_at=returned_at,
        rejected_at=None,
        supplements=None,
    )
    if not item.current_task:
        return head, None
    task = next((each for each in item.current_task if each.is_current), item.current_task[0])
    officer = task.assignee.fullname if task.assignee else None
    return head, Step(
        code=code.code,
        occurred_at=version,
        status=0,
        officer=clean(officer, "currentTask.assignee", limit=OFFICER_LIMIT),
        officer_title=None,
        started_at=None,
        known=int(Known.OFFICER),
        keep=False,
    )


def _status(status: Status | None) -> int:
    if status is not None:
        found = maps().by_id.get(str(status.id))
        if found is None and (name := first_name(status.name)):
            found = maps().by_name.get(name_key(name[:NAME_LIMIT]))
        if found is not None:
            return found
    raise Refused(
        "dossierStatus",
        "dossierStatus: trạng thái chưa có trong bảng ánh xạ; cần bổ sung id hoặc tên vào status_map.toml.",
        "dossierStatus: unknown; expected an id or a name of status_map.toml",
    )


def _wrong_type(error: Exception) -> Refused:
    """msgspec says where ("… - at `$.agency.code`"), and never what stood there."""
    path = str(error).rpartition("`$.")[2].rstrip("`") if "`$." in str(error) else "content"
    field = path[:60]
    return Refused(
        field, f"{field}: sai kiểu dữ liệu hoặc không đọc được.", f"{field}: wrong type, or unreadable"
    )


def _code_of(raw: msgspec.Raw) -> OnlyCode | None:
    """The code of a row that cannot be read otherwise."""
    try:
        return msgspec.json.decode(raw, type=OnlyCode)
    except (msgspec.MsgspecError, RecursionError):
        return None


def decode_page(body: bytes) -> Page | None:
    """None where the body is no page."""
    try:
        return msgspec.json.decode(body, type=Page)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None
