"""The parts of a JSON document, found without recursion."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.ingest import json_parts
from shared.errors import Unreadable

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner, max_size=4),
    max_leaves=12,
)
INDENTS = st.sampled_from([None, 0, 2])


@given(st.lists(VALUES, max_size=6), INDENTS)
def test_an_array_is_its_items(items: list[object], indent: int | None) -> None:
    document = json.dumps(items, indent=indent, ensure_ascii=False).encode()
    assert [json.loads(part) for part in json_parts.items(document)] == items


@given(st.dictionaries(st.text(max_size=5), VALUES, max_size=6), INDENTS)
def test_an_object_is_its_members(members: dict[str, object], indent: int | None) -> None:
    document = json.dumps(members, indent=indent).encode()
    found = {name: json.loads(value) for name, value in json_parts.members(document).items()}
    assert found == members


def test_depth_does_not_matter() -> None:
    deep = b"[" * 1_000_000 + b"]" * 1_000_000
    assert json_parts.items(b'[1, {"a": %s}, "]"]' % deep) == [b"1", b' {"a": %s}' % deep, b' "]"']
    assert json_parts.members(b'{"a": %s, "b": 1}' % deep) == {"a": b" " + deep, "b": b" 1"}


@pytest.mark.parametrize(
    "document",
    [b"", b"1", b"[", b"[1", b"[1]]", b"[[1]", b'["]', b'["\\"]', b"{}", b"[}"[:1], b"[]]["],
)
def test_what_does_not_close(document: bytes) -> None:
    with pytest.raises(Unreadable):
        json_parts.items(document)


@pytest.mark.parametrize(
    "document", [b"[]", b"{1: 2}", b'{"a"}', b'{"a" 1}', b'{"a": [}', b'{"\\ud800x\\": 1}']
)
def test_what_is_no_object(document: bytes) -> None:
    with pytest.raises(Unreadable):
        json_parts.members(document)
