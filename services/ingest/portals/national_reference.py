"""Units and procedures as the national portal tells them (portals.md §1.3, §2) → our rows. Pure; wire names
here only.

Rows come as plain JSON values: reference data names nobody.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date
from decimal import Decimal, InvalidOperation
from typing import Any, NamedTuple

import msgspec

from services.ingest.normalise import Refused, clean, procedure_code
from services.ingest.portals import procedure_facts
from services.ingest.portals.procedure_facts import objects
from shared.errors import Invalid
from shared.identifiers import normalise_decision_number, normalise_unit_code, unit_parents
from shared.vocabulary import DurationUnit, Mark, UnitLevel

UNIT_LEVELS = {"1": UnitLevel.PROVINCE, "2": UnitLevel.DEPARTMENT, "3": UnitLevel.COMMUNE}
"""CAPDONVI."""

PROCEDURE_LEVELS = {
    "0": UnitLevel.MINISTRY,
    "1": UnitLevel.PROVINCE,
    "2": UnitLevel.DISTRICT,
    "3": UnitLevel.COMMUNE,
}
"""CAPTHUCHIEN."""

APPROXIMATE_HOURS = {
    DurationUnit.HOUR: Decimal(1),
    DurationUnit.DAY: Decimal(24),
    DurationUnit.WORKING_DAY: Decimal("33.6"),  # five of them are a week
    DurationUnit.MONTH: Decimal(730),
}
"""Only to tell which of two durations in different units is the longer one."""

LONGEST = Decimal(10_000)
NAME_LIMIT = 2_000

RECORD_KEYS = (
    *("ID", "MATTHC", "TENTTHC", "MACOQUANCONGBO", "TUKHOA", "MOTA", "YEUCAU", "LOAITTHC", "TRANGTHAI"),
    *("QUYETDINH", "IDQUYETDINHCONGBO", "CAPTHUCHIEN", "LINHVUCTHUCHIEN", "TRINHTUTHUCHIEN"),
    *("CACHTHUCTHUCHIEN", "DOITUONGTHUCHIEN", "THANHPHANHOSO", "KETQUATHUCHIEN", "CANCUPHAPLY"),
    *("COQUANTHUCHIEN", "COQUANCOTHAMQUYEN", "COQUANDUOCUYQUYEN", "COQUANPHOIHOP"),
    *("TTHCLIENQUAN", "TTHCLIENTHONG"),
)
"""What is kept of a LayThuTuc record."""


class UnitRow(NamedTuple):
    """`level` None: not told in a known way; such a unit can lend its name only."""

    code: str
    name: str
    level: UnitLevel | None
    parent_code: str | None
    mark: Mark


class ListedProcedure(NamedTuple):
    """`name` None: the row tells none that can be read; the code is listed all the same."""

    code: str
    name: str | None


class ProcedureRow(NamedTuple):
    """A detail record, in the order of the columns that it fills. `facts`: bits of ProcedureFact that a record can
    tell. `decided_on`, `public_on`: as the record itself tells them, which few do. `record`: JSON text of its allowed
    keys."""

    code: str
    name: str
    field_code: str | None
    field_name: str | None
    levels: list[str]
    public: bool
    state: str | None
    decision_number: str | None
    publisher: str | None
    max_duration: Decimal | None
    duration_unit: str | None
    facts: int
    effective_on: date | None
    decided_on: date | None
    public_on: date | None
    performers: list[str]
    record: str


def unit(row: object) -> UnitRow:
    """A row of LayDanhMucCoQuan. A remark (GHICHU) says that the code is not an official one. Raises
    Refused."""
    fields = _fields(row)
    code = _unit_code(fields.get("MADONVI"), "MADONVI")
    parent = fields.get("MADONVICHA")
    level = UNIT_LEVELS.get(str(fields.get("CAPDONVI", "")).strip())
    if level is None:
        raise Refused("CAPDONVI", "CAPDONVI: cần 1, 2 hoặc 3.", "CAPDONVI: unknown level; expected 1, 2 or 3")
    remark = clean(fields.get("GHICHU"), "GHICHU", limit=NAME_LIMIT)
    return UnitRow(
        code=code,
        name=_name(fields.get("TENDONVI"), "TENDONVI"),
        level=level,
        parent_code=_unit_code(parent, "MADONVICHA") if parent else next(iter(unit_parents(code)), None),
        mark=Mark.NOT_VERIFIED if remark else Mark.PRACTICE,
    )


def listed(row: object) -> ListedProcedure:
    """A row of LayDanhSachTTHC. Raises Refused."""
    fields = _fields(row)
    code, _ = procedure_code(fields.get("MATTHC"), "MATTHC")
    if code is None:
        raise Refused("MATTHC", "Thiếu MATTHC.", "MATTHC: a code is needed")
    return ListedProcedure(code, _name(fields.get("TENTTHC"), "TENTTHC"))


def listed_code(row: object) -> str | None:
    """The code of a row of LayDanhSachTTHC of which the rest cannot be read."""
    try:
        return procedure_code(_fields(row).get("MATTHC"), "MATTHC")[0]
    except Invalid:
        return None


def is_empty(row: object) -> bool:
    """Whether a row says nothing at all, of no procedure."""
    values = row.values() if isinstance(row, dict) else [row]
    return all(value is None or (isinstance(value, str) and not value.strip()) for value in values)


def procedure(code: str, record: dict[str, Any]) -> ProcedureRow:
    """A record of LayThuTuc for `code`. What a field does not tell in a known form is left empty; a record
    without a name is Refused."""
    fields = next(objects(record.get("LINHVUCTHUCHIEN")), {})
    longest = max_duration(record)
    state = _short(record.get("TRANGTHAI"))
    levels = {
        level
        for each in objects(record.get("CAPTHUCHIEN"))
        if (level := PROCEDURE_LEVELS.get(str(each.get("CAPTHUCHIEN", "")).strip())) is not None
    }
    told = procedure_facts.proposal(record)
    kept = {key: _without_nul(record[key]) for key in RECORD_KEYS if key in record}
    return ProcedureRow(
        code=code,
        name=_name(record.get("TENTTHC"), "TENTTHC"),
        field_code=_short(fields.get("MALINHVUC")),
        field_name=_short(fields.get("TENLINHVUC")),
        levels=[level.value for level in UnitLevel if level in levels],
        public=state == "1",
        state=state,
        decision_number=_decision(_short(record.get("QUYETDINH"))),
        publisher=_short(record.get("MACOQUANCONGBO")),
        max_duration=longest[0] if longest else None,
        duration_unit=longest[1].value if longest else None,
        facts=procedure_facts.facts(record),
        effective_on=procedure_facts.effective_on(record),
        decided_on=told.decided_on,
        public_on=told.public_on,
        performers=procedure_facts.performers(record),
        record=msgspec.json.encode(kept).decode(),
    )


def max_duration(record: dict[str, Any]) -> tuple[Decimal, DurationUnit] | None:
    """The longest duration over the record's channels, or None where it tells none that can be read."""
    found = list(_durations(record))
    return max(found, key=lambda each: each[0] * APPROXIMATE_HOURS[each[1]], default=None)


