"""Lists of units with their days, and lists of predecessors → rows. Pure."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import date
from typing import NamedTuple

from services.ingest.files.cells import day, text
from services.ingest.files.columns import Words
from services.ingest.normalise import Refused, clean
from shared.errors import Invalid
from shared.identifiers import name_key, normalise_unit_code, unit_name_key
from shared.vocabulary import Mark, UnitLevel

NAME_LIMIT = 300
_STATISTICAL = re.compile(r"[0-9]{2,5}")


class ListedUnit(NamedTuple):
    """A unit as a file tells it. `code` of a unit that has no official one (a district or a commune of before
    1/7/2025) is made of the province's and its statistical code in five digits, `H31.11950`: the official groups have
    two or three. Such a code is never in a dossier, and is marked not verified."""

    code: str
    name: str
    level: UnitLevel
    parent_code: str | None
    statistical_code: str | None
    successor_code: str | None
    valid_from: date
    valid_to: date | None
    mark: Mark


def reader(
    words: Words, *, province: str, valid_from: date, valid_to: date | None
) -> Callable[[dict[str, object]], list[ListedUnit]]:
    """What reads one row: the unit, and its district where the row names one. Days that a row does not tell are those
    given. Raises Refused."""

    def read(cells: dict[str, object]) -> list[ListedUnit]:
        name = clean(text(cells.get("name")), "name", limit=NAME_LIMIT)
        if name is None:
            raise Refused("name", "name: thiếu tên đơn vị.", "name: the unit's name is missing")
        level = level_of(text(cells.get("level")), name, words.levels)
        since = day(cells.get("valid_from"), "valid_from") or valid_from
        until = day(cells.get("valid_to"), "valid_to") or valid_to
        if until is not None and until < since:
            raise Refused(
                "valid_to", "valid_to: sớm hơn ngày bắt đầu.", "valid_to: earlier than the first day"
            )
        statistical = _statistical(cells.get("statistical_code"), "statistical_code")
        told = text(cells.get("code"))
        if told and _STATISTICAL.fullmatch(told):  # a column “Mã” of the statisticians' own lists
            statistical, told = statistical or told.zfill(5), None
        if told:
            code, mark = _unit_code(told, "code"), Mark.PRACTICE
        elif statistical:
            code, mark = made_code(province, statistical), Mark.NOT_VERIFIED
        else:
            raise Refused(
                "code",
                "code: cần mã định danh hoặc mã thống kê của đơn vị.",
                "code: a unit's code or its statistical code is needed",
            )
        found: list[ListedUnit] = []
        parent = text(cells.get("parent_code"))
        district = _statistical(cells.get("district_code"), "district_code")
        if parent:
            above: str | None = _unit_code(parent, "parent_code")
        elif district:
            above = made_code(province, district)
            district_name = clean(text(cells.get("district_name")), "district_name", limit=NAME_LIMIT)
            if district_name:
                found.append(
                    ListedUnit(
                        above,
                        district_name,
                        UnitLevel.DISTRICT,
                        province,
                        district[-3:],
                        None,
                        since,
                        until,
                        Mark.NOT_VERIFIED,
                    )
                )
        else:
            above = (code.rpartition(".")[0] if told else province) or None
        successor = text(cells.get("successor_code"))
        found.append(
            ListedUnit(
                code,
                name,
                level,
                above,
                statistical,
                _unit_code(successor, "successor_code") if successor else None,
                since,
                until,
                mark,
            )
        )
        return found

    return read


def made_code(province: str, statistical: str) -> str:
    return f"{province}.{statistical.zfill(5)}"


def is_made(code: str) -> bool:
    """Whether a unit's code is one that we made of its statistical code."""
    return len(code.rpartition(".")[2]) == 5


def level_of(told: str | None, name: str, levels: Mapping[str, UnitLevel]) -> UnitLevel:
    """By the column, else by what the name begins with. Raises Refused."""
    found = levels.get(name_key(told)) if told else None
    if found is None and not told:
        key = unit_name_key(name)
        by_length = sorted(levels, key=len, reverse=True)
        found = next((levels[word] for word in by_length if key.startswith(word + " ")), None)
    if found is None:
        raise Refused(
            "level",
            "level: không rõ cấp của đơn vị (tỉnh, sở, huyện, xã…).",
            "level: unknown (province, department, district, commune)",
        )
    return found


