"""What a record of LayThuTuc, a row of LayDVC and a decision of LayQDCB say that the components ask (portals.md §1.3,
§2; indicators.md §3) → bits of ProcedureFact and days. Pure; wire names here and in national_reference only.

What is not told in a known form is not there: a bit is set only where the record says so.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Iterator
from datetime import UTC, date, datetime
from typing import Any, NamedTuple

from shared.calendar import local_day
from shared.errors import Invalid
from shared.identifiers import (
    name_key,
    normalise_decision_number,
    normalise_unit_code,
    procedure_code,
    unit_name_key,
)
from shared.vocabulary import ProcedureFact

ONLINE = ProcedureFact.ONLINE_SERVICE.value | ProcedureFact.ONLINE_FULL.value
"""The bits that come from LayDVC; all others come from the record."""

PEOPLE = frozenset(
    name_key(name)
    for name in ("Công dân Việt Nam", "Người Việt Nam định cư ở nước ngoài", "Người nước ngoài")
)
"""Subjects that are people: the three names of component 4.5."""

FULL_LEVELS = frozenset({"4", name_key("Toàn trình")})
"""MUCDO of a service that is carried out online from end to end: "4" until the law of 2022 named the levels, its name
since. One public client keeps the field; its values are general knowledge, not verified."""

_FREE = ("không", "miễn", "chưa")
_NO_RESULT = frozenset({"", *map(name_key, ("Không", "Không có", "Không quy định"))})
_DAY = re.compile(r"(?P<d>\d{1,2})/(?P<m>\d{1,2})/(?P<y>\d{4})\b|(?P<Y>\d{4})-?(?P<M>\d{2})-?(?P<D>\d{2})")
_YEARS = range(1945, 2101)


def facts(record: dict[str, Any]) -> int:
    """ProcedureFact of a record, without those of LayDVC."""
    channels = list(objects(record.get("CACHTHUCTHUCHIEN")))
    times = [time for channel in channels for time in objects(channel.get("THOIGIAN"))]
    found = 0
    if any(str(channel.get("KENH", "")).strip() == "2" for channel in channels):
        found |= ProcedureFact.ONLINE_CHANNEL.value
    if any(_costs(fee.get("SOTIEN")) for time in times for fee in objects(time.get("PHILEPHI"))):
        found |= ProcedureFact.FEE.value
    if any(
        name_key(_text(result.get("TENKETQUA"))) not in _NO_RESULT
        for result in objects(record.get("KETQUATHUCHIEN"))
    ):
        found |= ProcedureFact.RESULT.value
    if any(
        name_key(name) in PEOPLE
        for subject in objects(record.get("DOITUONGTHUCHIEN"))
        for name in re.split(r"[;,\n]", _text(subject.get("TENDOITUONG")))
    ):
        found |= ProcedureFact.PEOPLE.value
    if _is_complete(record, channels, times):
        found |= ProcedureFact.COMPLETE.value
    return found


def _is_complete(record: dict[str, Any], channels: list[dict[str, Any]], times: list[dict[str, Any]]) -> bool:
    """1.3: name, steps, ways, papers and their number, duration, subjects, authority (khoản 2 Điều 8 NĐ 63/2010)."""
    papers = [paper for case in objects(record.get("THANHPHANHOSO")) for paper in objects(case.get("GIAYTO"))]
    return all(
        (
            _text(record.get("TENTTHC")),
            _any_text(
                (s for case in objects(record.get("TRINHTUTHUCHIEN")) for s in objects(case.get("TRINHTU"))),
                "TENTRINHTU",
            ),
            _any_text(channels, "KENH"),
            _any_text(papers, "TENGIAYTO"),
            _any_text(papers, "SOBANCHINH") or _any_text(papers, "SOBANSAO"),
            _any_text(times, "THOIGIANGIAIQUYET"),
            _any_text(objects(record.get("DOITUONGTHUCHIEN")), "TENDOITUONG"),
            _any_text(objects(record.get("COQUANTHUCHIEN")), "TENDONVI")
            or _any_text(objects(record.get("COQUANCOTHAMQUYEN")), "TENDONVI"),
        )
    )


def effective_on(record: dict[str, Any]) -> date | None:
    """The latest day on which a legal basis takes effect (1.1)."""
    days = (day(basis.get("NGAYHIEULUC")) for basis in objects(record.get("CANCUPHAPLY")))
    return max((each for each in days if each), default=None)


PERFORMERS, KEY_LIMIT = 50, 200
"""So many of them are kept, of so many characters."""


def performers(record: dict[str, Any]) -> list[str]:
    """COQUANTHUCHIEN: each agency's unit code, or where there is none that can be read its name as a comparison key."""
    found = set()
    for agency in objects(record.get("COQUANTHUCHIEN")):
        try:
            found.add(normalise_unit_code(_text(agency.get("MADONVI"))))
        except Invalid:
            found.add(unit_name_key(_text(agency.get("TENDONVI")).replace("\0", ""))[:KEY_LIMIT])
    return sorted(found - {""})[:PERFORMERS]


