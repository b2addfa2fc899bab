"""A fake for every port, for our tests and for those who build on us."""

from __future__ import annotations

from hoichan.testing.reports import (
    FolderOfFilms,
    a_film,
    a_finding,
    a_heatmap,
    a_manifest,
    a_refused_report,
    a_report,
    a_result,
    a_study,
    as_bytes,
)
from hoichan.testing.sinks import FakeSink
from hoichan.testing.spool import FakeSpool

__all__ = [
    "FakeSink",
    "FakeSpool",
    "FolderOfFilms",
    "a_film",
    "a_finding",
    "a_heatmap",
    "a_manifest",
    "a_refused_report",
    "a_report",
    "a_result",
    "a_study",
    "as_bytes",
]
