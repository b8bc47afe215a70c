"""The parts of a JSON array or object, found without recursion. Pure.

msgspec goes into structures as deep as the interpreter's stack allows and then gives up the whole document. One item
that is nested deeper must not cost its neighbours their place: here the document is only cut into its parts, and each
is read for itself. Slower than a decoder, and used only after one has given up.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

import msgspec

from shared.errors import Unreadable

_TOKEN = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"|[\[{]+|[\]}]+|,|"', re.DOTALL)
_KEY = re.compile(rb'\s*("[^"\\]*(?:\\.[^"\\]*)*")\s*:', re.DOTALL)
_decode_key = msgspec.json.Decoder(str).decode


def items(document: bytes) -> list[bytes]:
    """The items of an array, as they stand. Raises Unreadable where brackets or quotes do not close. Whether an item is
    JSON is for its reader to say."""
    return list(_parts(document.strip(), b"[", b"]"))


def members(document: bytes) -> dict[str, bytes]:
    """The members of an object by name; the last of a name counts. Raises Unreadable."""
    found: dict[str, bytes] = {}
    for part in _parts(document.strip(), b"{", b"}"):
        key = _KEY.match(part)
        if key is None:
            raise _unreadable()
        try:
            found[_decode_key(key[1])] = part[key.end() :]
        except (msgspec.DecodeError, UnicodeDecodeError):
            raise _unreadable() from None
    return found


def _parts(document: bytes, opening: bytes, closing: bytes) -> Iterator[bytes]:
    if document[:1] != opening or document[-1:] != closing:
        raise _unreadable()
    end = len(document) - 1
    start = 1
    depth = 0
    for token in _TOKEN.finditer(document, 1, end):
        sign = document[token.start()]
        if sign == 0x2C:  # a comma
            if depth == 0:
                yield document[start : token.start()]
                start = token.end()
        elif sign in b"[{":
            depth += token.end() - token.start()
        elif sign in b"]}":
            depth -= token.end() - token.start()
            if depth < 0:
                raise _unreadable()
        elif token.end() - token.start() == 1:  # a quote that nothing closes
            raise _unreadable()
    if depth:
        raise _unreadable()
    if start > 1 or document[start:end].strip():
        yield document[start:end]


def _unreadable() -> Unreadable:
    return Unreadable("Nội dung không phải JSON hợp lệ.", "The body is not valid JSON.")
