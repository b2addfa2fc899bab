"""How a person and a sender's free text stand on the screen.

DICOM text is hostile until shown otherwise: control and direction-override characters go, length is
bounded. Escaping is the templates' work.
"""

from __future__ import annotations

import unicodedata

LONGEST = 120  # characters; what is longer ends in an ellipsis
_DROPPED = frozenset({"Cc", "Cf", "Cs", "Co", "Cn"})  # controls, direction overrides, surrogates


def plain(text: str | None) -> str:
    """One line of printable text, NFC, at most `LONGEST` characters."""
    kept = "".join(
        character if unicodedata.category(character) not in _DROPPED else " " for character in text or ""
    )
    line = unicodedata.normalize("NFC", " ".join(kept.split()))
    return line if len(line) <= LONGEST else line[: LONGEST - 1] + "…"


def spoken_name(patient_name: str) -> str:
    """A PN value (PS3.5 6.2.1) in Vietnamese order: family, middle, given; "" when absent."""
    group = next((part for part in patient_name.split("=") if part.strip("^ ")), "")
    family, given, middle, *_ = [*group.split("^"), "", "", ""]
    return plain(" ".join((family, middle, given)))


def masked(patient_id: str) -> str:
    """The last characters of an identifier, never more than four and never more than half of it."""
    text = plain(patient_id)
    if not text:
        return ""
    shown = min(4, len(text) // 2)
    return "•••" + text[len(text) - shown :]
