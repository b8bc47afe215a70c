"""Parameters → scores. Pure: the numbers come from parameters/*.toml, read and checked once.

Rounding and sums: indicators.md §4.1: each component half-up to 2 decimals, a group is the sum of its rounded
components. Empty denominators: §4.5. Bands: §5.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from decimal import ROUND_HALF_UP, Decimal
from functools import lru_cache
from importlib import resources
from typing import Any, Literal, NamedTuple, TypeAlias, cast, get_args

from services.indicators.rules.assess import SINCE
from shared.calendar import Period
from shared.errors import Invalid
from shared.vocabulary import IndicatorGroup, Mark, UnitLevel

Scaling: TypeAlias = Literal["linear", "full_at", "information"]
Empty: TypeAlias = Literal["zero", "none", "full"]
_CENT = Decimal("0.01")
_FOLDER = resources.files("services.indicators.rules") / "parameters"


class ParametersInvalid(ValueError):
    """The shipped parameters contradict themselves; names the file or entry. A fault of ours, not of a
    caller."""


@dataclass(frozen=True, slots=True)
class Provenance:
    """Where a number comes from, of which date, and how far it can be trusted."""

    source: str
    on: date
    mark: Mark
    note: str | None


@dataclass(frozen=True, slots=True)
class RuleSet:
    """since, until: first and last day in force; until None: still."""

    id: str
    name: str
    since: date
    until: date | None
    provenance: Provenance

    def in_force(self, day: date) -> bool:
        return self.since <= day and (self.until is None or day <= self.until)


@dataclass(frozen=True, slots=True)
class Scoring:
    """How a component scores in one rule set. target: the ratio from which full_at gives the maximum.
    empty: an empty denominator gives 0 points, no score (counted 0), or the maximum. not_at: levels whose units do not
    have the component, while the group's maximum stays (§4.9)."""

    max: Decimal
    scaling: Scaling
    target: Decimal | None
    empty: Empty
    provenance: Provenance
    not_at: frozenset[str] = frozenset()

    @property
    def formula(self) -> str:
        if self.scaling == "information":
            return "không tính điểm"
        if self.target is None:
            return f"{self.max} × tử số / mẫu số"
        return f"{self.max} × min(1, tử số / mẫu số / {self.target})"


@dataclass(frozen=True, slots=True)
class Component:
    """computed: this version counts it; else it is only described. code_is_ours: the portal has none. inherited: a unit
    below the province has the province's figures."""

    id: str
    group: IndicatorGroup
    code: str
    code_is_ours: bool
    name: str
    numerator: str
    denominator: str
    computed: bool
    inherited: bool
    counting: Provenance
    scoring: Mapping[str, Scoring]


@dataclass(frozen=True, slots=True)
class Group:
    slug: IndicatorGroup
    position: int
    name: str
    law_name: str
    portal_field: str
    max: Decimal
    provenance: Provenance
    components: tuple[Component, ...]


class Band(NamedTuple):
    """from_percent belongs to the band."""

    from_percent: Decimal
    name: str


@dataclass(frozen=True, slots=True)
class Bands:
    since: date
    provenance: Provenance
    bounds: tuple[Band, ...]


@dataclass(frozen=True, slots=True)
class PetitionLimits:
    """Within how many working days a petition must be refused, more be asked for, answered, published (5.2)."""

    since: date
    refuse: int
    ask_more: int
    handle: int
    publish: int
    provenance: Provenance


@dataclass(frozen=True, slots=True)
class PublicationLimits:
    """Working days of a province or a ministry: announce, by how many a decision must come before the legal text takes
    effect (1.1); publish, within how many of the decision the procedure must be public (1.2)."""

    since: date
    announce: Mapping[UnitLevel, int]
    publish: Mapping[UnitLevel, int]
    provenance: Provenance


