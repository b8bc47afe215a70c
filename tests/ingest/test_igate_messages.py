"""iGate's dossiers read: what is mapped, what is refused with which field, and what never gets in."""

from __future__ import annotations

import json
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest

from services.ingest.normalise import Head, Refusal, Step, stamp
from services.ingest.portals.igate_messages import read
from services.ingest.portals.igate_units import root_of
from shared.vocabulary import Known
from tests.make import NOW, moment
from tests.portals import igate

CODE = "H31.135-260803-0012"


def raw(row: Any) -> msgspec.Raw:
    return msgspec.Raw(json.dumps(row).encode())


def one(**fields: Any) -> tuple[Head | Refusal, list[Step]]:
    found = read([raw(igate(CODE, **fields))], now=NOW)
    return found.heads[0], found.steps


def head(**fields: Any) -> Head:
    found, _ = one(**fields)
    assert isinstance(found, Head)
    return found


def refused(**fields: Any) -> Refusal:
    found, steps = one(**fields)
    assert isinstance(found, Refusal)
    assert not steps
    return found


def test_what_is_mapped() -> None:
    found = head()
    assert (found.code, found.code_known, found.source_system) == (CODE, True, "province")
    assert (found.procedure_code, found.agency_code, found.unit_name) == (
        "1.001612",
        "H31.135",
        "UBND phường Phố Hiến",
    )
    assert (found.status, found.channel, found.cancelled) == (4, 2, False)
    assert found.received_at == stamp(moment("2026-08-03 09:30"))
    assert found.due_at == stamp(moment("2026-08-06 17:00"))
    assert (found.finished_at, found.returned_at, found.rejected_at) == (None, None, None)
    assert found.version == stamp(NOW)
    known = Known(found.known)
    assert Known.DUE_AT | Known.FINISHED_AT | Known.CHANNEL in known
    assert not known & (Known.SUPPLEMENTS | Known.REJECTED_AT | Known.OFFICER | Known.OFFICER_TITLE)


def test_officer_is_the_current_tasks() -> None:
    _, steps = one(
        currentTask=[
            {"isCurrent": 0, "assignee": {"fullname": "TRẦN THỊ MẪU"}},
            {"isCurrent": 1, "assignee": {"fullname": "LÊ VĂN MẪU"}},
        ]
    )
    assert steps == [Step(CODE, NOW, 0, "LÊ VĂN MẪU", None, None, int(Known.OFFICER), keep=False)]


@pytest.mark.parametrize("assignee", [None, {}, {"fullname": None}, {"fullname": "  "}])
def test_task_without_assignee_is_a_missing_officer(assignee: Any) -> None:
    _, steps = one(currentTask=[{"isCurrent": 1, "assignee": assignee}])
    assert [(step.officer, step.known) for step in steps] == [(None, int(Known.OFFICER))]


@pytest.mark.parametrize("task", [None, []])
def test_no_task_tells_nothing_of_the_officer(task: Any) -> None:
    _, steps = one(currentTask=task)
    assert steps == []


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        ({"id": 0}, 1),
        ({"id": "5"}, 10),
        ({"id": 404, "name": [{"name": "ĐÃ  trả kết qủa"}]}, 10),
        ({"id": None, "name": [{"languageId": 228, "name": "Dừng xử lý"}]}, 8),
    ],
)
def test_status_by_id_then_name(status: Any, expected: int) -> None:
    assert head(dossierStatus=status).status == expected