def _durations(record: dict[str, Any]) -> Iterator[tuple[Decimal, DurationUnit]]:
    for channel in objects(record.get("CACHTHUCTHUCHIEN")):
        for time in objects(channel.get("THOIGIAN")):
            try:
                unit_of_time = DurationUnit(_short(time.get("DONVITINH")) or "")
                value = Decimal(str(time.get("THOIGIANGIAIQUYET", "")).strip().replace(",", "."))
            except (ValueError, InvalidOperation):
                continue
            if value.is_finite() and 0 < value <= LONGEST:
                yield value.quantize(Decimal("0.01")), unit_of_time


def _fields(row: object) -> dict[str, Any]:
    if not isinstance(row, dict):
        raise Refused("result", "Phần tử phải là đối tượng.", "result: expected an object")
    return row


def _name(value: object, field: str) -> str:
    name = clean(value, field, limit=NAME_LIMIT)
    if name is None:
        raise Refused(field, f"Thiếu {field}.", f"{field}: a name is needed")
    return " ".join(name.split())


def _short(value: object) -> str | None:
    """A short text, or None where it cannot be shown: these fields are extras."""
    if isinstance(value, int) and not isinstance(value, bool):
        value = str(value)
    try:
        return clean(value, "", limit=300)
    except Invalid:
        return None


def _unit_code(value: object, field: str) -> str:
    try:
        return normalise_unit_code(value if isinstance(value, str) else "")
    except Invalid as error:
        raise Refused(field, f"{field}: {error.vi}", f"{field}: {error.en}") from None


def _decision(number: str | None) -> str | None:
    """In its normal form where it has one; else as it came, which is a finding of its own."""
    try:
        return normalise_decision_number(number) if number else None
    except Invalid:
        return number


def _without_nul(value: Any) -> Any:
    """PostgreSQL keeps no NUL in JSON, nor half of a surrogate pair."""
    if isinstance(value, str):
        return value.replace("\0", "").encode("utf-8", "ignore").decode()
    if isinstance(value, list):
        return [_without_nul(each) for each in value]
    if isinstance(value, dict):
        return {_without_nul(key): _without_nul(each) for key, each in value.items()}
    return value
