"""Python's search for reference cycles, put off while a batch is in hand.

A batch makes some hundred thousand values that all live until it is written. The collector would look through them,
and through all modules, a hundred times meanwhile (a fifth to a third of a take's time was measured), and find nothing:
what a batch makes has no cycles, and goes when its last reference does.
"""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager

_held = 0
"""How many batches of this process are in hand."""


@contextmanager
def put_off() -> Iterator[None]:
    """No cyclic collection until the end of the block, nor until that of any other that began meanwhile. Where the
    collector was off before, it stays so."""
    global _held
    if _held == 0 and not gc.isenabled():
        yield
        return
    _held += 1
    gc.disable()
    try:
        yield
    finally:
        _held -= 1
        if _held == 0:
            gc.enable()
