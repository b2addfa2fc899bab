"""The exact content of a signed review: its one canonical form, and the hash that proves it unchanged.

Keys are sorted, text is NFC, times are UTC to the microsecond: two programs that hold the same review write
the same bytes. What is stored is the same JSON, so that a stored review can be held against its hash any day.
"""

from __future__ import annotations

import hashlib
import json
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC
from typing import Any

from hoichan.privacy import Phi
from hoichan.types import (
    Box,
    Judgement,
    Review,
    Sections,
    Sha256,
    Side,
    SOPInstanceUID,
    Verdict,
    VolumeJudgement,
)

FORMAT = 1  # of the canonical bytes; a new one never changes what an old review's bytes are
SECTIONS = ("description", "conclusion", "recommendation", "comparison")
UNSEALED = Sha256("")
_JOINERS = "\u200c\u200d"  # zero-width: several scripts cannot be written without them

Json = dict[str, Any]


def normal(text: str) -> str:
    """NFC without control characters but the line feed: what a database, a PACS and a hash agree on."""
    text = unicodedata.normalize("NFC", text.replace("\r\n", "\n").replace("\r", "\n"))
    return "".join(c for c in text if c in "\n\t" or unicodedata.category(c) not in ("Cc", "Cs")).strip()


def typed(text: str) -> str:
    """What a person typed or pasted, as it is kept: `normal`, without signs that turn or hide letters unseen.

    Where words come in only: what was signed before stays as it was signed.
    """
    return normal("".join(c for c in text if unicodedata.category(c) != "Cf" or c in _JOINERS))


def judgements_json(judgements: Sequence[Judgement]) -> list[Json]:
    """Judgements as JSON. What a person wrote is revealed: for the database, the screen and the hash."""
    return [
        {
            "finding_id": one.finding_id,
            "key": one.key,
            "verdict": one.verdict.value,
            "reason": one.reason,
            "laterality": one.laterality.value if one.laterality else None,
            "site": one.site,
            "size_mm": float(one.size_mm) if one.size_mm is not None else None,
            "text": one.text.reveal(),
            "boxes": [
                {
                    "sop_instance_uid": box.sop_instance_uid,
                    "column": float(box.column),
                    "row": float(box.row),
                    "width": float(box.width),
                    "height": float(box.height),
                }
                for box in one.boxes
            ],
        }
        for one in judgements
    ]


def judgements_of(content: Sequence[Mapping[str, Any]]) -> tuple[Judgement, ...]:
    """Judgements from their JSON. Raises KeyError, TypeError or ValueError for anything else."""
    return tuple(
        Judgement(
            finding_id=one["finding_id"],
            key=one["key"],
            verdict=Verdict(one["verdict"]),
            reason=one["reason"],
            laterality=Side(one["laterality"]) if one["laterality"] else None,
            site=one["site"],
            size_mm=float(one["size_mm"]) if one["size_mm"] is not None else None,
            text=Phi(one["text"]),
            boxes=tuple(
                Box(
                    sop_instance_uid=SOPInstanceUID(box["sop_instance_uid"]),
                    column=float(box["column"]),
                    row=float(box["row"]),
                    width=float(box["width"]),
                    height=float(box["height"]),
                )
                for box in one["boxes"]
            ),
        )
        for one in content
    )


def volumes_json(volumes: Sequence[VolumeJudgement]) -> list[Json]:
    """Verdicts about volumes as JSON: for the database, the screen and the hash."""
    return [
        {
            "measurement_id": one.measurement_id,
            "verdict": one.verdict.value,
            "value_ml": float(one.value_ml) if one.value_ml is not None else None,
            "reason": one.reason,
        }
        for one in volumes
    ]


def volumes_of(content: Sequence[Mapping[str, Any]] | None) -> tuple[VolumeJudgement, ...]:
    """Verdicts about volumes from their JSON; () of None: the row is older than they are."""
    return tuple(
        VolumeJudgement(
            measurement_id=one["measurement_id"],
            verdict=Verdict(one["verdict"]),
            value_ml=float(one["value_ml"]) if one["value_ml"] is not None else None,
            reason=one["reason"],
        )
        for one in content or ()
    )


def sections_json(sections: Sections) -> dict[str, str]:
    """The words of a report as JSON; revealed."""
    return {name: getattr(sections, name).reveal() for name in SECTIONS}


def sections_of(content: Mapping[str, str]) -> Sections:
    """The words of a report from their JSON; a missing section is empty."""
    return Sections(**{name: Phi(normal(str(content.get(name, "")))) for name in SECTIONS})


def signed_content(review: Review) -> bytes:
    """Exactly what was signed, as ASCII JSON; everything of the review but the hash itself."""
    content = {
        "format": FORMAT,
        "report_uid": review.report_uid,
        "judged": review.judged,
        "predecessor": review.predecessor,
        "known_as": review.known_as,
        "study_instance_uid": review.study_instance_uid,
        "revision": review.revision,
        "kind": review.kind.value,
        "reviewer": review.reviewer,
        "reviewer_name": review.reviewer_name,
        "licence_number": review.licence_number,
        "signed_at": review.signed_at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
        "judgements": judgements_json(review.judgements),
        "sections": sections_json(review.sections),
        "language": review.language,
        "reason": review.reason,
        "may_train": review.may_train,
        "seconds_spent": review.seconds_spent,
    }
    if review.volumes:  # without any, the bytes are those of before there were verdicts about volumes
        content["volumes"] = volumes_json(review.volumes)
    return json.dumps(content, ensure_ascii=True, sort_keys=True, separators=(",", ":")).encode("ascii")


def content_sha256(review: Review) -> Sha256:
    """SHA-256 of exactly what was signed, in hexadecimal."""
    return Sha256(hashlib.sha256(signed_content(review)).hexdigest())


def sealed(review: Review) -> Review:
    """The review with its hash."""
    return replace(review, content_sha256=content_sha256(review))


def is_sealed(review: Review) -> bool:
    """Whether a review is as it was when it was signed."""
    return review.content_sha256 == content_sha256(review)
