"""The documents hold what they promise: names, recipes, problems, settings and decisions are those of the code."""

from __future__ import annotations

import ast
import enum
import importlib
import os
import re
import subprocess
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from services.reconcile.kinds import KINDS as FINDING_KINDS
from shared.models import Record
from shared.problems import KINDS as PROBLEM_KINDS
from shared.settings import Settings

ROOT = Path(__file__).parents[1]
SKIPPED = {".venv", ".data", ".git", "node_modules", "build"}

# fmt: off
TRANSLITERATED = frozenset((
    "ho_so", "ma_ho_so", "mahoso", "tthc", "ma_tthc", "thu_tuc", "don_vi", "co_quan", "quyet_dinh",
    "can_bo", "cong_chuc", "chuc_danh", "chi_so", "cong_khai", "tien_do", "trang_thai",
    "tinh_trang", "ngay_tiep_nhan", "ngay_hen_tra", "hen_tra", "tiep_nhan", "dung_han", "qua_han",
    "bo_sung", "ket_qua", "linh_vuc", "nguoi_xu_ly", "phan_anh", "kien_nghi", "cap_xa", "cap_tinh",
    "xa_phuong", "so_hoa", "thanh_toan", "hai_long", "minh_bach", "nop_ho_so", "tra_cuu", "dong_bo",
    "doi_soat", "sai_lech", "ky_bao_cao", "danh_muc",
))
# fmt: on
"""Vietnamese words without their signs: none may be a name, or a part of one (`ho_so_id`, `HoSo`)."""

WIRE = ("services/ingest/portals/", "services/ingest/dvcqg.py", "services/sandbox/")
"""Where messages are read and written in the portals' own words."""


def read(path: str) -> str:
    return (ROOT / path).read_text(encoding="utf-8")


# --- glossary -----------------------------------------------------------------------------------------------


@cache
def sources() -> dict[str, ast.Module]:
    """Path from the root → syntax tree, of all modules of shared/ and services/."""
    found = {}
    for folder in ("shared", "services"):
        for path in sorted((ROOT / folder).rglob("*.py")):
            found[path.relative_to(ROOT).as_posix()] = ast.parse(path.read_text(encoding="utf-8"))
    return found


def identifiers(tree: ast.AST) -> Iterator[str]:
    """Names that somebody chose or used: variables, attributes, functions, classes, arguments, imports."""
    for node in ast.walk(tree):
        for attribute in ("id", "attr", "name", "arg", "asname"):
            name = getattr(node, attribute, None)
            if isinstance(name, str):
                yield from name.split(".")


def snake(name: str) -> str:
    """`HoSoId` → `ho_so_id`, `maHoSo` → `ma_ho_so`."""
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).lower()


@cache
def enums() -> dict[str, type[enum.Enum]]:
    """The closed lists of the field, by name."""
    return {
        name: value
        for module in ("shared.vocabulary", "shared.reasons", "services.reconcile.replay")
        for name, value in vars(importlib.import_module(module)).items()
        if isinstance(value, type) and issubclass(value, enum.Enum) and value.__module__ == module
    }


def glossary(heading: str) -> list[list[str]]:
    """The rows of the table under a heading: cells without their margins."""
    section = read("docs/glossary.md").partition(f"\n## {heading}\n")[2].partition("\n## ")[0]
    rows = [line.strip("|").split("|") for line in section.splitlines() if line.startswith("|")]
    assert rows, f"docs/glossary.md has no table under {heading!r}"
    return [[cell.strip() for cell in row] for row in rows[2:]]


def quoted(cell: str) -> list[str]:
    return re.findall(r"`([^`]+)`", cell)


def test_the_glossary_s_words_are_identifiers() -> None:
    names = {name for tree in sources().values() for name in identifiers(tree)}
    names |= {snake(name) for name in names} | set(Record.metadata.tables)
    words = [word for row in glossary("Concepts") for word in quoted(row[1])]
    assert [word for word in words if word not in names] == []
    assert [row[0] for row in glossary("Concepts") if not quoted(row[1])] == []


def test_one_row_in_the_glossary_per_word() -> None:
    words = [word for row in glossary("Concepts") for word in quoted(row[1])]
    assert sorted({word for word in words if words.count(word) > 1} - {"change"}) == []


