"""What no single dossier shows and a unit's month does: a flag that never varies (portals.md §1.9 rows 6, 7, 9).

One pass over what the nation holds, by unit and month of receipt, counts; `wanted` judges the counts. A pattern is a
suspicion: a unit may really have digitised every dossier. So it takes many dossiers of one month (parameters.toml), and
the sentence asks to check.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any, NamedTuple

from sqlalchemy.ext.asyncio import AsyncSession

from services.reconcile.findings import Wanted, settle
from services.reconcile.parameters import Parameters, parameters_on
from services.reconcile.rules import Responsible
from services.reconcile.sieve import allow_pass
from shared.calendar import local_day
from shared.db import driver
from shared.vocabulary import Channel, Fact, Known

UNIT = "unit"
"""Subject of these findings; `code` is the unit's, `key` the month, and the flag where a kind has several."""
_LOCK = 0x6368_6973_6F03
"""Advisory lock of whoever looks for patterns."""
_TIMES = Known.SUBMITTED_AT | Known.RECEIVED_AT
_PAYMENT = Fact.PAID_ONLINE | Fact.PAID_OTHERWISE


@dataclass(frozen=True, slots=True)
class Flag:
    """told: the condition that a copy tells the flag at all; constant: that it tells what clients fill in for all."""

    name: str
    told: str
    constant: str
    words: str


def _fact(fact: Fact, *, is_set: bool) -> tuple[str, str]:
    return f"facts_known & {fact.value} <> 0", f"facts & {fact.value} {'<>' if is_set else '='} 0"


FLAGS: tuple[Flag, ...] = (
    Flag(
        "submitted_at",
        f"known & {_TIMES.value} = {_TIMES.value} AND submitted_at IS NOT NULL",
        "submitted_at = received_at",
        "thời điểm nộp trùng thời điểm tiếp nhận (NgayNopHoSo = NgayTiepNhan)",
    ),
    Flag("vneid", *_fact(Fact.VNEID, is_set=False), "tài khoản không được xác thực với VNeID"),
    Flag("population_db", *_fact(Fact.POPULATION_DB, is_set=True), "có kết nối CSDL quốc gia về dân cư"),
    Flag("digitised", *_fact(Fact.DIGITISED, is_set=True), "có thành phần hồ sơ được số hóa"),
    Flag("reused", *_fact(Fact.REUSED, is_set=True), "có thành phần hồ sơ được tái sử dụng"),
    Flag(
        "paid_online",
        f"facts & {Fact.FEE.value} <> 0 AND facts & {_PAYMENT.value} <> 0",
        f"facts & {Fact.PAID_ONLINE.value} <> 0",
        "phí, lệ phí đã nộp là thanh toán trực tuyến",
    ),
)
"""In the directions that were seen in client code; "paid_online" among the dossiers of which a fee has been paid."""


@dataclass(frozen=True, slots=True)
class Rule:
    kind: str
    flags: tuple[str, ...]
    title: str
    sentence: str
    unknown: str
    source: str
    responsible: Responsible = "vnpt"


_TOO_FEW = "Tháng có quá ít hồ sơ của đơn vị, hoặc bản tin không có trường này: không kết luận."
RULES: tuple[Rule, ...] = (
    Rule(
        kind="flag_constant",
        flags=("submitted_at", "vneid", "population_db", "digitised"),
        title="Giá trị không đổi ở mọi hồ sơ trong tháng của đơn vị (nghi phần mềm tự điền)",
        sentence="Tháng {month}: cả {told} hồ sơ của đơn vị đều ghi {words}; đề nghị kiểm tra có phải phần mềm tự"
        " điền.",
        unknown=_TOO_FEW,
        source="R4, R11; portals.md §1.9 (6)",
    ),
    Rule(
        kind="reuse_forced",
        flags=("reused",),
        title="Mọi hồ sơ trong tháng của đơn vị đều ghi tái sử dụng (nghi phần mềm tự điền)",
        sentence="Tháng {month}: cả {told} hồ sơ của đơn vị đều ghi {words}; đề nghị kiểm tra có phải phần mềm ép giá"
        " trị của thành phần đầu tiên.",
        unknown=_TOO_FEW,
        source="R4, R11; portals.md §1.9 (7)",
    ),
    Rule(
        kind="cash_counted_online_suspected",
        flags=("paid_online",),
        title="Mọi khoản phí, lệ phí trong tháng đều ghi thanh toán trực tuyến (nghi gồm cả tiền mặt)",
        sentence="Tháng {month}: cả {told} hồ sơ đã nộp phí, lệ phí của đơn vị đều ghi thanh toán trực tuyến, trong đó"
        " {in_person} hồ sơ nộp trực tiếp; đề nghị kiểm tra có phải tiền mặt được tính là trực tuyến.",
        unknown="Tháng có quá ít hồ sơ nộp trực tiếp đã thu phí, hoặc bản tin không có cách thanh toán: không kết"
        " luận.",
        source="R4, R11; portals.md §1.9 (9)",
    ),
)


