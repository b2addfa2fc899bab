"""Writes documents into a folder, for a share or for a site without any server."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from hoichan.encoding.picture import picture_png
from hoichan.errors import Unreachable
from hoichan.settings import FolderDestination
from hoichan.types import Delivery, Document, DocumentKind

FILE_NAMES = {
    DocumentKind.SC: "sc.dcm",
    DocumentKind.SR: "sr.dcm",
    DocumentKind.SEG: "seg.dcm",  # further ones: seg-2.dcm, …
    DocumentKind.FHIR: "report.fhir.json",
    DocumentKind.KOS: "withdrawn.dcm",  # the note that takes a former report back
}
PICTURE = "picture"  # the SC's pixels as PNG, for whoever has no DICOM viewer; further ones: picture-2.png, …


class FolderSink:
    """One folder. A report lies in `<path>/<study uid>/<report uid>/`; nothing of a patient is in a name."""

    def __init__(self, destination: FolderDestination) -> None:
        self._destination = destination

    def deliver(self, delivery: Delivery, documents: Sequence[Document]) -> str:
        """Write each document, safe on disk before it has its name; the acknowledgement names its folder.

        Where ours lies is nobody's business who reads the trail.
        Raises Unreachable when the folder cannot be written: a share comes back, a full disk is made free.
        """
        folder = self._destination.path.absolute() / delivery.study_instance_uid / delivery.report_uid
        try:
            folder.mkdir(parents=True, exist_ok=True)
            for document in documents:
                if document.kind not in delivery.documents:
                    continue
                name = Path(FILE_NAMES[document.kind])
                if document.part > 1:
                    name = name.with_stem(f"{name.stem}-{document.part}")
                _write(folder / name, document.content)
                if document.kind is DocumentKind.SC:
                    further = f"-{document.part}" if document.part > 1 else ""
                    _write(folder / f"{PICTURE}{further}.png", picture_png(document.content))
            _sync_folder(folder)
        except OSError as error:
            reason = error.strerror or type(error).__name__
            raise Unreachable(self._destination.name, reason) from error
        return f"{delivery.study_instance_uid}/{delivery.report_uid}"


def _write(path: Path, content: bytes) -> None:
    """Write, fsync, rename; a file with the same content is left alone."""
    if path.is_file() and path.read_bytes() == content:
        return
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with part.open("wb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
        part.replace(path)
    except OSError:
        part.unlink(missing_ok=True)
        raise


def _sync_folder(folder: Path) -> None:
    """Make the names durable too, where the system can."""
    if not hasattr(os, "O_DIRECTORY"):
        return
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
