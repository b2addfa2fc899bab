"""The doctor sees whether the order port can be had, and whether it is open while the service runs."""

from __future__ import annotations

import socket

import pytest

from hoichan.settings import Settings
from hoichan.testing.house import free_ports
from service.doctor_orders import examine_orders


def site(port, **changes):
    return Settings.model_validate({"orders": {"enabled": True, "port": port, **changes}})


@pytest.fixture
def taken():
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


def test_a_closed_door_is_not_looked_at():
    assert list(examine_orders(Settings(), runs=False)) == []


@pytest.mark.parametrize("runs", [True, False])
def test_a_port_that_somebody_has(taken, runs):
    ((name, passed, detail),) = examine_orders(site(taken), runs=runs)
    assert (name, passed) == ("order port", runs)
    assert f"127.0.0.1:{taken}" in detail


@pytest.mark.parametrize("runs", [True, False])
def test_a_port_that_nobody_has(runs):
    (port,) = free_ports(1)
    ((_, passed, detail),) = examine_orders(site(port), runs=runs)
    assert passed is not runs
    assert ("is free" in detail) is not runs
