"""Codes and names of the field: read them, bring them to one form, refuse what is not one. Pure.

Forms and rules: portals.md §5 (dossier, procedure, unit, decision number), decisions.md §3 rule 3 (names).
What cannot be read is never guessed: a dossier code of unknown form is kept and marked, everything else
raises `Invalid`. No error repeats the text that came in.

parse_dossier_code and procedure_code run once per message, so units and dates are remembered between calls.
"""

from __future__ import annotations

import re
import unicodedata
from datetime import date
from functools import lru_cache
from typing import Literal, NamedTuple, TypeAlias

from shared.errors import Invalid

MAX_CODE = 100
"""Characters of a dossier code that are taken; the longest one known has 25."""

SourceSystem: TypeAlias = Literal["province", "ministry", "unknown"]


class DossierCode(NamedTuple):
    """A MaHoSo.

    code: canonical text, the key of the dossier. unit: the unit's code in the new form, or None.
    on: the day inside the code. serial: its digits as written. known: the form is one of portals.md §5.
    source_system: told by the length of the serial (portals.md §5, inferred): four digits are the provincial
    one-stop system, six or seven a ministry's.
    """

    code: str
    unit: str | None
    on: date | None
    serial: str | None
    known: bool
    source_system: SourceSystem


class ProcedureCode(NamedTuple):
    """A MaTTHC: the national part (the key) and the local suffix as written, or None."""

    code: str
    suffix: str | None


_NEW_UNIT = r"[A-Z][0-9]{2}(?:\.[0-9]{2,3}){0,4}"
_OLD_UNIT = r"(?:[0-9]{2,3}\.){3}[A-Z][0-9]{2}"
_DOSSIER = re.compile(rf"({_NEW_UNIT}|{_OLD_UNIT})-([0-9]{{6}}|[0-9]{{8}})-([0-9]{{1,10}})")
_PROCEDURE = re.compile(rf"([0-9]\.[0-9]{{6}})(?:\.({_NEW_UNIT}|{_OLD_UNIT}))?")
_UNIT = re.compile(rf"{_NEW_UNIT}|{_OLD_UNIT}")
_SHORT_PROCEDURE = re.compile(r"[0-9]\.[0-9]{1,5}(?![0-9])")
# A lone surrogate passes through JSON as an escape and then cannot be written as UTF-8.
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff]")
_INVISIBLE = re.compile(r"[\s\u200b-\u200f\u2060\ufeff\u00ad]+")
_EDGES = re.compile(rf"^{_INVISIBLE.pattern}|{_INVISIBLE.pattern}$")
_DASHES = str.maketrans(dict.fromkeys("‐‑‒–—―−﹣－", "-"))
_SOURCE: dict[int, SourceSystem] = {4: "province", 6: "ministry", 7: "ministry"}


def parse_dossier_code(text: str) -> DossierCode:
    """Read a MaHoSo (portals.md §5).

    Canonical: NFC, upper-case, without spaces, with the plain dash. The text of the unit stays as the systems
    write it (`000.00.53.H48-…` stays so): only `unit` is brought to the new form. A code of another form, or
    with an impossible date, is kept as it came (NFC, stripped) with known=False.
    Invalid(field="code"): empty, longer than 100 characters, control characters.
    """
    kept = text
    match = _DOSSIER.fullmatch(text)  # nearly every message: canonical already
    if match is None:
        kept = _checked(text, field="code", limit=MAX_CODE)
        match = _DOSSIER.fullmatch(_squeezed(kept))
    if match is not None:
        unit_text, day_text, serial = match.groups()
        unit, on = _unit(unit_text), _day(day_text)
        if unit is not None and on is not None:
            return DossierCode(match.string, unit, on, serial, True, _SOURCE.get(len(serial), "unknown"))
    return DossierCode(kept, None, None, None, False, "unknown")


@lru_cache(maxsize=16_384)
def parse_procedure_code(text: str) -> ProcedureCode:
    """Read a MaTTHC: one digit, a dot, six digits, and an optional unit as suffix (portals.md §5).

    Invalid(field="procedure_code"): anything else. A code with too few digits is a damaged one (usually by a
    spreadsheet that dropped a zero); which one it was is never guessed.
    """
    kept = _squeezed(_checked(text, field="procedure_code", limit=MAX_CODE))
    match = _PROCEDURE.fullmatch(kept)
    if match is not None:
        return ProcedureCode(match[1], match[2])
    if _SHORT_PROCEDURE.match(kept):
        raise Invalid(
            "Mã TTHC bị hỏng: thiếu chữ số. Mã đúng có dạng 1.001612 (một chữ số, dấu chấm, sáu chữ số).",
            "broken procedure code: too few digits after the dot; expected the form 1.001612",
            field="procedure_code",
        )
    raise Invalid(
        "Mã TTHC không đúng dạng 1.001612 (một chữ số, dấu chấm, sáu chữ số; có thể kèm mã đơn vị).",
        "not a procedure code; expected the form 1.001612, optionally with a unit code as suffix",
        field="procedure_code",
    )


def procedure_code(text: str) -> str:
    """The national part of a MaTTHC, the key of a procedure. Errors as parse_procedure_code."""
    return parse_procedure_code(text).code


@lru_cache(maxsize=16_384)
def normalise_unit_code(text: str) -> str:
    """A unit's code in the form of QĐ 20/2020/QĐ-TTg: `000.00.53.H48` → `H48.53`, `000.00.00.H31` → `H31`.

    The old form runs bottom-up; empty levels are zeros. Invalid(field="unit_code"): another form, or an empty
    level above a filled one, which names no unit.
    """
    kept = _squeezed(_checked(text, field="unit_code", limit=MAX_CODE))
    unit = _unit(kept) if _UNIT.fullmatch(kept) else None
    if unit is None:
        raise Invalid(
            "Mã đơn vị không đúng dạng H31, H31.15 hoặc 000.00.15.H31.",
            "not a unit code; expected the form H31, H31.15 or 000.00.15.H31",
            field="unit_code",
        )
    return unit


