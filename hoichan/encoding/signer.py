"""How a signer's name and a rejection are written, in every form."""

from __future__ import annotations

from hoichan.reporting.review_words import REJECTION_REASONS
from hoichan.types import Judgement, VolumeJudgement


def dicom_name(full_name: str) -> str:
    """A PN of a Vietnamese name as it is spoken: Lê Minh Châu is Lê^Châu^Minh (family, given, middle)."""
    parts = full_name.replace("^", " ").replace("=", " ").replace("\\", " ").split()
    if len(parts) < 2:
        return "".join(parts)
    return "^".join(part for part in (parts[0], parts[-1], " ".join(parts[1:-1])) if part)


def rejection(judgement: Judgement | VolumeJudgement, language: str) -> str:
    """Why a finding or a volume of the machine was rejected, in words."""
    code, _, own = judgement.reason.partition(":")
    reason = REJECTION_REASONS.get(code.strip(), {}).get(language, code)
    return f"{reason}. {own.strip()}".strip(" .") + "."
