"""Sending files to an AE over DIMSE, each in its own transfer syntax (PS3.4 B.2)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from pydicom import dcmread
from pydicom.errors import InvalidDicomError
from pynetdicom import AE

from hoichan.adapters.associations import associate, release
from hoichan.errors import NotDicom, Refused, Unreachable

CONTEXTS = 128  # an association may propose no more (PS3.8 9.3.2.2)


@dataclass(frozen=True, slots=True, kw_only=True)
class Address:
    """Where an application entity listens."""

    ae_title: str
    host: str
    port: int

    @classmethod
    def parse(cls, text: str) -> Address:
        """From `AE@host:port`. Raises ValueError that says what is wrong."""
        title, at, place = text.partition("@")
        host, colon, port = place.rpartition(":")
        if not (at and colon and title and host and port.isdigit() and 0 < int(port) < 65536):
            raise ValueError(f"{text!r} is not AE@host:port, for example HOICHAN@127.0.0.1:11112")
        return cls(ae_title=title, host=host, port=int(port))

    def __str__(self) -> str:
        return f"{self.ae_title}@{self.host}:{self.port}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Sent:
    """What the receiver said to one file."""

    path: Path
    sop_instance_uid: str
    study_instance_uid: str
    status: int  # DIMSE status; 0x0000 is Success


def find_files(paths: Iterable[Path]) -> list[Path]:
    """The files named, and all files below the folders named, in order."""
    found: list[Path] = []
    for path in paths:
        found.extend(sorted(p for p in path.rglob("*") if p.is_file()) if path.is_dir() else [path])
    return found


def send(
    files: Sequence[Path],
    to: Address,
    *,
    calling_ae_title: str = "HOICHAN_SEND",
    progress: Callable[[], None] = lambda: None,
) -> list[Sent]:
    """C-STORE every file. Raises NotDicom, Unreachable, or Refused when a context is not accepted."""
    heads = [_head(file) for file in files]
    sent: list[Sent] = []
    for kinds in _batches(sorted({(sop_class, syntax) for _, sop_class, syntax, _, _ in heads})):
        entity = AE(ae_title=calling_ae_title)
        for sop_class, syntax in kinds:
            entity.add_requested_context(sop_class, syntax)
        association = associate(entity, to.host, to.port, ae_title=to.ae_title)
        if not association.is_established:
            raise Unreachable(str(to), "no association: check host, port, AE title and the list of senders")
        try:
            for file, sop_class, syntax, uid, study in heads:
                if (sop_class, syntax) not in kinds:
                    continue
                try:
                    answer = association.send_c_store(file)
                except (ValueError, RuntimeError) as error:
                    raise Refused(str(to), f"SOP class {sop_class} in {syntax} was not accepted") from error
                if "Status" not in answer:
                    raise Unreachable(str(to), "the association was lost")
                sent.append(
                    Sent(path=file, sop_instance_uid=uid, study_instance_uid=study, status=int(answer.Status))
                )
                progress()
        finally:
            release(association)
    return sent


def _head(file: Path) -> tuple[Path, str, str, str, str]:
    try:
        head = dcmread(file, specific_tags=["SOPClassUID", "SOPInstanceUID", "StudyInstanceUID"])
        return (
            file,
            str(head.SOPClassUID),
            str(head.file_meta.TransferSyntaxUID),
            str(head.SOPInstanceUID),
            str(head.StudyInstanceUID),
        )
    except OSError as error:
        raise NotDicom(f"A file cannot be read: {error.strerror}.") from error
    except (InvalidDicomError, AttributeError) as error:
        raise NotDicom(f"{file.name} is not a DICOM file with SOP and study UIDs.") from error


def _batches(kinds: Sequence[tuple[str, str]]) -> Iterable[Sequence[tuple[str, str]]]:
    return (kinds[start : start + CONTEXTS] for start in range(0, len(kinds), CONTEXTS))