@dataclass(frozen=True, slots=True)
class Parameters:
    rule_sets: tuple[RuleSet, ...]
    groups: Mapping[IndicatorGroup, Group]
    components: Mapping[str, Component]
    bands: tuple[Bands, ...]
    petition_limits: tuple[PetitionLimits, ...]
    publication_limits: tuple[PublicationLimits, ...]


class Score(NamedTuple):
    """points None: nothing to measure, which is not 0 points; a sum counts it as 0. ratio: not rounded."""

    ratio: Decimal | None
    points: Decimal | None
    max: Decimal


def score(numerator: int, denominator: int, component: Component, rule_set: RuleSet) -> Score:
    """Points of one component, rounded half-up to 2 decimals. ValueError: counts that cannot be, or a
    component that scores nothing (information)."""
    scoring = component.scoring[rule_set.id]
    if not 0 <= numerator <= denominator:
        raise ValueError(f"{component.id}: {numerator} of {denominator} cannot be")
    if scoring.scaling == "information":
        raise ValueError(f"{component.id} is information only")
    if denominator == 0:
        points = {"zero": Decimal(0), "none": None, "full": scoring.max}[scoring.empty]
        return Score(None, None if points is None else points.quantize(_CENT), scoring.max)
    ratio = Decimal(numerator) / denominator
    # Multiplied before divided: a tie at half a cent stays exact.
    reached = Decimal(numerator) * scoring.max / denominator
    if scoring.target is not None:
        reached = min(scoring.max, Decimal(numerator) * scoring.max / (denominator * scoring.target))
    return Score(ratio, reached.quantize(_CENT, ROUND_HALF_UP), scoring.max)


def total(scores: list[Score]) -> Decimal:
    """A group is the sum of its rounded components; no score counts 0 (§4.1, §4.5)."""
    return sum((each.points for each in scores if each.points is not None), Decimal("0.00"))


def rule_set_for(period: Period) -> RuleSet:
    """The rule set in force on the period's last day. Invalid(field="period"): none is."""
    for each in parameters().rule_sets:
        if each.in_force(period.last_day):
            return each
    raise Invalid(
        f"Không có bộ quy tắc nào có hiệu lực vào ngày cuối kỳ {period.key} (Quyết định 766: từ 23/6/2022).",
        f"no rule set is in force on the last day of {period.key}",
        field="period",
    )


def governed(period: Period) -> bool:
    """Whether a rule set is in force on the period's last day."""
    return any(each.in_force(period.last_day) for each in parameters().rule_sets)


def rule_set(identifier: str) -> RuleSet:
    """A rule set by its id. Invalid(field="rule_set"): no such one."""
    known = {each.id: each for each in parameters().rule_sets}
    if identifier not in known:
        raise Invalid(
            f"Không có bộ quy tắc này; có: {', '.join(known)}.",
            f"no such rule set; there are: {', '.join(known)}",
            field="rule_set",
        )
    return known[identifier]


def rating(points: Decimal, maximum: Decimal, day: date) -> str:
    """The band of a score, in percent of its maximum, with the bands in force on a day. Invalid: none are."""
    if maximum <= 0:
        raise ValueError("no maximum to relate a score to")
    candidates = [bands for bands in parameters().bands if bands.since <= day]
    if not candidates:
        raise Invalid("Chưa có ngưỡng xếp hạng cho ngày này.", "no rating bands on this day", field="period")
    percent = 100 * points / maximum
    return next(band.name for band in candidates[-1].bounds if percent >= band.from_percent)


def petition_limits(period: Period) -> PetitionLimits:
    """The limits in force on the period's last day. Invalid(field="period"): none are."""
    in_force = [each for each in parameters().petition_limits if each.since <= period.last_day]
    if not in_force:
        raise Invalid(
            f"Chưa có thời hạn xử lý phản ánh, kiến nghị cho kỳ {period.key}.",
            f"no limits for petitions are in force on the last day of {period.key}",
            field="period",
        )
    return in_force[-1]


