"""What the national database says of a procedure beside its name: subjects, result, online service, and when it was
decided. Facts of the world, not of a seed: subjects and results follow the field and the name; which procedures have an
online service, and the days, are made up.
"""

from __future__ import annotations

from datetime import date, timedelta
from functools import cache
from hashlib import md5

from services.sandbox.decisions import latest_decision
from services.sandbox.facts import Procedure

NOT_ONLINE, PARTLY, FULLY = "", "3", "4"
"""MUCDO: none, in part, from end to end."""
SHARE_NOT_ONLINE, SHARE_FULLY = 0.12, 0.40
INCOMPLETE = 0.04  # records in which a part that makes up a procedure is missing (1.3)

_COMPANIES = frozenset(
    {
        "Thành lập và hoạt động của doanh nghiệp",
        "Thành lập và hoạt động của tổ hợp tác, hợp tác xã, liên hiệp hợp tác xã",
        "Hỗ trợ doanh nghiệp nhỏ và vừa",
        "Hỗ trợ tổ hợp tác, hợp tác xã, liên hiệp hợp tác xã",
        "Đầu tư tại Việt nam",
        "Quản lý nhà nước về khu công nghiệp, khu kinh tế",
        "Quản lý công sản",
        "Quản lý giá",
        "Vật liệu xây dựng",
        "Xúc tiến thương mại",
    }
)
"""Fields of companies and co-operatives alone."""
_EVERYBODY = frozenset({"Hộ tịch", "Chứng thực", "Nuôi con nuôi", "Đất đai"})
"""Fields that also serve people from abroad."""
_WITHOUT_PAPER = ("Thông báo", "Khai báo", "Báo cáo", "Thanh toán", "Giảm tiền", "Khấu trừ")


def _draw(kind: str, key: str) -> float:
    return int(md5(f"{kind}:{key}".encode(), usedforsecurity=False).hexdigest()[:8], 16) / 0x1_0000_0000


def subjects(procedure: Procedure) -> tuple[str, ...]:
    """TENDOITUONG."""
    if procedure.field in _COMPANIES:
        return ("Doanh nghiệp", "Hợp tác xã")
    if procedure.field in _EVERYBODY:
        return ("Công dân Việt Nam", "Người Việt Nam định cư ở nước ngoài", "Người nước ngoài")
    return ("Công dân Việt Nam", "Doanh nghiệp")


def has_result(procedure: Procedure) -> bool:
    """Whether it ends in a paper."""
    return (
        not procedure.name.removeprefix("Thủ tục ").lower().startswith(tuple(map(str.lower, _WITHOUT_PAPER)))
    )


@cache
def online_level(procedure: Procedure) -> str:
    drawn = _draw("online", procedure.code)
    if drawn < SHARE_NOT_ONLINE:
        return NOT_ONLINE
    return FULLY if drawn < SHARE_NOT_ONLINE + SHARE_FULLY else PARTLY


def is_complete(procedure: Procedure) -> bool:
    return _draw("complete", procedure.code) >= INCOMPLETE


SHARE_OWN = 0.5  # of the procedures without a ministry's decision: the province's own (đặc thù)
SHARE_UNDATED = 0.2  # of the own ones: the record does not say when it was decided and made public


@cache
def own_decision(procedure: Procedure) -> tuple[str, date] | None:
    """The chairman's decision that publishes a procedure of the province's own, and its day."""
    if procedure.ministry_decision or _draw("own", procedure.code) >= SHARE_OWN:
        return None
    return latest_decision(procedure.code)


def takes_effect_on(procedure: Procedure) -> date:
    """NGAYHIEULUC: of an own procedure's legal basis up to twenty days after the decision, or a few before it."""
    own = own_decision(procedure)
    return own[1] + timedelta(days=int(_draw("effect", procedure.code) * 24) - 4) if own else date(2025, 7, 1)


def public_on(procedure: Procedure) -> date | None:
    """When an own procedure was made public, up to two weeks after the decision."""
    own = own_decision(procedure)
    return own and own[1] + timedelta(days=int(_draw("public", procedure.code) * 14))


def tells_days(procedure: Procedure) -> bool:
    """Whether the record of an own procedure says when it was decided and made public."""
    return _draw("undated", procedure.code) >= SHARE_UNDATED


def decision_id(number: str) -> str:
    """IDQUYETDINHCONGBO."""
    return str(int(md5(number.encode(), usedforsecurity=False).hexdigest()[:8], 16))


def decided_on(number: str) -> date:
    """The day of a ministry's decision; made up, in the year before the present unit tree came."""
    return date(2024, 7, 1) + timedelta(days=int(_draw("decided", number) * 360))
