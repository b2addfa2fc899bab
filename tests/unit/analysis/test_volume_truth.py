"""What readers let stand of volumes, against figures that can be worked out by hand."""

import pytest

from hoichan.analysis.volume_truth import Answered, ReadVolume, beside_readers, figures, verdicts
from hoichan.types import Verdict


def read(shown, stands, number=0, version="1.0.0"):
    verdict = Verdict.REJECTED if stands is None else Verdict.ACCEPTED if stands == shown else Verdict.EDITED
    return ReadVolume(
        study_instance_uid=f"2.25.{number}", version=version, verdict=verdict, shown=shown, stands=stands
    )


def test_each_version_that_was_shown_has_its_shares():
    ten = [read(2.0, 2.0, n) for n in range(6)] + [read(2.0, 2.0 + step, 6) for step in (0.1, 0.3, 0.5)]
    first, second = verdicts([*ten, read(2.0, None, 7), read(1.0, 1.0, 8, "2.0.0")])
    assert (first["version"], first["n"], first["studies"]) == ("1.0.0", 10, 8)
    assert [first[name]["k"] for name in ("confirmed", "corrected", "rejected")] == [6, 3, 1]
    assert first["confirmed"]["ci95"] == pytest.approx((0.3127, 0.8318), abs=1e-3)  # Wilson, 6 of 10
    assert (second["version"], second["confirmed"]["share"]) == ("2.0.0", 1.0)


def test_corrections_are_told_by_their_median_and_all_by_limits():
    (told,) = verdicts([read(2.0, 2.0 + step, n) for n, step in enumerate((0.0, 0.0, 0.1, 0.3, 0.8))])
    assert told["correction_ml"]["median"] == pytest.approx(0.3)
    assert told["correction_ml"]["median_ci95"] is None  # three corrections
    assert told["reader_ml"]["n"] == 5
    spread = 1.96 * (sum((d - 0.24) ** 2 for d in (0.0, 0.0, 0.1, 0.3, 0.8)) / 4) ** 0.5
    assert told["reader_ml"]["limits"] == pytest.approx((0.24 - spread, 0.24 + spread))
    low, high = told["reader_ml"]["median_ci95"]
    assert 0.0 <= low <= 0.1 <= high <= 0.8


def test_a_version_is_right_near_the_number_that_stands():
    answered = [
        Answered(read=read(2.0, 2.0), live=2.0, shadow=2.19),  # within a tenth
        Answered(read=read(2.0, 2.0), live=2.0, shadow=2.21),
        Answered(read=read(2.0, 3.0), live=2.0, shadow=2.9),  # the shadow comes nearer than what was shown
    ]
    found = beside_readers(answered, within=0.1)
    assert (found["n"], found["unknown"]) == (3, 0)
    assert (found["live"]["right"]["k"], found["shadow"]["right"]["k"]) == (2, 2)
    assert figures(found, "shadow")[1] == pytest.approx(0.19)  # the middle of 0.19, 0.21, -0.1


def test_a_rejected_number_is_wrong_again_and_another_is_unknown():
    again, other = (Answered(read=read(2.0, None), live=2.0, shadow=shadow) for shadow in (2.1, 4.0))
    found = beside_readers([again, other], within=0.1)
    assert (found["n"], found["unknown"]) == (1, 1)
    assert found["live"]["right"]["share"] == found["shadow"]["right"]["share"] == 0.0
    assert figures(found, "shadow") == (0.0, None, None)


def test_nothing_read_is_nothing_known():
    assert verdicts([]) == []
    found = beside_readers([], within=0.1)
    assert (found["n"], found["shadow"]["right"]["share"]) == (0, None)