def test_every_table_stands_in_the_glossary_and_every_place_exists() -> None:
    places = {place for row in glossary("Concepts") for place in quoted(row[3])}
    tables = Record.metadata.tables
    assert set(tables) - {place.partition(".")[0] for place in places} == set()
    for place in places:
        table, _, column = place.partition(".")
        assert table in tables, place
        assert not column or column in tables[table].c, place


def test_every_member_of_every_enum_stands_in_the_glossary() -> None:
    told = [word for row in glossary("Members of the enums") for word in quoted(row[1])]
    assert len(told) == len(set(told))
    assert set(told) == {f"{name}.{member}" for name, each in enums().items() for member in each.__members__}


def test_every_kind_of_finding_stands_in_the_glossary() -> None:
    told = [(row[2], *quoted(row[1])) for row in glossary("Kinds of findings")]
    assert sorted(told) == sorted(FINDING_KINDS)


def test_no_identifier_is_transliterated_vietnamese() -> None:
    found = [
        f"{path}: {name}"
        for path, tree in sources().items()
        if not path.startswith(WIRE)
        for name in identifiers(tree)
        for text in [f"_{snake(name)}_"]
        if any(f"_{word}_" in text for word in TRANSLITERATED)
    ]
    assert found == []


@pytest.mark.parametrize("name", ["ho_so", "ho_so_id", "HoSo", "maHoSo", "list_don_vi", "TTHC"])
def test_a_transliterated_name_would_be_seen(name: str) -> None:
    assert any(f"_{word}_" in f"_{snake(name)}_" for word in TRANSLITERATED)


# --- problems, settings -------------------------------------------------------------------------------------


def test_every_problem_is_documented() -> None:
    text = read("docs/problems.md")
    assert sorted(re.findall(r"^## (.+)$", text, re.M)) == sorted(PROBLEM_KINDS.values())
    for status, kind in PROBLEM_KINDS.items():
        section = text.partition(f"\n## {kind}\n")[2].partition("\n## ")[0]
        assert f"Status {status}" in section, kind
        assert f'"/docs/problems#{kind}"' in section, kind
        assert f'"status": {status}' in section, kind
        assert "Tiếng Việt: " in section, kind


def test_every_setting_stands_in_env_example_with_its_default() -> None:
    lines = re.findall(r"^([A-Z_]+)=(.*)$", read(".env.example"), re.M)
    assert sorted(name for name, _ in lines) == sorted(name.upper() for name in Settings.model_fields)
    assert Settings.__doc__ is not None
    assert [name for name, _ in lines if name not in Settings.__doc__] == []


def test_env_example_is_accepted_and_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in Settings.model_fields:
        monkeypatch.delenv(name.upper(), raising=False)
    assert Settings(_env_file=ROOT / ".env.example") == Settings(_env_file=None)  # type: ignore[call-arg]


# --- CONTRIBUTING and README --------------------------------------------------------------------------------

GUIDES = [name for name in ("CONTRIBUTING.md", "README.md") if (ROOT / name).exists()]
SHORT = ("shared", "services/ingest", "services/reconcile", "services/indicators")
"""Folders whose files the table of the tree names without their folder."""


def outside_fences(text: str) -> str:
    return re.sub(r"^```.*?^```", "", text, flags=re.M | re.S)


@pytest.mark.parametrize("guide", GUIDES)
def test_the_targets_that_a_guide_names_exist(guide: str) -> None:
    targets = set(re.findall(r"^([a-z]+):", read("Makefile"), re.M))
    code = re.findall(r"^```.*?^```|`[^`\n]+`", read(guide), re.M | re.S)
    named = {target for text in code for target in re.findall(r"\bmake ([a-z]+)", text)}
    assert named, "no target named: is the pattern right?"
    assert named - targets == set()


