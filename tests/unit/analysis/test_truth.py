"""What a signature says of each finding, row by row of the table."""

import pytest

from hoichan.analysis.truth import overridden, truths
from hoichan.types import Judgement, Presence, Verdict

PRESENT, ABSENT = {"mass": Presence.PRESENT}, {"mass": Presence.ABSENT}


def judged(verdict, key="mass", finding_id="f"):
    return Judgement(finding_id=None if verdict is Verdict.ADDED else finding_id, key=key, verdict=verdict)


@pytest.mark.parametrize(
    ("stated", "judgements", "truth"),
    [
        (PRESENT, [judged(Verdict.ACCEPTED)], {"mass": True}),
        (PRESENT, [judged(Verdict.EDITED)], {"mass": True}),
        (PRESENT, [judged(Verdict.REJECTED)], {"mass": False}),
        (PRESENT, [], {}),  # nobody judged it
        (ABSENT, [judged(Verdict.ACCEPTED)], {"mass": False}),
        (ABSENT, [], {"mass": False}),
        (ABSENT, [judged(Verdict.ADDED)], {"mass": True}),
        ({}, [judged(Verdict.ADDED)], {"mass": True}),
        ({}, [], {}),
        (PRESENT, [judged(Verdict.REJECTED), judged(Verdict.ACCEPTED)], {"mass": True}),  # on another image
    ],
)
def test_the_table(stated, judgements, truth):
    assert truths(judgements, stated) == truth


def test_overridden_are_the_rejected_and_the_edited():
    judgements = [judged(verdict) for verdict in Verdict]
    assert overridden(judgements) == (2, 3)  # what was added was no statement of the machine
    assert overridden([]) == (0, 0)
