"""Patched classes of a client library."""

import weakref

import pytest

from tests.support.internals import Patch, ProducerFace


def test_client_that_cannot_be_traced_raises_its_own_error_and_leaves_nothing():
    """No engine for a client of a patched class: its error has no other as its context, and nothing piles up."""

    class Refusing:
        def send(self):
            raise KeyError

    patch = Patch(Refusing, ProducerFace, lambda _: 1 / 0)
    patch.apply()
    client = Refusing()
    for _ in range(3):
        with pytest.raises(KeyError) as caught:
            client.send()
        assert caught.value.__context__ is None
    assert weakref.getweakrefcount(client) == 0
