"""JSON that somebody else wrote."""

from __future__ import annotations

import json
from typing import Any


def loaded(content: bytes) -> Any:  # noqa: ANN401  JSON of somebody else
    r"""What a body says. Raises ValueError or RecursionError.

    Half of a surrogate pair (`\ud800`) is JSON by its grammar (RFC 8259 8.2), but no text: no database holds
    it, and no answer could say it back.
    """
    found = json.loads(content.decode("utf-8-sig"))
    json.dumps(found, ensure_ascii=False).encode("utf-8")
    return found
