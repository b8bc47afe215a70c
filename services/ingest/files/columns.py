"""Which column of a file holds which of our fields: a header found by its content. Pure but for the reading of the
configuration."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal, NamedTuple, get_args

import msgspec

from shared.errors import Invalid
from shared.identifiers import name_key
from shared.vocabulary import Fact, PetitionKind, UnitLevel

Kind = Literal["dossiers", "petitions", "procedures", "units", "predecessors"]
KINDS: tuple[Kind, ...] = get_args(Kind)
SHIPPED = Path(__file__).with_name("columns.toml")

FACTS: tuple[str, ...] = tuple(fact.name.lower() for fact in Fact if fact.name)
"""The fields of a dossier that are true or false, as POST /v1/dossiers calls them."""

FIELDS: dict[Kind, frozenset[str]] = {
    "dossiers": frozenset(
        {
            "code",
            "procedure_code",
            "unit_code",
            "unit_name",
            "status",
            "channel",
            "submitted_at",
            "received_at",
            "due_at",
            "finished_at",
            "returned_at",
            "rejected_at",
            "updated_at",
            *FACTS,
        }
    ),
    "petitions": frozenset(
        {
            "code",
            "kind",
            "dossier_code",
            "repeats_code",
            "unit_code",
            "unit_name",
            "sent_at",
            "transferred_at",
            "received_at",
            "more_asked_at",
            "handled_at",
            "published_at",
            "refused_at",
            "updated_at",
            "likes",
            "dislikes",
        }
    ),
    "procedures": frozenset({"code", "name", "publisher", "agencies", "field_name"}),
    "units": frozenset(
        {
            "code",
            "statistical_code",
            "name",
            "level",
            "parent_code",
            "district_code",
            "district_name",
            "valid_from",
            "valid_to",
            "successor_code",
        }
    ),
    "predecessors": frozenset({"code", "name", "predecessors"}),
}
"""The fields that a kind of file can tell."""


class _Section(msgspec.Struct, forbid_unknown_fields=True):
    columns: dict[str, list[str]]
    needed: list[str]
    citizens: list[str] = []
    texts: list[str] = []
    statuses: dict[str, list[str]] = {}
    channels: dict[str, list[str]] = {}
    flags: dict[Literal["true", "false"], list[str]] = {}
    levels: dict[str, list[str]] = {}
    kinds: dict[str, list[str]] = {}


@dataclass(frozen=True, slots=True)
class Words:
    """What the configuration says of one kind of file. Keys are name keys.

    fields: header → our field. ranks: header → its place among a field's headers; where two columns could be the same
    field, the one named first in the configuration is. told: field → its first header text, to name it to people.
    passed_over: header → (its text, why). statuses, channels, flags, levels, kinds: what a cell says → our
    value."""

    kind: Kind
    fields: Mapping[str, str]
    ranks: Mapping[str, int]
    told: Mapping[str, str]
    needed: tuple[str, ...]
    passed_over: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    statuses: Mapping[str, int] = field(default_factory=dict)
    channels: Mapping[str, int] = field(default_factory=dict)
    flags: Mapping[str, bool] = field(default_factory=dict)
    levels: Mapping[str, UnitLevel] = field(default_factory=dict)
    kinds: Mapping[str, PetitionKind] = field(default_factory=dict)


class Column(NamedTuple):
    """A column of the sheet, counted from 1. `header` only where it is one of ours: other headers are the file's own
    words and may be anything. `why` it is not read: citizen, free_text, repeated, unknown."""

    position: int
    header: str | None
    field: str | None
    why: str | None


@dataclass(frozen=True, slots=True)
class Header:
    """row: its number. indexes: field → where the reader finds it, counted from the sheet's first filled column."""

    row: int
    indexes: dict[str, int]
    columns: tuple[Column, ...]


@lru_cache(maxsize=4)
def read_words(path: Path | None = None) -> Mapping[Kind, Words]:
    """The configuration, by kind. Raises Invalid where it cannot be used, naming the place."""
    path = path or SHIPPED
    try:
        given = tomllib.loads(path.read_text(encoding="utf-8"))
        return {kind: _words(kind, msgspec.convert(given[kind], _Section)) for kind in KINDS}
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        what = f"cannot be read ({type(error).__name__})"
    except KeyError as error:
        what = f"has no section {error}"
    except (msgspec.ValidationError, ValueError) as error:
        what = str(error)
    raise Invalid(f"Tệp cấu hình cột (IMPORT_COLUMNS) sai: {what}.", f"IMPORT_COLUMNS {what}") from None


