"""A fake for every port, for our tests and for those who build on us."""

from __future__ import annotations

from hoichan.testing.spool import FakeSpool

__all__ = ["FakeSpool"]
