"""Findings about what the national portal publishes: facts that ingest and indicators have written beside the captures
become findings with a life of their own. Of each period the newest complete capture speaks.

`rules` and `wanted` are pure; `reconcile_captures` reads and settles.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple

import msgspec
from sqlalchemy.ext.asyncio import AsyncSession

from services.reconcile.findings import Wanted, settle
from shared.calendar import TZ
from shared.db import driver

CAPTURE = "capture"
"""Subject of these findings; `code` is a portal's component, or what was checked, `key` the period."""
SHOWN = 10
_LOCK = 0x6368_6973_6F02
"""Advisory lock of whoever reconciles captures."""


@dataclass(frozen=True, slots=True)
class Rule:
    """A kind. `responsible` acts first, then the Office of the Government (VPCP): it is its portal (R6)."""

    kind: str
    title: str
    sentence: str
    unknown: str
    source: str
    responsible: str = "centre"
    then: str = "vpcp"


RULES: tuple[Rule, ...] = (
    Rule(
        kind="formula_changed",
        title="Công thức của Cổng đã thay đổi",
        sentence="Kỳ {period}: điểm {component} mà Cổng công bố cho {units} đơn vị không phải là điểm tính từ chính tử"
        " số, mẫu số đã công bố theo bộ quy tắc {rule_set}; ví dụ {name}: {counts} → Cổng {published}, tính lại"
        " {recomputed}.",
        unknown="Điểm công bố không kèm tử số, mẫu số thì không tính lại được: không kết luận.",
        source="indicators.md §4; reporting-api.md §13 (3)",
    ),
    Rule(
        kind="capture_inconsistent",
        title="Số liệu Cổng công bố không khớp nhau",
        sentence="Kỳ {period}: lẽ ra {what}; {failed} trường hợp không khớp, ví dụ {example}.",
        unknown="Một nhóm chỉ tiêu không lấy được thì không kiểm tra: không kết luận.",
        source="reporting-api.md §7, §11, §13",
    ),
    Rule(
        kind="published_restated",
        title="Số liệu kỳ đã kết thúc bị sửa sau khi công bố",
        sentence="Kỳ {period} đã kết thúc nhưng {failed} con số khác lần kết xuất đủ đầu tiên sau khi hết kỳ; ví dụ"
        " {name} ({component}): trước {expected}, nay {found}.",
        unknown="Chưa có lần kết xuất đủ nào trước đó sau khi hết kỳ: không kết luận.",
        source="reporting-api.md §8; R2",
    ),
)
_BY_KIND = {rule.kind: rule for rule in RULES}
CHECKED = {
    "national_totals": "tổng điểm của tỉnh, thành phố bằng tổng sáu nhóm",
    "radar": "năm nhóm theo Quyết định bằng tổng điểm",
    "unit_totals": "tổng điểm của đơn vị bằng tổng sáu nhóm",
    "received": "hồ sơ đã nhận bằng hồ sơ đúng hạn cộng quá hạn",
    "children_sum": "số của tỉnh bằng tổng các đơn vị",
    "ratios": "tỷ lệ bằng tử số chia mẫu số",
    "bounds": "điểm, tỷ lệ trong giới hạn",
    "inventory": "đơn vị có đủ trong các nhóm",
    "units_known": "danh sách đơn vị của Cổng trùng danh sách đã biết",
    "ids": "mỗi mã đơn vị một định danh",
    "rows": "số dòng đã báo bằng số dòng nhận được",
}
"""What should be, in words, by the codes of capture_check."""
_EXAMPLES = {
    "số tỉnh, thành phố": "Cổng công bố {found} tỉnh, thành phố, đúng ra {expected}",
    "số nhóm": "{name} chỉ có {found} trên {expected} nhóm",
    "thiếu trong nhóm": "{name} không có trong nhóm {groups}",
    "đơn vị không có trong số liệu": "đơn vị {code} không có trong số liệu Cổng công bố",
    "đơn vị chưa biết": "{name} có trong số liệu Cổng công bố nhưng chưa có trong danh sách đã biết",
    "một mã nhiều định danh": "{name} có {found} định danh",
    "ids": "{name} có định danh khác lần kết xuất trước",
    "rows": "nhóm {group} báo {expected} dòng, nhận được {found} dòng",
    "ratios": "{name} ({what}): tính từ tử số, mẫu số được {expected} %, Cổng công bố {found} %",
    "bounds": "{name} ({what}): giới hạn {expected}, Cổng công bố {found}",
}
"""How the first failure is told: by what failed where a check looks at several things, or by the check."""
_EXAMPLE = "{name}: đúng ra {expected}, đã công bố {found}"
_GROUPS = {
    "national": "Tổng điểm các tỉnh, thành phố",
    "province": "Tổng điểm các đơn vị của tỉnh",
    "transparency": "Công khai, minh bạch",
    "progress": "Tiến độ giải quyết",
    "online-service": "Dịch vụ công trực tuyến",
    "online-payment": "Thanh toán trực tuyến",
    "satisfaction": "Mức độ hài lòng",
    "digitisation": "Số hóa hồ sơ",
}
"""What is asked of the portal, as officers call it."""


class Head(NamedTuple):
    """The newest complete capture of a period, and by which rule set its scores were computed again."""

    id: int
    period: str
    captured_at: datetime
    rule_set: str | None


class Differing(NamedTuple):
    """Scores of one component that are not what the rule set gives: of how many units, and the first of them."""

    capture_id: int
    endpoint: str
    component: str
    units: int
    examples: list[dict[str, Any]]