def _words(kind: Kind, section: _Section) -> Words:
    for name in [*section.columns, *section.needed]:
        if name not in FIELDS[kind]:
            raise ValueError(f"{kind}: there is no field {name}; there are {', '.join(sorted(FIELDS[kind]))}")
    missing = [name for name in section.needed if not section.columns.get(name)]
    if missing:
        raise ValueError(f"{kind}: no header for {', '.join(missing)}")
    return Words(
        kind=kind,
        fields=_keys(section.columns),
        ranks={name_key(text): n for texts in section.columns.values() for n, text in enumerate(texts)},
        told={name: texts[0] for name, texts in section.columns.items() if texts},
        needed=tuple(section.needed),
        passed_over={name_key(text): (text, "citizen") for text in section.citizens}
        | {name_key(text): (text, "free_text") for text in section.texts},
        statuses={key: int(value) for key, value in _keys(section.statuses).items()},
        channels={key: int(value) for key, value in _keys(section.channels).items()},
        flags={key: value == "true" for key, value in _keys(section.flags).items()},
        levels={key: UnitLevel(value) for key, value in _keys(section.levels).items()},
        kinds={key: PetitionKind(value) for key, value in _keys(section.kinds).items()},
    )


def _keys(texts: Mapping[Any, list[str]]) -> dict[str, str]:
    found: dict[str, str] = {}
    for value, spellings in texts.items():
        for spelling in spellings:
            key = name_key(spelling)
            if found.setdefault(key, value) != value:
                raise ValueError(f"“{spelling}” stands for both {found[key]} and {value}")
    return found


def find_header(rows: Sequence[tuple[int, Sequence[Any]]], words: Words, *, offset: int) -> Header | None:
    """The row that names most of our columns and all that are needed; titles above it are passed over. None where
    there is no such row. `rows`: (number, cells) of the first rows; `offset`: columns left of the first cell."""
    best: Header | None = None
    for number, cells in rows:
        header = _header(number, cells, words, offset)
        # One word that is also a header's may stand in any row of data; two do not.
        complete = len(header.indexes) > 1 and all(name in header.indexes for name in words.needed)
        if complete and (best is None or len(header.indexes) > len(best.indexes)):
            best = header
    return best


def _header(number: int, cells: Sequence[Any], words: Words, offset: int) -> Header:
    chosen: dict[str, tuple[int, int]] = {}
    keys = {
        index: name_key(cell)
        for index, cell in enumerate(cells)
        if isinstance(cell, str) and len(cell) <= 200
    }
    for index, key in keys.items():
        if key in words.fields:
            ranked = (words.ranks[key], index)
            chosen[words.fields[key]] = min(ranked, chosen.get(words.fields[key], ranked))
    indexes = {name: index for name, (_, index) in chosen.items()}
    columns: list[Column] = []
    for index, cell in enumerate(cells):
        key = keys.get(index, "")
        name = words.fields.get(key)
        if name is not None:
            read = indexes[name] == index
            columns.append(
                Column(
                    offset + index + 1, words.told[name], name if read else None, None if read else "repeated"
                )
            )
        elif cell != "" and cell is not None:
            passed = words.passed_over.get(key)
            columns.append(
                Column(offset + index + 1, passed and passed[0], None, passed[1] if passed else "unknown")
            )
    return Header(number, indexes, tuple(columns))


def no_header(
    heads: Sequence[Sequence[tuple[int, Sequence[Any]]]], kind: Kind, all_words: Mapping[Kind, Words]
) -> Invalid:
    """Why none of a file's sheets has the header that is needed: it is a file of another kind, a column is missing, or
    nothing looks like a header at all."""
    words = all_words[kind]
    for other in KINDS:
        theirs = all_words[other]
        if other != kind and any(find_header(head, theirs, offset=0) for head in heads):
            return Invalid(
                f"Tệp này giống tệp loại {other}, không phải {kind}.",
                f"this looks like a file of the kind {other}, not {kind}",
                field="kind",
                looks_like=other,
            )
    closest = max(
        (_header(number, cells, words, 0) for head in heads for number, cells in head),
        key=lambda header: len(header.indexes),
        default=None,
    )
    if closest is None or len(closest.indexes) < 2:
        needed = ", ".join(f"“{words.told[name]}”" for name in words.needed)
        return Invalid(
            f"Không tìm thấy dòng tiêu đề; cần có các cột {needed}.",
            f"no header row was found; needed are {needed}",
            field="file",
        )
    missing = ", ".join(f"“{words.told[name]}”" for name in words.needed if name not in closest.indexes)
    return Invalid(
        f"Dòng tiêu đề (dòng {closest.row}) thiếu cột: {missing}.",
        f"the header (row {closest.row}) lacks: {missing}",
        field="file",
        row=closest.row,
    )
