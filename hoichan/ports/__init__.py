"""What the house needs from outside, as Protocols.

The real ones are in `hoichan.adapters`, the fakes in `hoichan.testing`; one contract test class
per port runs against both (tests/contracts).
"""

from __future__ import annotations

from hoichan.ports.archives import Archive, Changes, Fetched, Holding
from hoichan.ports.objects import Objects, Originals
from hoichan.ports.records import Studies, TrailEntry
from hoichan.ports.spool import AtRest, Clock, Incoming, Notes, Spool, Spooled, Stored
from hoichan.ports.work import Encoder, Engine, Heartbeats, Outliner, Probe, Runner, Sink

__all__ = [
    "Archive",
    "AtRest",
    "Changes",
    "Clock",
    "Encoder",
    "Engine",
    "Fetched",
    "Heartbeats",
    "Holding",
    "Incoming",
    "Notes",
    "Objects",
    "Originals",
    "Outliner",
    "Probe",
    "Runner",
    "Sink",
    "Spool",
    "Spooled",
    "Stored",
    "Studies",
    "TrailEntry",
]
