"""What every process counts, by name: the one list that listener, workers and `/metrics` share.

Names follow the conventions of Prometheus and get the prefix `hoichan_` where they are shown. Labels hold
what is configured or built in, never what a sender wrote: senders are entries of `[[listener.senders]]`,
and whoever fits none is `UNKNOWN_SENDER`. So the sets of label values are as bounded as the configuration.
"""

from __future__ import annotations

import threading
from bisect import bisect_left
from collections.abc import Mapping
from dataclasses import dataclass

UNKNOWN_SENDER = "unknown"
SUM = "sum"  # the part of a histogram that adds its values up


@dataclass(frozen=True, slots=True, kw_only=True)
class Meter:
    """One counter, or with `buckets` one histogram."""

    name: str  # without the prefix
    help: str
    labels: tuple[str, ...] = ()
    buckets: tuple[float, ...] = ()  # upper bounds, ascending, without infinity


_SECONDS = (0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0, 300.0)

INSTANCES_RECEIVED = Meter(
    name="instances_received_total",
    help="Instances that the DICOM listener answered, by sender and by what became of them.",
    labels=("sender", "outcome"),  # stored | duplicate | quarantined | refused_<status>
)
INSTANCES_FILED = Meter(
    name="instances_filed_total",
    help="Instances that came by other doors than the DICOM listener, by what became of them.",
    # stow | upload | folder | import; stored | duplicate | quarantined | refused_no_room | refused_object
    labels=("door", "sender", "outcome"),
)
BYTES_RECEIVED = Meter(
    name="received_bytes_total", help="Bytes of data sets that were stored.", labels=("sender",)
)
ASSOCIATIONS_REJECTED = Meter(
    name="associations_rejected_total",
    help="Associations that the DICOM listener rejected, by reason.",
    labels=("reason",),
)
LISTENER_HELPERS = Meter(
    name="listener_helpers_total",
    help="Helper processes of the DICOM listener, by what happened to them.",
    labels=("event",),  # lost | replaced | given_up
)
MODEL_RUNS = Meter(
    name="model_runs_total",
    help="Images given to a model, by what came of it.",
    labels=("model", "version", "outcome"),  # answered | out_of_domain | failed
)
INFERENCE_SECONDS = Meter(
    name="inference_duration_seconds",
    help="Time from reading an image to the numbers of a model.",
    labels=("model",),
    buckets=_SECONDS,
)
REPORTS = Meter(name="reports_total", help="Reports written, by outcome.", labels=("outcome",))
ANALYSES_FAILED = Meter(
    name="analyses_failed_total", help="Revisions that failed, by the code of the error.", labels=("code",)
)
REPORT_DELAY_SECONDS = Meter(
    name="report_delay_seconds",
    help="Time from the last image of a revision to its report.",
    buckets=(5.0, 10.0, 15.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1800.0, 3600.0, 14400.0),
)
DELIVERY_ATTEMPTS = Meter(
    name="delivery_attempts_total",
    help="Tries to hand a report over, by destination and answer.",
    labels=("destination", "outcome"),  # acknowledged | unreachable | refused | failed
)
DELIVERY_SECONDS = Meter(
    name="delivery_duration_seconds",
    help="Time of one try to hand a report over.",
    labels=("destination",),
    buckets=_SECONDS,
)
METERS = (
    INSTANCES_RECEIVED,
    INSTANCES_FILED,
    BYTES_RECEIVED,
    ASSOCIATIONS_REJECTED,
    LISTENER_HELPERS,
    MODEL_RUNS,
    INFERENCE_SECONDS,
    REPORTS,
    ANALYSES_FAILED,
    REPORT_DELAY_SECONDS,
    DELIVERY_ATTEMPTS,
    DELIVERY_SECONDS,
)


@dataclass(frozen=True, slots=True, order=True)
class Key:
    """One number of one meter."""

    name: str
    labels: tuple[str, ...]
    part: str = ""  # "": a counter; of a histogram "sum" or the index of the bucket


Counts = Mapping[Key, float]


class Tally:
    """Counts of one process since they were last taken. Safe for many threads; never blocks for long."""

    def __init__(self) -> None:
        self._counts: dict[Key, float] = {}
        self._lock = threading.Lock()

    def add(self, meter: Meter, *labels: str, amount: float = 1.0) -> None:
        """Count. `labels`: a value for each label of the meter, in its order."""
        if len(labels) != len(meter.labels):
            raise ValueError(f"{meter.name} has the labels {meter.labels}.")
        self._bump(Key(meter.name, labels), amount)

    def observe(self, meter: Meter, *labels: str, value: float) -> None:
        """Count one value into its bucket of a histogram."""
        if len(labels) != len(meter.labels) or not meter.buckets:
            raise ValueError(f"{meter.name} is no histogram with the labels {meter.labels}.")
        self._bump(Key(meter.name, labels, str(bisect_left(meter.buckets, value))), 1.0)
        self._bump(Key(meter.name, labels, SUM), max(0.0, value))

    def take(self) -> dict[Key, float]:
        """What was counted since the last call."""
        with self._lock:
            taken, self._counts = self._counts, {}
        return taken

    def give_back(self, counts: Counts) -> None:
        """What was taken and could not be written down."""
        for key, amount in counts.items():
            self._bump(key, amount)

    def _bump(self, key: Key, amount: float) -> None:
        with self._lock:
            self._counts[key] = self._counts.get(key, 0.0) + amount
