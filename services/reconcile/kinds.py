"""Every kind of finding as its readers see it: name, rule, what unknown means, who acts. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from services.reconcile import captures, catalogue, patterns, rules

RESPONSIBLE_NAMES = {
    **rules.RESPONSIBLE_NAMES,
    "ministry": "Bộ, ngành Trung ương quản lý",
    "vpcp": "Văn phòng Chính phủ",
}


@dataclass(frozen=True, slots=True)
class Kind:
    title: str
    sentence: str
    unknown: str
    responsible: str
    source: str


_PROCEDURE_TITLES = {
    "abolished_still_public": "Thủ tục đã bãi bỏ vẫn đang công khai trên CSDLQG",
    "missing_on_national": "Thủ tục đã công bố chưa công khai trên CSDLQG",
    "extra_on_national": "Thủ tục công khai trên CSDLQG nhưng không có trong quyết định công bố",
    "level_differs": "Cấp thực hiện khác nhau giữa quyết định và CSDLQG",
}
KINDS: dict[tuple[str, str], Kind] = {
    **{
        ("dossier", rule.kind): Kind(rule.title, rule.sentence, rule.unknown, rule.responsible, rule.source)
        for rule in rules.RULES
    },
    **{
        ("procedure", rule.kind): Kind(
            _PROCEDURE_TITLES[rule.kind],
            rule.sentence,
            rule.unknown,
            rule.responsible,
            "R5, R6; decisions.md §3",
        )
        for rule in catalogue.RULES
    },
    **{
        (captures.CAPTURE, rule.kind): Kind(
            rule.title, rule.sentence, rule.unknown, rule.responsible, rule.source
        )
        for rule in captures.RULES
    },
    **{
        (patterns.UNIT, rule.kind): Kind(
            rule.title, rule.sentence, rule.unknown, rule.responsible, rule.source
        )
        for rule in patterns.RULES
    },
}
"""By (subject, kind), in the order of the rules' tables."""