def _statistical(cell: object, field: str) -> str | None:
    told = text(cell)
    if told is None:
        return None
    if not _STATISTICAL.fullmatch(told):
        raise Refused(field, f"{field}: mã thống kê gồm 2 đến 5 chữ số.", f"{field}: expected 2 to 5 digits")
    return told if len(told) <= 3 else told.zfill(5)


def _unit_code(told: str, field: str) -> str:
    try:
        return normalise_unit_code(told)
    except Invalid as error:
        raise Refused(field, f"{field}: {error.vi}", f"{field}: {error.en}") from None


# --- predecessors -------------------------------------------------------------------------------------------

_DISTRICT = re.compile(r"^(.*?)\s*\(\s*(.+?)\s*\)\s*$")


class Predecessor(NamedTuple):
    """A unit of before that a unit took over: `whole`, or a part of it only. `district`: the one that tells it from
    another of its name, where the file says it."""

    name: str
    district: str | None
    whole: bool


class Successor(NamedTuple):
    """A unit of today (its code or statistical code, its name) and those that it was made of."""

    code: str | None
    name: str
    predecessors: list[Predecessor]


def read_successor(cells: dict[str, object]) -> Successor:
    """Raises Refused."""
    name = clean(text(cells.get("name")), "name", limit=NAME_LIMIT)
    told = text(cells.get("predecessors"))
    if name is None:
        raise Refused("name", "name: thiếu tên đơn vị.", "name: the unit's name is missing")
    found = predecessors(told or "")
    if not found:
        raise Refused(
            "predecessors",
            "predecessors: không có tên đơn vị nào (xã, phường, thị trấn …).",
            "predecessors: names no unit",
        )
    code = text(cells.get("code"))
    if code and not _STATISTICAL.fullmatch(code):
        code = _unit_code(code, "code")
    return Successor(code, name, found)


def predecessors(told: str) -> list[Predecessor]:
    """`Phường Dị Sử, Xã Tân Hòa (huyện Vũ Thư) và phần còn lại của Xã Ngọc Thanh` → three, the last one in part. What
    stands before a name says that it is a part, and so does a part told before in the same breath (`… của Xã A và
    Xã B`)."""
    found: list[Predecessor] = []
    for clause in re.split(r"[,;]", " ".join(told.split())):
        partly = False
        for piece in re.split(r"\s+và\s+", clause):
            starts = [
                match.start() for match in re.finditer(r"\b(?:Phường|Xã|Thị trấn|Thị xã|Đặc khu)\s", piece)
            ]
            if not starts:
                continue
            mention = piece[starts[-1] :].strip(" .")
            partly = partly or bool(piece[: starts[-1]].strip())
            split = _DISTRICT.match(mention)
            name, district = (split[1], split[2]) if split else (mention, None)
            found.append(Predecessor(name, district, not partly))
    return found


class Names(NamedTuple):
    """`aliases`: (name, code of today's unit). `ambiguous`: names that more than one unit bears, or of which a part
    went elsewhere: they mean no unit."""

    aliases: list[tuple[str, str]]
    ambiguous: list[str]


def names(rows: Iterable[tuple[str, Sequence[Predecessor]]]) -> Names:
    """Which old names mean one unit of today. `rows`: (code of today's unit, those that it was made of).

    A name told with its district means the unit in that district; so does `xã X, huyện Y`, which has the same key. The
    bare name means a unit only where nothing else bears it."""
    codes: defaultdict[str, set[str]] = defaultdict(set)
    spelt: dict[str, str] = {}
    whole: defaultdict[str, bool] = defaultdict(lambda: True)
    bare: set[str] = set()
    for code, mentions in rows:
        for mention in mentions:
            key = unit_name_key(mention.name)
            codes[key].add(code)
            spelt.setdefault(key, mention.name)
            if mention.district is None:
                bare.add(key)
                whole[key] &= mention.whole
            else:
                full = f"{mention.name}, {mention.district}"
                full_key = unit_name_key(full)
                codes[full_key].add(code)
                spelt[full_key] = full
                bare.add(full_key)
                whole[full_key] &= mention.whole
    aliases: list[tuple[str, str]] = []
    ambiguous: list[str] = []
    for key, of in sorted(codes.items()):
        if len(of) == 1 and key in bare and whole[key]:
            aliases.append((spelt[key], next(iter(of))))
        else:
            ambiguous.append(spelt[key])
    return Names(aliases, sorted(ambiguous))