class Counted(NamedTuple):
    """Of a unit's dossiers received in a month (its first day): by flag how many tell it, and how many tell the
    constant; `in_person`: of those with a fee paid, how many were submitted in person."""

    unit_code: str
    month: date
    told: dict[str, int]
    constant: dict[str, int]
    in_person: int


def wanted(counted: Iterable[Counted], parameters: Parameters) -> list[Wanted]:
    """The findings that these counts are. Pure."""
    flags = {flag.name: flag for flag in FLAGS}
    return [
        _finding(rule, flags[name], each)
        for each in counted
        for rule in RULES
        for name in rule.flags
        if each.told[name] == each.constant[name] and _enough(name, each, parameters)
    ]


def _enough(name: str, each: Counted, parameters: Parameters) -> bool:
    if name == "paid_online":
        return each.in_person >= parameters.pattern_in_person
    return each.told[name] >= parameters.pattern_dossiers


def _finding(rule: Rule, flag: Flag, each: Counted) -> Wanted:
    told, month = each.told[flag.name], f"{each.month:%Y-%m}"
    words = {"month": f"{each.month:%m/%Y}", "told": told, "words": flag.words, "in_person": each.in_person}
    evidence = {
        "rule": rule.kind,
        "sentence": rule.sentence.format(**words),
        "month": month,
        "field": flag.name,
        "dossiers": told,
        "responsible": rule.responsible,
        "source": rule.source,
    }
    if flag.name == "paid_online":
        evidence["in_person"] = each.in_person
    return Wanted(
        code=each.unit_code,
        kind=rule.kind,
        key=f"{month}:{flag.name}" if len(rule.flags) > 1 else month,
        unit_code=each.unit_code,
        procedure_code=None,
        responsible=rule.responsible,
        source_system=None,
        evidence=evidence,
    )


_COLUMNS = ("unit_code", "received_at", "submitted_at", "known", "facts", "facts_known", "channel")
_THERE = "version IS NOT NULL AND vanished_at IS NULL"
_COUNTS = ", ".join(
    f"count(*) FILTER (WHERE {flag.told}), count(*) FILTER (WHERE {flag.told} AND {flag.constant})"
    for flag in FLAGS
)
_PAID_IN_PERSON = f"count(*) FILTER (WHERE {FLAGS[-1].told} AND channel = {Channel.IN_PERSON.value})"
_TELLS = "(submitted_at IS NOT NULL OR facts <> 0 OR facts_known <> 0)"
"""Without one of these, no flag is told."""
_PASS = f"""
SELECT unit_code, date_trunc('month', received_at AT TIME ZONE 'Asia/Ho_Chi_Minh')::date AS month, {_PAID_IN_PERSON},
       {_COUNTS}
  FROM (
    SELECT {", ".join(f"CASE WHEN by_nation THEN n.{name} ELSE s.{name} END AS {name}" for name in _COLUMNS)}
      FROM (SELECT * FROM dossier WHERE portal = 'sent' AND {_THERE} AND ({_TELLS} OR cancelled)) s
      FULL JOIN (SELECT * FROM dossier WHERE portal = 'national' AND {_THERE}) n ON n.code = s.code
     CROSS JOIN LATERAL (
       SELECT s.code IS NULL OR n.code IS NOT NULL AND (n.facts_known <> 0 OR s.facts_known = 0) AS by_nation
     ) told
     WHERE (s.cancelled OR n.cancelled) IS NOT TRUE
  ) shown
 WHERE unit_code IS NOT NULL AND received_at IS NOT NULL AND {_TELLS}
 GROUP BY 1, 2 HAVING count(*) >= $1 ORDER BY 1, 2
"""  # noqa: S608 - our text
"""What the nation shows of a dossier: its own copy, or where only what was sent to it tells papers, that. A sent copy
that tells nothing is left out where it is read: beside a national one it would not be shown either."""


async def count(session: AsyncSession, *, least: int) -> list[Counted]:
    """The unit-months with at least so many dossiers."""
    connection = await driver(session)
    await allow_pass(connection)
    rows: Sequence[Sequence[Any]] = await connection.fetch(_PASS, least)
    names = [flag.name for flag in FLAGS]
    return [
        Counted(
            unit_code,
            month,
            dict(zip(names, told[::2], strict=True)),
            dict(zip(names, told[1::2], strict=True)),
            in_person,
        )
        for unit_code, month, in_person, *told in rows
    ]


async def reconcile_units(session: AsyncSession, *, now: datetime, province: str) -> dict[str, int]:
    """Bring the findings about units to what their dossiers say. Returns how many opened, reopened, changed and
    resolved."""
    await (await driver(session)).execute("SELECT pg_advisory_xact_lock($1)", _LOCK)
    parameters = parameters_on(local_day(now), province)
    least = min(parameters.pattern_dossiers, parameters.pattern_in_person)
    counted = await count(session, least=least)
    return await settle(session, subject=UNIT, codes=None, wanted=wanted(counted, parameters), now=now)
