"""One writer per table (CONTRIBUTING, rule 3): each service's source is read for what changes rows of a table that
another service owns, by the header of its model. What shared/queue.py and shared/access.py own is written through
those two modules only, so a service's own source never names them in a statement."""

from __future__ import annotations

import ast
import importlib
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from shared import models
from shared.models import Record

ROOT = Path(__file__).parents[1]
SERVICES = ("ingest", "reconcile", "indicators")
TABLES = {name: getattr(models, name).__tablename__ for name in models.__all__ if name != "Record"}
"""Model → table."""
COMPUTED = "{…}"
"""A table's name that is put together at run time: nobody can say whose it is, so it is nobody's."""
CHANGING = re.compile(
    r"\b(?:INSERT\s+INTO|MERGE\s+INTO|DELETE\s+FROM|TRUNCATE(?:\s+TABLE)?|COPY|(?<!FOR )(?<!DO )UPDATE)\s+"
    r"(?:ONLY\s+)?(?:public\.)?\"?([a-z_]+|\{…\})",
    re.IGNORECASE,
)
STATEMENTS = frozenset({"insert", "update", "delete"})
COPYING = frozenset({"copy_records_to_table", "copy_to_table"})


def owners() -> dict[str, str]:
    """Table → who writes it, as its model's header says: a service, or a module of shared/."""
    found = {}
    for path in sorted((ROOT / "shared/models").glob("*.py")):
        module = importlib.import_module(f"shared.models.{path.stem}")
        mine = {
            cls.__tablename__
            for cls in vars(module).values()
            if isinstance(cls, type)
            and issubclass(cls, Record)
            and cls is not Record
            and cls.__module__ == module.__name__
        }
        if not mine:
            continue
        header = " ".join((module.__doc__ or "").split())
        said = re.search(r"Written by (ingest|reconcile|indicators)|through (shared/\w+\.py)", header)
        assert said, f"shared/models/{path.name}: its header does not say who writes it"
        found |= dict.fromkeys(mine, said[1] or said[2])
    return found


def changed(source: str) -> Iterator[tuple[int, str]]:
    """(line, table) of what changes rows: SQL in texts, insert()/update()/delete() of a model, rows made of a model,
    and COPY. Models under another name are followed; a table named at run time is COMPUTED."""
    tree = ast.parse(source)
    # A bare name counts where it comes from shared.models: the pure cores have values of the same names.
    called = {
        alias.asname or alias.name: TABLES[alias.name]
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("shared.models")
        for alias in node.names
        if alias.name in TABLES
    } | {f"models.{name}": table for name, table in TABLES.items()}
    pieces = {
        id(part)
        for node in ast.walk(tree)
        if isinstance(node, ast.JoinedStr)
        for part in ast.walk(node)
        if part is not node
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr):
            yield from _in_text("".join(_piece(part, called) for part in node.values), node.lineno)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in pieces:
            yield from _in_text(node.value, node.lineno)
        elif isinstance(node, ast.Call):
            name = _name(node.func)
            if name in called:
                yield node.lineno, called[name]
            elif (name in STATEMENTS or name in COPYING) and node.args:
                first = node.args[0]
                if isinstance(first, ast.Constant) and name in COPYING:
                    yield from _in_text(f"COPY {first.value}", node.lineno)
                elif _name(first) in called:
                    yield node.lineno, called[_name(first)]


def _in_text(text: str, line: int) -> Iterator[tuple[int, str]]:
    tables = set(TABLES.values()) | {COMPUTED}
    yield from ((line, name.lower()) for name in CHANGING.findall(text) if name.lower() in tables)


def _piece(part: ast.expr, called: dict[str, str]) -> str:
    if isinstance(part, ast.Constant):
        return str(part.value)
    names = [_name(inner) for inner in ast.walk(part)]
    return next((called[name] for name in names if name in called), COMPUTED)


def _name(node: ast.AST) -> str:
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute):
        return f"models.{node.attr}" if _name(node.value) == "models" else node.attr
    return ""


def foreign(service: str, source: str) -> list[str]:
    owned = owners()
    return [
        f"line {line}: changes {table}, written by {owned.get(table, 'nobody knows whom')}"
        for line, table in changed(source)
        if owned.get(table) != service
    ]


@pytest.mark.parametrize("service", SERVICES)
def test_a_service_changes_its_own_tables_only(service: str) -> None:
    files = sorted((ROOT / "services" / service).rglob("*.py"))
    assert files
    found = {str(path.relative_to(ROOT)): foreign(service, path.read_text()) for path in files}
    assert {path: lines for path, lines in found.items() if lines} == {}


def test_every_table_has_an_owner_that_writes_it() -> None:
    owned = owners()
    assert set(owned) == set(TABLES.values())
    for table, owner in owned.items():
        files = [ROOT / owner] if owner.endswith(".py") else sorted((ROOT / "services" / owner).rglob("*.py"))
        assert any(table == name for path in files for _, name in changed(path.read_text())), (
            f"{owner} owns {table} and never writes it"
        )


def test_shared_changes_no_service_s_table() -> None:
    owned = owners()
    for path in sorted((ROOT / "shared").rglob("*.py")):
        mine = str(path.relative_to(ROOT))
        assert [each for each in changed(path.read_text()) if owned.get(each[1]) != mine] == [], mine


@pytest.mark.parametrize(
    ("snippet", "table"),
    [
        ('text("INSERT INTO finding (code) VALUES (:code)")', "finding"),
        ('SQL = """\nwith x as (select 1)\ninsert into\n  finding as f select 1\n"""', "finding"),
        ('connection.execute("UPDATE tally t SET dossiers = 0")', "tally"),
        ('connection.execute("DELETE FROM public.change c USING x")', "change"),
        ('f"DELETE FROM {Finding.__tablename__} WHERE code = 1"', "finding"),
        ('f"INSERT INTO dossier ({columns}) SELECT 1"', None),
        ('f"INSERT INTO {table} VALUES (1)"', COMPUTED),
        ("session.execute(insert(Change).values(code=1))", "change"),
        ("session.execute(postgresql.insert(models.Tally).values(code=1))", "tally"),
        ("from shared.models import ApiKey as K\nsession.execute(sqlalchemy.update(K))", "api_key"),
        ("from shared.models import Finding as F\nrow = F(code=1)\nsession.add(row)", "finding"),
        ("session.add(Heartbeat(name='x'))", "heartbeat"),
        ("connection.copy_records_to_table('assessment', records=rows)", "assessment"),
        ("connection.copy_to_table('incoming_head', source=rows)", None),  # a temporary one
        ('text("TRUNCATE finding")', "finding"),
        ('text("SELECT 1 FROM finding FOR UPDATE SKIP LOCKED")', None),
        ('text("INSERT INTO dossier VALUES (1) ON CONFLICT (code) DO UPDATE SET code = 1")', None),
        ("session.execute(select(Finding))", None),
        ("from services.reconcile.compare import Presence\nrow = Presence(True, now, 'lookup')", None),
        ("from services.reconcile.catalogue import Change\nkind = Change('new')", None),
        ('codes.update(x)\ncodes.add("finding")', None),
        ("session.add(Quarantine(door='x'))", None),
    ],
)
def test_the_scan_sees_what_it_must_and_nothing_else(snippet: str, table: str | None) -> None:
    """As if the snippet stood in ingest."""
    if "import" not in snippet:
        snippet = f"from shared.models import {', '.join(TABLES)}\n{snippet}"
    found = foreign("ingest", snippet)
    assert len(found) == (table is not None), found
    if table is not None:
        assert f"changes {table}," in found[0]
