"""What a former signature made final and an amendment does not say any more: entered in error (FHIR R4).

An amendment may judge a newer answer of the machine, or leave out what a person had added. The Observations
of the signature before would stay final beside it, in no report, and be found by whoever searches for them.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import replace

from hoichan.codes import VOLUME
from hoichan.encoding.fhir_parts import Json
from hoichan.types import Document, DocumentKind, ReviewKind

_POINTERS = ("partOf", "derivedFrom", "device")  # to entries of the former bundle


def with_former_ended(
    documents: Sequence[Document], former: Document | None, kind: ReviewKind
) -> tuple[Document, ...]:
    """The documents of an amended report, the bundle with what no longer stands. `former`: the one before."""
    if former is None or kind is ReviewKind.FINAL:
        return tuple(documents)
    return tuple(
        replace(one, content=ended(one.content, former.content, kind))
        if one.kind is DocumentKind.FHIR
        else one
        for one in documents
    )


def ended(bundle: bytes, former: bytes, kind: ReviewKind) -> bytes:
    """The bundle with updates of the former one's Observations that it does not bring forward.

    An addendum adds: only what it says anew of the same image and finding takes the place of the former.
    """
    ours = json.loads(bundle)
    said = [entry["resource"] for entry in ours["entry"]]
    standing = {identifier for one in said for identifier in _identifiers(one)}
    renewed = {_about(one) for one in said if one["resourceType"] == "Observation"}
    for entry in json.loads(former)["entry"]:
        resource: Json = entry["resource"]
        if resource["resourceType"] != "Observation" or standing & set(_identifiers(resource)):
            continue
        if kind is ReviewKind.ADDENDUM and _about(resource) not in renewed:
            continue
        resource["status"] = "entered-in-error"
        for name in _POINTERS:
            resource.pop(name, None)
        ours["entry"].append(entry)
    return json.dumps(ours, ensure_ascii=False, separators=(",", ":")).encode("utf-8")


def _identifiers(resource: Json) -> Iterator[tuple[str, str]]:
    for one in resource.get("identifier", ()):
        yield one["system"], one["value"]


def _about(resource: Json) -> tuple[str, str, str]:
    """Which finding on which image; which part's volume in which series."""
    place = next(
        (
            one["valueString"]
            for one in resource.get("component", ())
            if one.get("code", {}).get("text") in ("SOP Instance UID", "Series Instance UID")
        ),
        "",
    )
    code = _code(resource["code"])
    words = str(resource["code"].get("text", ""))  # two findings may have one code
    # the site of a finding may be edited: it says nothing of which one it is
    part = _code(resource.get("bodySite", {})) if code == VOLUME.code_value else words
    return code, part, place


def _code(concept: Json) -> str:
    return str((concept.get("coding") or [{}])[0].get("code"))