class Proposal(NamedTuple):
    """When a procedure was decided and made public, as far as told."""

    decided_on: date | None
    public_on: date | None


def proposal(record: dict[str, Any]) -> Proposal:
    """procedureProposal of the portal's detail record: milliseconds since 1970 (reporting-api.md §14; seen in a stored
    record, which service answers with it is not known). Nothing else of it is read."""
    told = next(objects([record.get("procedureProposal")]), {})
    return Proposal(_instant(told.get("decisionDate")), _instant(told.get("publicationDate")))


def _instant(value: object) -> date | None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        day = local_day(datetime.fromtimestamp(value / 1000, UTC))
    except (ValueError, OverflowError, OSError):
        return None
    return day if day.year in _YEARS else None


def decided_on(rows: Iterable[object], number: str | None) -> date | None:
    """Of LayQDCB's rows the day of the decision with this number (in its normal form), or of the only one."""
    dated = {(_number(row.get("SOQUYETDINH")), day(row.get("NGAYQUYETDINH"))) for row in objects(list(rows))}
    mine = {on for told, on in dated if on and told is not None and told == number}
    if not mine and len(dated) == 1:
        mine = {on for _, on in dated if on}
    return mine.pop() if len(mine) == 1 else None


def online_services(rows: Iterable[object]) -> dict[str, int]:
    """LayDVC: procedure → its bits. Full where some unit applies the service so (APDUNGDVC[].MUCDO), or the service
    itself says so. A row without a code that can be read is passed over."""
    found: dict[str, int] = {}
    for row in objects(list(rows)):
        try:
            code = procedure_code(_text(row.get("MATTHC")))
        except Invalid:
            continue
        levels = [row.get("MUCDO"), *(each.get("MUCDO") for each in objects(row.get("APDUNGDVC")))]
        bits = ProcedureFact.ONLINE_SERVICE.value
        if any(name_key(_text(level)) in FULL_LEVELS for level in levels):
            bits |= ProcedureFact.ONLINE_FULL.value
        found[code] = found.get(code, 0) | bits
    return found


def day(value: object) -> date | None:
    """dd/mm/yyyy, yyyy-mm-dd or yyyymmdd, with or without a clock behind it; None for anything else."""
    found = _DAY.match(_text(value))
    if found is None:
        return None
    year, month, number = (int(found[a] or found[b]) for a, b in (("y", "Y"), ("m", "M"), ("d", "D")))
    try:
        return date(year, month, number) if year in _YEARS else None
    except ValueError:
        return None


def objects(value: object) -> Iterator[dict[str, Any]]:
    rows: Iterable[object] = value if isinstance(value, list) else ()
    return (row for row in rows if isinstance(row, dict))


def _costs(amount: object) -> bool:
    """SOTIEN: "50.000", "Theo quy định của HĐND tỉnh" – and not "Không", "Miễn phí", "0", "0 đồng" or nothing."""
    text = _text(amount)
    if not text or text.casefold().startswith(_FREE):
        return False
    digits = [sign for sign in text if sign.isdecimal()]
    return any(sign != "0" for sign in digits) if digits else True


def _any_text(rows: Iterable[dict[str, Any]], key: str) -> bool:
    return any(_text(row.get(key)) for row in rows)


def _text(value: object) -> str:
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        return ""
    return unicodedata.normalize("NFC", str(value)).strip()


def _number(value: object) -> str | None:
    try:
        return normalise_decision_number(_text(value))
    except Invalid:
        return None
