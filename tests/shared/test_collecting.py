"""The collector rests while any batch is in hand, and only then."""

from __future__ import annotations

import gc

import pytest

from shared.collecting import put_off


def test_it_rests_until_the_last_batch_has_ended() -> None:
    assert gc.isenabled()
    first, second = put_off(), put_off()
    with first:
        second.__enter__()
        assert not gc.isenabled()
    assert not gc.isenabled()
    second.__exit__(None, None, None)
    assert gc.isenabled()


def test_it_is_on_again_after_an_error() -> None:
    with pytest.raises(KeyError), put_off():
        raise KeyError
    assert gc.isenabled()


def test_who_has_switched_it_off_finds_it_off() -> None:
    gc.disable()
    try:
        with put_off():
            assert not gc.isenabled()
        assert not gc.isenabled()
    finally:
        gc.enable()
