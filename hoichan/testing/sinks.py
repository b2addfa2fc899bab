"""A receiver for tests: takes, refuses or is away, as it is told."""

from __future__ import annotations

from collections.abc import Sequence

from hoichan.errors import DeliveryError
from hoichan.types import Delivery, Document


class FakeSink:
    """Keeps what it was given by idempotency key, as a receiver with conditional creates does.

    `failures` are raised one a call, in order, before anything is taken.
    """

    def __init__(self, failures: Sequence[DeliveryError] = (), acknowledgement: str = "taken") -> None:
        self.failures = list(failures)
        self.acknowledgement = acknowledgement
        self.calls: list[str] = []  # idempotency keys, one a call
        self.taken: dict[str, tuple[Document, ...]] = {}

    def deliver(self, delivery: Delivery, documents: Sequence[Document]) -> str:
        """Take the documents the delivery names, in its order."""
        self.calls.append(delivery.idempotency_key)
        if self.failures:
            raise self.failures.pop(0)
        by_kind = {document.kind: document for document in documents}
        kept = tuple(by_kind[kind] for kind in delivery.documents if kind in by_kind)
        self.taken[delivery.idempotency_key] = kept
        return self.acknowledgement
