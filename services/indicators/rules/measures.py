"""Measures, each declared once: the count, the list of dossiers behind it and the explanation come from
here. Pure.

A condition is a pair of masks over shared.reasons.Bit, so that PostgreSQL and Python decide it alike:
`bits & mask = value`.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Literal, NamedTuple

from shared.reasons import Bit


class Condition(NamedTuple):
    """All bits of `having`, none of `without`."""

    having: Bit
    without: Bit = Bit(0)

    @property
    def mask(self) -> int:
        return int(self.having | self.without)

    @property
    def value(self) -> int:
        return int(self.having)

    def holds(self, bits: int) -> bool:
        return bits & self.mask == self.value


COUNTS: dict[str, Condition] = {
    "dossiers": Condition(Bit.MEMBER),
    "on_time": Condition(Bit.MEMBER | Bit.ON_TIME),
    "done": Condition(Bit.MEMBER | Bit.DONE),
    "undetermined": Condition(Bit.MEMBER | Bit.UNDETERMINED),
    "from_national": Condition(Bit.MEMBER | Bit.FROM_NATIONAL),
    "from_sent_confirmed": Condition(Bit.MEMBER | Bit.FROM_SENT_CONFIRMED),
    "from_sent_unconfirmed": Condition(Bit.MEMBER | Bit.FROM_SENT_UNCONFIRMED),
    "handled": Condition(Bit.MEMBER | Bit.HANDLED),
}
"""The columns of `tally` that count, in their order, and what each counts."""

SUMS = ("elapsed_seconds", "working_seconds")
"""The columns of `tally` that add up what each dossier has in the same column of assessment_period (2.2)."""

COLUMNS = (*COUNTS, *SUMS)


def added(bits: int, *sums: int | None) -> tuple[int, ...]:
    """What one dossier adds to each of COLUMNS."""
    return (*counts_of(bits), *(each or 0 for each in sums))


@lru_cache(maxsize=65_536)  # of all combinations of bits only some dozens occur
def counts_of(bits: int) -> tuple[int, ...]:
    """What one dossier adds to each column of COUNTS."""
    return tuple(int(condition.holds(bits)) for condition in COUNTS.values())


Part = Literal["numerator", "shortfall"]


class Measure(NamedTuple):
    """numerator, denominator: columns of COUNTS; shortfall: what the denominator has and the numerator has
    not. period_date: the date by which a subject falls into a period. why: {numerator}, {denominator},
    {ratio} in percent, {points}, {max} are filled in."""

    component: str
    group: str
    subject: Literal["dossier"]
    numerator: str
    denominator: str
    shortfall: Condition
    period_date: str
    why: str
    why_empty: str

    def part(self, part: Part) -> Condition:
        return COUNTS[self.numerator] if part == "numerator" else self.shortfall


PROGRESS_ON_TIME = Measure(
    component="2.1",
    group="progress",
    subject="dossier",
    numerator="on_time",
    denominator="dossiers",
    shortfall=Condition(Bit.MEMBER, without=Bit.ON_TIME),
    period_date="Tiếp nhận trước khi kỳ kết thúc và chưa kết thúc trước khi kỳ bắt đầu",
    why=(
        "{numerator} trên {denominator} hồ sơ được xử lý trước hạn hoặc đúng hạn ({ratio} %),"
        " đạt {points} trên {max} điểm."
    ),
    why_empty="Không có hồ sơ nào thuộc kỳ này, nên được {points} trên {max} điểm.",
)

AVERAGE_TIME = Measure(
    component="2.2",
    group="progress",
    subject="dossier",
    numerator="handled",
    denominator="handled",
    shortfall=Condition(Bit.HANDLED, without=Bit.MEMBER),  # a mean has none
    period_date="Tiếp nhận trong kỳ; kết thúc có thể ở kỳ khác",
    why=(
        "{denominator} hồ sơ tiếp nhận trong kỳ đã có kết quả; thời gian giải quyết trung bình tính riêng cho từng thủ"
        " tục, theo đơn vị thời gian của thủ tục đó. Chỉ để tham khảo, không tính điểm."
    ),
    why_empty="Chưa có hồ sơ nào tiếp nhận trong kỳ này có kết quả, nên chưa có thời gian trung bình.",
)

MEASURES: dict[str, Measure] = {measure.component: measure for measure in (PROGRESS_ON_TIME, AVERAGE_TIME)}
"""By component; only what is computed."""
