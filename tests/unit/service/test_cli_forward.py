"""`hoichan forward`: what was sent on, refused and held, from the shell."""

import json
from datetime import timedelta

import pytest
from typer.testing import CliRunner

from hoichan.adapters.forwards_sql import CLOSED, ForwardsSql, Revision
from hoichan.reporting.forwarding import Errand, ForwardState, Told
from hoichan.testing.reading import a_record
from service.cli import app

STUDY = "1.2.3"


def errand(instance):
    return Errand(
        rule="all",
        destination="far",
        study_instance_uid=STUDY,
        sop_instance_uid=instance,
        sop_class_uid="1.2",
        transfer_syntax_uid="1.2.840.10008.1.2.1",
        path="x",
    )


@pytest.fixture
def hoichan(tmp_path):
    record = a_record(tmp_path)
    forwards = ForwardsSql(record.engine, record.clock)
    errands = [errand(f"1.2.3.{number}") for number in range(4)]
    forwards.plan("all", Revision(study=STUDY, revision=1, answer=None), CLOSED, errands)
    states = (ForwardState.SENT, ForwardState.DEAD, ForwardState.HELD)
    words = [
        Told(errand=one, state=state, detail=str(state)) for one, state in zip(errands, states, strict=False)
    ]
    words.append(Told(errand=errands[3], state=ForwardState.PENDING, detail="timeout", later=True))
    forwards.settle(words, {0: timedelta(hours=1)})
    record.engine.dispose()

    def run(*arguments):
        return CliRunner().invoke(app, ["forward", *arguments, "--data-dir", str(tmp_path)])

    return run


def states(told):
    return {one["state"]: one["instances"] for one in json.loads(told.stdout)["forwards"]}


def test_what_needs_a_look_is_shown(hoichan):
    assert states(hoichan("list", "--json")) == {"pending": 1, "dead": 1, "held": 1}
    assert states(hoichan("list", "--all", "--json")) == {"pending": 1, "dead": 1, "held": 1, "sent": 1}
    assert "timeout" in hoichan("list").stdout
    assert states(hoichan("list", "9.9", "--json")) == {}


def test_the_dead_go_again_and_the_held_only_when_they_are_released(hoichan):
    assert hoichan("retry", STUDY).stdout == "2 instances sent again.\n"
    assert states(hoichan("list", "--json")) == {"pending": 2, "held": 1}
    assert hoichan("release", STUDY).stdout == "1 instances released.\n"
    assert states(hoichan("list", "--json")) == {"pending": 3}
    assert hoichan("release", STUDY).exit_code == 1
