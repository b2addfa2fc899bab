"""One service in processes of its own for each test, told and asked by the commands only."""

import subprocess

import pytest

from hoichan.testing.datasets import PRIVATE_CLASS
from hoichan.testing.house import HOICHAN, RunningHouse
from tests.acceptance.packages import write_package

ONE_SENDER = f"""
[listener]
private_sop_classes = ["{PRIVATE_CLASS}"]
[[listener.senders]]
ae_title = "CR_ROOM1"
host = "127.0.0.0/8"
"""


@pytest.fixture
def new_house(tmp_path):
    """Makes houses that are not started yet; what a test leaves running is stopped after it."""
    made = []

    def make(*, own_model=True, **settings):
        made.append(RunningHouse(tmp_path / f"house{len(made)}", **settings))
        if own_model:
            write_package(made[-1].data_dir / "models")
        return made[-1]

    yield make
    for house in made:
        house.stop()


@pytest.fixture(scope="module")
def house(tmp_path_factory):
    """A running house that the tests of one module share, each with studies of its own."""
    made = RunningHouse(tmp_path_factory.mktemp("house"), config=ONE_SENDER)
    write_package(made.data_dir / "models")
    with made:
        yield made


@pytest.fixture
def hoichan():
    """Runs one command without any house."""

    def run(*arguments, **options):
        return subprocess.run(
            [HOICHAN, *map(str, arguments)],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            encoding="utf-8",
            timeout=120,
            check=False,
            **options,
        )

    return run