@pytest.mark.parametrize(
    ("method", "channel"), [({"id": 0}, 2), ({"id": 1}, 1), ({"id": 2}, 3), ({"id": 9}, None), (None, None)]
)
def test_channel(method: Any, channel: int | None) -> None:
    found = head(applyMethod=method)
    assert found.channel == channel
    assert (Known.CHANNEL in Known(found.known)) == (channel is not None)


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"nationCode": None}, "nationCode"),
        ({"nationCode": ""}, "nationCode"),
        ({"nationCode": 12}, "nationCode"),
        ({"nationCode": "H31\u0000"}, "nationCode"),
        ({"dossierStatus": None}, "dossierStatus"),
        ({"dossierStatus": {"id": 77, "name": []}}, "dossierStatus"),
        ({"procedure": {"code": "1.00161"}}, "procedure.code"),
        ({"procedure": {"code": 5}}, "procedure.code"),
        ({"procedure": "1.001612"}, "procedure"),
        ({"agency": {"code": "H31\u0000.135"}}, "agency.code"),
        ({"agency": {"name": [{"name": "a\u0000b"}]}}, "agency.name"),
        ({"acceptedDate": "0001-01-01T00:00:00.000+0000"}, "acceptedDate"),
        ({"acceptedDate": "9999-12-31T23:59:59.000+0000"}, "acceptedDate"),
        ({"acceptedDate": "2026-02-31T00:00:00.000+0000"}, "acceptedDate"),
        ({"appointmentDate": "hôm nay"}, "appointmentDate"),
        ({"completedDate": 1754186400000}, "completedDate"),
        ({"completedDate": (NOW + timedelta(days=2)).isoformat()}, "completedDate"),
        ({"updatedDate": None}, "updatedDate"),
        ({"updatedDate": (NOW + timedelta(days=2)).isoformat()}, "updatedDate"),
        ({"currentTask": {"isCurrent": 1}}, "currentTask"),
    ],
)
def test_refused_with_its_field(fields: dict[str, Any], field: str) -> None:
    found = refused(**fields)
    assert found.field.split("[")[0] == field
    assert found.vi
    assert found.en
    assert (found.code or None) == (None if "nationCode" in fields else CODE)


def test_appointment_may_lie_ahead_and_an_event_by_a_day() -> None:
    assert head(appointmentDate=(NOW + timedelta(days=90)).isoformat()).due_at == stamp(
        NOW + timedelta(days=90)
    )
    assert head(completedDate=(NOW + timedelta(hours=23)).isoformat()).finished_at is not None


def test_code_of_unknown_form_is_taken_and_marked() -> None:
    assert not head(nationCode="MẪU/2026/1").code_known


@pytest.mark.parametrize(
    "row",
    [
        b"1",
        b'"x"',
        b"null",
        b"[]",
        b'{"nationCode":"H31\\ud800"}',
        b'{"x":' + b"[" * 5000 + b"]" * 5000 + b"}",
    ],
)
def test_rows_that_are_no_dossier(row: bytes) -> None:
    found = read([msgspec.Raw(row), raw(igate(CODE))], now=NOW)
    assert isinstance(found.heads[0], Refusal)
    assert isinstance(found.heads[1], Head)
    assert found.heads[0].position == 0


def test_no_citizen_gets_in() -> None:
    row = igate(CODE, dossierStatus={"id": 77})
    row["applicant"]["data"]["fullname"] = "PHẠM THỊ BÍ MẬT"
    kept = read([raw(row), raw(igate(CODE))], now=NOW)
    assert "BÍ MẬT" not in repr(kept)
    assert "033099000001" not in repr(kept)


def test_the_sample_message() -> None:
    path = Path(__file__).parents[2].parent / "shared" / "data" / "sample_messages.json"
    if not path.exists():
        pytest.skip("the documents are not beside the project")
    sample = json.loads(path.read_text())["igate_dossier"]
    found = read([raw(sample)], now=NOW)
    assert isinstance(found.heads[0], Head)
    assert found.heads[0].version == "2026-08-04T10:15:00+07:00"
    assert found.newest == found.oldest == datetime.fromisoformat(found.heads[0].version)
    assert "NGUYỄN VĂN MẪU" not in repr(found)


def test_root_is_what_stands_above_the_dossiers_agencies() -> None:
    above = {"id": "root", "code": "000.00.00.H31", "name": []}
    rows = [
        raw({"agency": 5}),
        raw(igate(CODE)),
        raw({"agency": {"id": "b", "code": "H31.1", "ancestors": [above]}}),
    ]
    assert root_of(rows, "H31") == "root"
    assert root_of(rows[:2], "H31") is None
