"""The page as it was signed, out of the documents of a signature: the very bytes that every form carries."""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Iterable

from hoichan.types import Document, DocumentKind


def signed_page_of(documents: Iterable[Document]) -> bytes:
    """The PDF that the FHIR bundle presents (DiagnosticReport.presentedForm); b"" where there is none."""
    for document in documents:
        if document.kind is DocumentKind.FHIR:
            return page_of_bundle(document.content)
    return b""


def page_of_bundle(content: bytes) -> bytes:
    """The PDF that a bundle presents; b"" where it presents none, or is no bundle."""
    try:
        for entry in json.loads(content).get("entry", ()):
            for form in entry.get("resource", {}).get("presentedForm", ()):
                if form.get("contentType") == "application/pdf":
                    return base64.b64decode(form["data"], validate=True)
    except (ValueError, KeyError, AttributeError, TypeError, binascii.Error):
        return b""
    return b""