def publication_limits(period: Period) -> PublicationLimits:
    """The limits in force on the period's last day. Invalid(field="period"): none are."""
    in_force = [each for each in parameters().publication_limits if each.since <= period.last_day]
    if not in_force:
        raise Invalid(
            f"Chưa có thời hạn công bố, công khai thủ tục cho kỳ {period.key}.",
            f"no limits for publishing procedures are in force on the last day of {period.key}",
            field="period",
        )
    return in_force[-1]


@lru_cache(maxsize=1)
def parameters() -> Parameters:
    """All parameters, checked. Raises ParametersInvalid."""
    return load(
        {each.name: each.read_text(encoding="utf-8") for each in _FOLDER.iterdir() if _is_toml(each.name)}
    )


def _is_toml(name: str) -> bool:
    return name.endswith(".toml")


def load(files: Mapping[str, str]) -> Parameters:
    """File name → TOML text (rule_sets.toml, and one file per group). Raises ParametersInvalid."""
    documents: dict[str, dict[str, Any]] = {}
    for name, content in files.items():
        try:
            documents[name] = tomllib.loads(content, parse_float=Decimal)
        except tomllib.TOMLDecodeError as error:
            raise ParametersInvalid(f"{name}: {error}") from error
    if "rule_sets.toml" not in documents:
        raise ParametersInvalid("rule_sets.toml is missing")
    head = documents.pop("rule_sets.toml")
    try:
        sources = {entry["id"]: entry for entry in head["source"]}
        rule_sets = tuple(_rule_set(entry, sources) for entry in head["rule_set"])
        bands = tuple(_bands(entry, sources) for entry in head["band"])
        groups = [_group(document, sources) for document in documents.values()]
        limits = [
            _limits(entry, sources)
            for document in documents.values()
            for entry in document.get("petition_limits", ())
        ]
        publication = [
            _publication(entry, sources)
            for document in documents.values()
            for entry in document.get("publication_limits", ())
        ]
    except KeyError as error:
        raise ParametersInvalid(f"missing or unknown: {error}") from error
    except (ValueError, TypeError, ArithmeticError) as error:
        raise ParametersInvalid(str(error)) from error
    ordered = sorted(groups, key=lambda group: group.position)
    found = Parameters(
        rule_sets=tuple(sorted(rule_sets, key=lambda each: each.since)),
        groups={group.slug: group for group in ordered},
        components={component.id: component for group in ordered for component in group.components},
        bands=tuple(sorted(bands, key=lambda each: each.since)),
        petition_limits=tuple(sorted(limits, key=lambda each: each.since)),
        publication_limits=tuple(sorted(publication, key=lambda each: each.since)),
    )
    for problem in _problems(found, ordered):
        raise ParametersInvalid(problem)
    return found


def _provenance(entry: Mapping[str, Any], sources: Mapping[str, Any], prefix: str = "") -> Provenance:
    source = sources[entry[f"{prefix}source"]]
    return Provenance(
        source["title"], source["date"], Mark(entry[f"{prefix}mark"]), entry.get(f"{prefix}note")
    )


def _rule_set(entry: Mapping[str, Any], sources: Mapping[str, Any]) -> RuleSet:
    return RuleSet(
        entry["id"], entry["name"], entry["since"], entry.get("until"), _provenance(entry, sources)
    )


def _bands(entry: Mapping[str, Any], sources: Mapping[str, Any]) -> Bands:
    bounds = tuple(Band(Decimal(bound["from"]), bound["name"]) for bound in entry["bounds"])
    return Bands(entry["since"], _provenance(entry, sources), tuple(sorted(bounds, reverse=True)))


def _limits(entry: Mapping[str, Any], sources: Mapping[str, Any]) -> PetitionLimits:
    days = {name: int(entry[name]) for name in ("refuse", "ask_more", "handle", "publish")}
    if min(days.values()) <= 0:
        raise ValueError("a limit for petitions is a number of working days above 0")
    return PetitionLimits(since=entry["since"], provenance=_provenance(entry, sources), **days)


