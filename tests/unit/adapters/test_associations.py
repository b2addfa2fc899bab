"""Ending an association, also one that ended in a way that pynetdicom does not notice."""

from __future__ import annotations

import pytest
from pynetdicom import AE, build_context

from hoichan.adapters.associations import release

VERIFICATION = "1.2.840.10008.1.1"


@pytest.fixture
def port():
    entity = AE()
    entity.add_supported_context(VERIFICATION)
    server = entity.start_server(("127.0.0.1", 0), block=False)
    yield server.socket.getsockname()[1]
    server.shutdown()


@pytest.fixture
def association(port):
    made = AE().associate("127.0.0.1", port, contexts=[build_context(VERIFICATION)])
    assert made.is_established
    return made


def test_a_living_association_is_released(association):
    release(association)
    assert association.is_released


@pytest.mark.timeout(30)
def test_one_that_was_aborted_while_it_was_made_is_not_waited_for(association):
    association.abort()
    association.is_established, association._is_paused = True, False  # as the race leaves it
    release(association)
    assert not association.is_released


def test_one_that_was_never_made_is_nothing_to_end(port):
    release(AE().associate("127.0.0.1", port, contexts=[build_context("1.2.840.10008.5.1.4.1.1.2")]))
