"""After a start: marks for what changed lately, and for nothing else."""

from __future__ import annotations

import os
import threading
import time

from hoichan.adapters.spool_disk import DiskSpool
from hoichan.adapters.spool_recent import DAY_SECONDS, mark_recent
from hoichan.testing.datasets import encode, film

EXPLICIT = "1.2.840.10008.1.2.1"


def store(spool, study):
    data_set = film(study=study)
    return spool.store(
        encode(data_set),
        transfer_syntax_uid=EXPLICIT,
        sop_class_uid=data_set.SOPClassUID,
        sop_instance_uid=data_set.SOPInstanceUID,
        calling_ae_title="CR1",
    )


def test_what_changed_during_the_last_day_is_marked(tmp_path):
    spool = DiskSpool(tmp_path)
    stored = [store(spool, name) for name in ("today", "last week")]
    spool.take_fresh()
    old = time.time() - DAY_SECONDS - 60
    os.utime(spool.file(stored[1].path).parent, (old, old))
    assert mark_recent(tmp_path) == 1
    assert list(spool.fresh()) == [stored[0].study_instance_uid]


def test_only_the_last_minutes_are_marked_where_that_is_asked(tmp_path):
    spool = DiskSpool(tmp_path)
    stored = [store(spool, name) for name in ("now", "an hour ago")]
    spool.take_fresh()
    old = time.time() - 3600
    os.utime(spool.file(stored[1].path).parent, (old, old))
    assert mark_recent(tmp_path, seconds=600) == 1
    assert list(spool.fresh()) == [stored[0].study_instance_uid]


def test_it_ends_when_the_door_does(tmp_path):
    spool = DiskSpool(tmp_path)
    store(spool, "today")
    spool.take_fresh()
    stop = threading.Event()
    stop.set()
    assert mark_recent(tmp_path, stop) == 0
    assert not list(spool.fresh())
