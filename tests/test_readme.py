"""README's calls, make targets and commands exist in what is shipped. (Its paths: tests/test_docs.py.)"""

from __future__ import annotations

import json
import re
import shlex
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import parse_qsl, urlsplit

import pytest
from typer.main import get_command

from services import cli
from shared.settings import Settings
from tests import joined

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


class Call(NamedTuple):
    method: str
    path: str
    query: list[str]
    body: str | None


def calls() -> list[Call]:
    """The lines that begin with curl, and those inside of $(…)."""
    found = []
    for block in re.findall(r"^```sh\n(.*?)^```", README, re.M | re.S):
        for line in block.splitlines():
            inner = re.search(r"\$\((curl .+?) \|", line)
            if line.startswith("curl ") or inner:
                found.append(_call(inner[1] if inner else line))
    return found


def _call(line: str) -> Call:
    words = shlex.split(line)
    (url,) = [word for word in words if word.startswith("http")]
    parts = urlsplit(url)
    assert parts.netloc == f"127.0.0.1:{Settings.model_fields['port'].default}"
    body = words[words.index("-d") + 1] if "-d" in words else None
    assert "-X" not in words
    query = [name for name, _ in parse_qsl(parts.query, strict_parsing=bool(parts.query))]
    return Call("post" if body else "get", parts.path, query, body)


@cache
def openapi() -> dict[str, Any]:
    settings = Settings(_env_file=None, database_url="postgresql://nobody@127.0.0.1/none")  # type: ignore[call-arg]
    return joined.joined(settings).openapi()


def operation(call: Call) -> dict[str, Any] | None:
    """What answers: a path that is spelt out wins over one with a parameter."""
    for path in sorted(openapi()["paths"], key=lambda path: path.count("{")):
        if re.fullmatch(re.sub(r"\\{\w+\\}", "[^/]+", re.escape(path)), call.path):
            found: dict[str, Any] | None = openapi()["paths"][path].get(call.method)
            return found
    return None


def test_there_are_at_least_ten_calls() -> None:
    assert len({(call.method, call.path) for call in calls()}) >= 10


@pytest.mark.parametrize("call", calls(), ids=lambda call: f"{call.method} {call.path}")
def test_each_call_exists_with_its_parameters(call: Call) -> None:
    found = operation(call)
    assert found is not None
    known = {each["name"] for each in found.get("parameters", []) if each["in"] == "query"}
    assert set(call.query) - known == set()
    required = {
        each["name"] for each in found.get("parameters", []) if each["in"] == "query" and each.get("required")
    }
    assert required - set(call.query) == set()


def test_bodies_are_json() -> None:
    assert [json.loads(call.body) for call in calls() if call.body]


def test_make_targets_and_commands_exist() -> None:
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.M))
    code = "\n".join(re.findall(r"^```.*?^```|^### .+$|`[^`\n]+`", README, re.M | re.S))
    assert {"run", "test"} <= set(re.findall(r"\bmake ([a-z]+)", code)) <= targets
    table = README.partition("| `.venv/bin/chiso …` |")[2].partition("\n\n")[0]
    rows = re.findall(r"^\| (.+?) \|", table, re.M)
    named = {
        word.split()[0] for row in rows for word in re.findall(r"`([a-z]+[^`]*)`", row.partition("(")[0])
    }
    assert named == set(get_command(cli.command).commands)  # type: ignore[attr-defined]


def test_the_benchmark_named_exists() -> None:
    for name in re.findall(r"python -m (benchmarks\.\w+)", README):
        assert (ROOT / f"{name.replace('.', '/')}.py").exists()