def unit_parents(code: str) -> tuple[str, ...]:
    """The units above a unit by its code, nearest first: `H31.15.07` → (`H31.15`, `H31`)."""
    parts = code.split(".")
    return tuple(".".join(parts[:count]) for count in range(len(parts) - 1, 0, -1))


def is_within(code: str, ancestor: str) -> bool:
    """Whether a unit is the ancestor itself or below it, by its normalised code."""
    return code == ancestor or code.startswith(ancestor + ".")


_DECISION = re.compile(
    r"(?:S[ỐO]:?)?0*([1-9][0-9]{0,5})(/[12][0-9]{3})?/QĐ-([A-ZĐ][A-ZĐ0-9]*(?:-[A-ZĐ0-9]+)*)"
)
_D_BAR = str.maketrans("ÐƉ", "ĐĐ")  # eth and african d look like Đ and are typed for it
_PRIME_MINISTER = re.compile(r"TTG$")


@lru_cache(maxsize=4_096)
def normalise_decision_number(text: str) -> str:
    """A decision's number as `712/QĐ-UBND` (portals.md §5).

    Mended: `SỐ 64/QĐ-NHNN`, `3713/QD-BTP`, `2267./QĐ-BXD`, lower case, spaces, other dashes, leading zeros.
    Invalid(field="number"): anything else (`QĐ/0001-BCA`, `1681`): the order of the parts or the issuer would
    be a guess. The caller makes a finding of it, never a `missing_…`.
    """
    kept = _squeezed(_checked(text, field="number", limit=MAX_CODE)).translate(_D_BAR)
    kept = kept.replace(".", "").replace("/QD", "/QĐ", 1)
    match = _DECISION.fullmatch(kept)
    if match is None:
        raise Invalid(
            "Không đọc được số quyết định; dạng đúng là 712/QĐ-UBND.",
            "unreadable decision number; expected the form 712/QĐ-UBND",
            field="number",
        )
    number, year, issuer = match.groups()
    return f"{number}{year or ''}/QĐ-{_PRIME_MINISTER.sub('TTg', issuer)}"


_TONES = frozenset("\u0300\u0301\u0303\u0309\u0323")  # huyền, sắc, ngã, hỏi, nặng
_NAMED_D = str.maketrans("ðɖ", "đđ")


def _tone_last(word: str) -> str:
    tones = [sign for sign in word if sign in _TONES]
    return "".join(sign for sign in word if sign not in _TONES) + "".join(tones) if tones else word


@lru_cache(maxsize=32_768)
def name_key(text: str) -> str:
    """What two spellings of one Vietnamese name have in common; to compare, not to show.

    Levels Unicode form, case, spaces, punctuation and the place of the tone mark: `Thuỵ` = `Thụy`, `hoà` =
    `hòa`, `qúy` = `quý` (decisions.md §3 rule 3). A syllable has one tone, so the marks are gathered at the
    word's end, wherever they were put; no rule about vowels is needed. Different tones stay different.
    """
    letters: list[str] = []
    for sign in unicodedata.normalize("NFD", text.casefold().translate(_NAMED_D)):
        kind = unicodedata.category(sign)
        if kind[0] == "P":
            letters.append(" ")
        elif kind not in ("Cf", "Cc", "Cs") or sign.isspace():
            letters.append(sign)
    return unicodedata.normalize("NFC", " ".join(map(_tone_last, "".join(letters).split())))


_COMMITTEE = re.compile(rf"^(?:(?:ubnd|{re.escape(name_key('Ủy ban nhân dân'))}) )+")


@lru_cache(maxsize=32_768)
def unit_name_key(text: str) -> str:
    """name_key of a unit without the leading "UBND" or "Ủy ban nhân dân".

    Xã, phường, thị trấn stay: a xã and a phường of one name are two units.
    """
    return _COMMITTEE.sub("", name_key(text))


def _checked(text: str, *, field: str, limit: int) -> str:
    """NFC and stripped; Invalid where nothing is left, too much is, or it cannot be stored."""
    if len(text) <= limit * 10:  # normalising megabytes only to refuse them would be a gift to an attacker
        text = _EDGES.sub("", unicodedata.normalize("NFC", text))
    if not text:
        raise Invalid("Không được để trống.", "must not be empty", field=field)
    if len(text) > limit:
        raise Invalid(f"Dài quá {limit} ký tự.", f"longer than {limit} characters", field=field)
    if _CONTROL.search(text):
        raise Invalid("Có ký tự điều khiển không hợp lệ.", "holds control characters", field=field)
    return text


def _squeezed(text: str) -> str:
    return _INVISIBLE.sub("", text).translate(_DASHES).upper()


@lru_cache(maxsize=16_384)
def _unit(text: str) -> str | None:
    """The new form of a unit's text that has one of the two shapes; None where a level is skipped."""
    groups = text.split(".")
    if groups[0].isdigit():
        groups.reverse()
    while len(groups) > 1 and not groups[-1].strip("0"):
        groups.pop()
    return ".".join(groups) if all(group.strip("0") for group in groups[1:]) else None


@lru_cache(maxsize=16_384)
def _day(text: str) -> date | None:
    """yyMMdd or yyyyMMdd; None where there is no such day, or none that a dossier can have."""
    year = int(text[:-4]) + (2000 if len(text) == 6 else 0)
    if not 1990 <= year <= 2100:
        return None
    try:
        return date(year, int(text[-4:-2]), int(text[-2:]))
    except ValueError:
        return None