def _publication(entry: Mapping[str, Any], sources: Mapping[str, Any]) -> PublicationLimits:
    announce, publish = (
        {level: int(entry[f"{name}_{level.value}"]) for level in (UnitLevel.PROVINCE, UnitLevel.MINISTRY)}
        for name in ("announce", "publish")
    )
    if min(*announce.values(), *publish.values()) <= 0:
        raise ValueError("a limit for publishing is a number of working days above 0")
    return PublicationLimits(entry["since"], announce, publish, _provenance(entry, sources))


def _group(document: Mapping[str, Any], sources: Mapping[str, Any]) -> Group:
    head = document["group"]
    slug = IndicatorGroup(head["slug"])
    return Group(
        slug=slug,
        position=head["position"],
        name=head["name"],
        law_name=head["law_name"],
        portal_field=head["portal_field"],
        max=Decimal(head["max"]),
        provenance=_provenance(head, sources),
        components=tuple(_component(entry, slug, sources) for entry in document["component"]),
    )


def _component(entry: Mapping[str, Any], group: IndicatorGroup, sources: Mapping[str, Any]) -> Component:
    return Component(
        id=entry["id"],
        group=group,
        code=entry["code"],
        code_is_ours=entry["code_is_ours"],
        name=entry["name"],
        numerator=entry["numerator"],
        denominator=entry["denominator"],
        computed=entry["computed"],
        inherited=entry.get("inherited", False),
        counting=_provenance(entry, sources, "counting_"),
        scoring={each["rule_set"]: _scoring(each, sources) for each in entry["scoring"]},
    )


def _scoring(entry: Mapping[str, Any], sources: Mapping[str, Any]) -> Scoring:
    if entry["scaling"] not in get_args(Scaling) or entry["empty"] not in get_args(Empty):
        raise ValueError(f"unknown scaling or empty rule: {entry['scaling']}, {entry['empty']}")
    target = entry.get("target")
    if (target is not None) != (entry["scaling"] == "full_at") or not (target is None or 0 < target <= 1):
        raise ValueError("full_at, and only that, has a target above 0 and up to 1")
    return Scoring(
        max=Decimal(entry["max"]),
        scaling=cast(Scaling, entry["scaling"]),
        target=target,
        empty=cast(Empty, entry["empty"]),
        provenance=_provenance(entry, sources),
        not_at=frozenset(UnitLevel(level).value for level in entry.get("not_at", ())),
    )


def _problems(found: Parameters, groups: list[Group]) -> Iterator[str]:
    """What does not hold together. Every day since SINCE has exactly one rule set."""
    day = SINCE
    for each in found.rule_sets:
        if each.since != day:
            yield f"rule set {each.id}: a gap or an overlap at {min(each.since, day)}"
        day = date.max if each.until is None else each.until + timedelta(days=1)
    if day != date.max:
        yield f"no rule set from {day} on"
    if set(found.groups) != set(IndicatorGroup) or len(groups) != len(found.groups):
        yield "each of the six groups needs exactly one file"
    if len(found.components) != sum(len(group.components) for group in groups):
        yield "a component id stands twice"
    if sum(group.max for group in groups) != 100:
        yield "the groups do not sum to 100"
    known = {each.id for each in found.rule_sets}
    for group in groups:
        for component in group.components:
            if set(component.scoring) != known:
                yield f"{component.id}: needs a scoring for each rule set"
        for identifier in known:
            if sum(component.scoring[identifier].max for component in group.components) != group.max:
                yield f"{group.slug}, {identifier}: components do not sum to {group.max}"
    for bands in found.bands:
        if bands.bounds[-1].from_percent != 0:
            yield "the lowest band begins at 0"
    if not found.bands or found.bands[0].since > SINCE:
        yield f"no rating bands on {SINCE}"
    if not found.petition_limits or found.petition_limits[0].since > SINCE:
        yield f"no limits for petitions on {SINCE}"
    if not found.publication_limits or found.publication_limits[0].since > SINCE:
        yield f"no limits for publishing procedures on {SINCE}"