class Failed(NamedTuple):
    """A check that does not hold."""

    capture_id: int
    code: str
    failed: int
    detail: list[dict[str, Any]]


def wanted(
    heads: Iterable[Head], differing: Iterable[Differing], failed: Iterable[Failed], *, province: str
) -> list[Wanted]:
    """The findings that these facts are. Pure."""
    by_id = {head.id: head for head in heads}
    found = [_formula(by_id[each.capture_id], each, province) for each in differing]
    found += [_check(by_id[each.capture_id], each, province) for each in failed]
    return found


def _formula(head: Head, each: Differing, province: str) -> Wanted:
    first = each.examples[0]
    numerator, denominator = first["numerator"], first["denominator"]
    counts = "tổng các thành phần" if denominator is None else f"{numerator}/{denominator}"
    code = f"{each.endpoint}.{each.component}"
    values = {
        "component": code,
        "units": each.units,
        "rule_set": head.rule_set,
        "name": first["name"],
        "counts": counts,
        "published": _vn(first["published"]),
        "recomputed": _vn(first["recomputed"]),
    }
    more = {"units": each.units, "rule_set": head.rule_set, "examples": each.examples}
    return _finding("formula_changed", code, head, values, more, province)


def _check(head: Head, each: Failed, province: str) -> Wanted:
    kind = "published_restated" if each.code == "restated" else "capture_inconsistent"
    first = each.detail[0] if each.detail else {}
    values = {
        "what": CHECKED.get(each.code, each.code),
        "failed": each.failed,
        "example": _example(each.code, first),
        "name": first.get("name") or "toàn tỉnh",
        "component": first.get("what"),
        "expected": _vn(first.get("expected")),
        "found": _vn(first.get("found")),
    }
    more = {"check": each.code, "failed": each.failed, "examples": each.detail[:SHOWN]}
    return _finding(kind, each.code, head, values, more, province)


def _example(check: str, first: Mapping[str, Any]) -> str:
    what, found = first.get("what"), first.get("found")
    missing = str(found).split(", ")
    return (_EXAMPLES.get(str(what)) or _EXAMPLES.get(check, _EXAMPLE)).format(
        name=first.get("name") or "toàn tỉnh",
        what=what,
        code=first.get("expected"),
        expected=_vn(first.get("expected")),
        found=_vn(found),
        group=_GROUPS.get(str(what), what),
        groups="; ".join(_GROUPS.get(each, each) for each in missing),
    )


def _vn(value: object) -> str:
    return "không có" if value is None else str(value).replace(".", ",")


def _finding(
    kind: str, code: str, head: Head, values: Mapping[str, Any], more: Mapping[str, Any], province: str
) -> Wanted:
    rule = _BY_KIND[kind]
    return Wanted(
        code=code,
        kind=kind,
        key=head.period,
        unit_code=province,
        procedure_code=None,
        responsible=rule.responsible,
        source_system=None,
        evidence={
            "rule": kind,
            "sentence": rule.sentence.format(period=head.period, **values),
            "period": head.period,
            # Every day brings another capture: only what it says is news.
            "capture": {
                "via": f"/v1/captures/{head.id}",
                "learnt_at": head.captured_at.astimezone(TZ).isoformat(),
            },
            "responsible": rule.responsible,
            "then": rule.then,
            "source": rule.source,
            **more,
        },
    )


async def reconcile_captures(session: AsyncSession, *, now: datetime, province: str) -> dict[str, int]:
    """Bring the findings to what the newest complete captures say. Returns how many opened, reopened, changed and
    resolved."""
    connection = await driver(session)
    await connection.execute("SELECT pg_advisory_xact_lock($1)", _LOCK)
    heads = [
        Head(*row)
        for row in await connection.fetch(
            "SELECT DISTINCT ON (c.period) c.id, c.period, c.captured_at, s.rule_set FROM capture c"
            " LEFT JOIN capture_scoring s ON s.capture_id = c.id"
            " WHERE c.scope = $1 AND c.state = 'complete' ORDER BY c.period, c.captured_at DESC, c.id DESC",
            province,
        )
    ]
    ids = [head.id for head in heads]
    differing = await connection.fetch(
        "SELECT d.capture_id, d.endpoint, d.component, count(*) AS units, (jsonb_agg(jsonb_build_object("
        " 'name', u.name, 'unit_code', u.unit_code, 'numerator', d.numerator, 'denominator', d.denominator,"
        " 'published', d.published::text, 'recomputed', d.recomputed::text)"
        " ORDER BY u.kind DESC, u.department_code, u.name))::text AS examples"
        " FROM capture_score_check d JOIN captured_unit u USING (capture_id, department_id)"
        " WHERE d.capture_id = ANY($1::bigint[]) GROUP BY 1, 2, 3 ORDER BY 1, 2, 3",
        ids,
    )
    failed = await connection.fetch(
        "SELECT capture_id, code, failed, detail::text FROM capture_check"
        " WHERE capture_id = ANY($1::bigint[]) AND NOT holds ORDER BY 1, 2",
        ids,
    )
    return await settle(
        session,
        subject=CAPTURE,
        codes=None,
        wanted=wanted(
            heads,
            [
                Differing(row[0], row[1], row[2], row[3], msgspec.json.decode(row["examples"])[:SHOWN])
                for row in differing
            ],
            [Failed(row[0], row[1], row[2], msgspec.json.decode(row["detail"])) for row in failed],
            province=province,
        ),
        now=now,
    )
