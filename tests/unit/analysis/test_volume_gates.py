"""Gates of packages for volumes: what holds, what does not, and what cannot be told."""

import pytest
from pydantic import ValidationError

from hoichan.analysis.volume_gates import PartGates, VolumeGates, check_volumes, read_volume_gates
from hoichan.analysis.volume_truth import Answered, ReadVolume, beside_readers
from hoichan.types import Verdict


def found(*offs, live=0.0):
    """One part: readers stand for 2 ml each; the versions lie off by these."""
    stood = ReadVolume(
        study_instance_uid="2.25.1", version="1", verdict=Verdict.ACCEPTED, shown=2.0, stands=2.0
    )
    rows = [Answered(read=stood, live=2.0 + live, shadow=2.0 + off) for off in offs]
    return {"P": beside_readers(rows, within=0.1)}


def held(gates, told):
    return {row["gate"]: row["held"] for row in check_volumes(gates, told, ["P"])}


def test_nothing_that_was_not_read_holds():
    assert held(VolumeGates(), found()) == {"reviews": False}


def test_a_package_without_gates_needs_readers_and_to_be_no_worse():
    near, far = [0.0] * 100, [0.0] * 94 + [1.0] * 6
    assert held(VolumeGates(), found(*near)) == {"reviews": True, "right_against_live": True}
    assert held(VolumeGates(), found(*far)) == {"reviews": True, "right_against_live": False}
    assert held(VolumeGates(), found(*near[:99])) == {"reviews": False, "right_against_live": True}
    assert held(VolumeGates(loss=0.06), found(*far))["right_against_live"]
    assert held(VolumeGates(), found(*far, live=1.0))["right_against_live"]  # the live one is never right


@pytest.mark.parametrize(
    ("bars", "name", "holds"),
    [
        ({"right": 0.75}, "right", True),
        ({"right": 0.76}, "right", False),
        ({"off_ml": 0.11}, "off_ml", True),
        ({"off_ml": 0.09}, "off_ml", False),
        ({"limit_ml": 2.0}, "limit_ml", True),
        ({"limit_ml": 1.0}, "limit_ml", False),
    ],
)
def test_bars_of_a_part(bars, name, holds):
    gates = VolumeGates(reviews=4, loss=1.0, parts={"P": PartGates(**bars)})
    assert held(gates, found(-0.1, -0.1, -0.1, 1.0))[name] is holds


def test_they_are_read_from_the_package(tmp_path):
    (tmp_path / "volume.toml").write_text(
        '[model]\nname = "x"\n[gates]\nreviews = 40\nwithin = 0.2\n[gates.parts.P]\nright = 0.9\n',
        encoding="utf-8",
    )
    gates = read_volume_gates(tmp_path)
    assert (gates.reviews, gates.within, gates.loss, gates.parts["P"].right) == (40, 0.2, 0.05, 0.9)


@pytest.mark.parametrize(
    "wrong", [{"reviews": 0}, {"within": 0}, {"positives": 3}, {"parts": {"P": {"ppv": 1}}}]
)
def test_what_no_gate_can_be_is_refused(wrong):
    with pytest.raises(ValidationError):
        VolumeGates.model_validate(wrong)