@pytest.mark.parametrize("guide", GUIDES)
def test_the_paths_that_a_guide_names_exist(guide: str) -> None:
    """What stands in backticks and looks like a path: it ends like a file of ours, or begins with a folder of the
    tree (`text/csv` does neither). A bare file name may lie in one of SHORT."""
    top = {path.name for path in ROOT.iterdir()} - SKIPPED
    missing = []
    for text in re.findall(r"`([\w.*/-]+)`", outside_fences(read(guide))):
        first, _, rest = text.partition("/")
        file = re.fullmatch(r"[\w*-][\w.*/-]*\.(py|toml|md|lock|yml|mako|txt)", text)
        if first not in SKIPPED and (file or (rest and first in top)):
            folders = [ROOT] if rest else [ROOT, *(ROOT / folder for folder in SHORT)]
            if not any(list(folder.glob(text.rstrip("/"))) for folder in folders):
                missing.append(text)
    assert missing == []


def test_the_contributors_guide_opens_with_the_seven_rules() -> None:
    opening = read("CONTRIBUTING.md").partition("\n## Seven rules\n")[2].partition("\n## ")[0]
    assert re.findall(r"^(\d)\. \*\*", opening, re.M) == list("1234567")


@pytest.mark.parametrize("document", ["CONTRIBUTING.md", "docs/regulation.md"])
def test_names_in_recipes_exist(document: str) -> None:
    """`NAME` in capitals and `CamelCase` beside code: constants and classes that a reader will look for."""
    names = {name for tree in sources().values() for name in identifiers(tree)}
    text = outside_fences(read(document))
    looked_for = [
        word
        for word in re.findall(r"`([A-Z][A-Za-z_]+)`", text)
        if not re.fullmatch(r"[A-Z]+", word) or "_" in word
    ]
    assert [word for word in looked_for if word not in names] == []


def test_places_of_the_law_exist() -> None:
    """docs/regulation.md: files in backticks, and the function in brackets after one."""
    for path, name in re.findall(
        r"`((?:shared|services|tests)/[\w./]+)`(?: \((\w+)\))?", read("docs/regulation.md")
    ):
        assert (ROOT / path).exists(), path
        if name and path.endswith(".py"):
            found = set(identifiers(sources()[path]))
            assert name in found or re.fullmatch(r"R\d+", name), f"{path}: {name}"


# --- ADRs ---------------------------------------------------------------------------------------------------


def test_adrs_are_numbered_without_gaps_and_say_three_things() -> None:
    paths = sorted((ROOT / "docs/adr").glob("*.md"))
    assert [path.name[:5] for path in paths] == [f"{number:04}-" for number in range(1, len(paths) + 1)]
    for path in paths:
        text = path.read_text(encoding="utf-8")
        assert text.startswith(f"# {path.name[:4]} "), path.name
        assert re.findall(r"^## (.+)$", text, re.M) == ["Context", "Decision", "Consequences"], path.name


# --- the tree as a whole ------------------------------------------------------------------------------------

# Put together, so that this file does not hold what it looks for.
MACHINE = re.compile("/wo" + "rk/|/tmp/" + "bash_")
REGISTRY = re.compile(
    "|".join([r"pypi\." + "org", "python" + r"hosted\.", "--index" + "-url", r"registry\." + "npm"])
)


def tracked() -> Iterator[Path]:
    """The files of the repository; in a copy without git, all but what is built."""
    answer = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=False)
    if answer.returncode == 0:
        yield from (ROOT / name for name in answer.stdout.split("\0") if name and (ROOT / name).is_file())
        return
    for folder, folders, names in os.walk(ROOT):
        folders[:] = [name for name in folders if name not in SKIPPED and not name.startswith((".", "__"))]
        yield from (Path(folder) / name for name in names)


def test_no_file_names_a_registry_or_a_path_of_somebody_s_machine() -> None:
    found = []
    for path in tracked():
        try:
            text = path.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            continue
        for number, line in enumerate(text.splitlines(), start=1):
            if MACHINE.search(line) or REGISTRY.search(line):
                found.append(f"{path.relative_to(ROOT)}:{number}")
    assert found == []


def test_no_package_imports_what_lies_outside_of_the_tree() -> None:
    """`../shared` are the owner's documents: a clone does not have them."""
    outside = [
        f"{path}: {node.value}"
        for path, tree in sources().items()
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and "../shared" in node.value
        if node.value.strip() == node.value and "\n" not in node.value and " " not in node.value
    ]
    assert outside == []
