"""A door of its own process hears of the pressure inside by a note in the spool, and by nothing else."""

from __future__ import annotations

from datetime import UTC, datetime

from hoichan.adapters.spool_disk import DiskSpool
from hoichan.intake.pressure import open_again, shut
from hoichan.testing.datasets import film
from tests.integration.test_listener import association, opened, send, wait_for


def test_a_film_is_told_to_come_later_and_is_taken_afterwards(tmp_path):
    inside, outside = DiskSpool(tmp_path), DiskSpool(tmp_path)
    with opened(outside) as port, association(port) as made:
        assert send(made, film(study="before")).Status == 0x0000
        shut(inside.notes, "queue", datetime.now(UTC))
        wait_for(lambda: send(made, film(study="during")).Status == 0xA700)
        assert send(made, film(study="during", instance="b")).Status == 0xA700
        open_again(inside.notes)
        wait_for(lambda: send(made, film(study="after")).Status == 0x0000)
    studies = {str(uid) for uid in inside.every_study()}
    assert str(film(study="after").StudyInstanceUID) in studies
