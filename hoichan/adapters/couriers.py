"""Bring received objects on: by C-STORE, by STOW-RS, into a folder. Bytes go as they lie in the file.

That a receiver refuses an association says nothing about an image, so it is tried again like a cut cable, for
a week where it calls that permanent. What it says to an object is its word about that object.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx2

from hoichan.adapters.associations import associate
from hoichan.adapters.frames import pieces as pieces_of
from hoichan.adapters.reasons import knock, reason_of
from hoichan.adapters.stow_client import Parcel, StowClient
from hoichan.adapters.tls import client_args
from hoichan.errors import Unreachable
from hoichan.reporting.forwarding import Courier, ForwardState, Piece, Told
from hoichan.settings import AnyDestination, DicomDestination, DicomwebDestination, FolderDestination

MOST_CONTEXTS = 128  # of an association (PS3.8 9.3.2.2)
LARGEST_REQUEST = 256 * 1024**2  # bytes of one STOW-RS request; a single larger object still goes
_SYNTAX_UNKNOWN = 0xC122  # PS3.18 table I.2-2
_LATER = (range(0xA700, 0xA800), range(0x0213, 0x0214), range(0xFE00, 0xFE01))
_WARNINGS = range(0xB000, 0xC000)
_PERMANENT = 1  # result of an A-ASSOCIATE-RJ (PS3.8 9.3.4)


def courier_of(destination: AnyDestination, calling_ae_title: str) -> Courier:
    """What brings objects to a destination of kind dicom, dicomweb or folder."""
    match destination:
        case DicomDestination():
            return DimseCourier(destination, destination.calling_ae_title or calling_ae_title)
        case DicomwebDestination():
            return StowCourier(destination)
        case FolderDestination():
            return FolderCourier(destination)
    raise ValueError(f"Nothing is forwarded to a destination of kind {destination.kind}.")


class DimseCourier:
    """C-STORE, every context in exactly the syntax of a file (PS3.4 B.2)."""

    def __init__(self, destination: DicomDestination, calling_ae_title: str) -> None:
        self._destination = destination
        self._calling_ae_title = calling_ae_title

    def bring(self, pieces: list[Piece]) -> Iterator[Told]:
        """A word for each piece. Raises Unreachable."""
        kinds = list(dict.fromkeys((one.sop_class_uid, one.transfer_syntax_uid) for one in pieces))
        for start in range(0, len(kinds), MOST_CONTEXTS):
            some = set(kinds[start : start + MOST_CONTEXTS])
            fitting = [one for one in pieces if (one.sop_class_uid, one.transfer_syntax_uid) in some]
            yield from self._bring(fitting, sorted(some))

    def _bring(self, pieces: list[Piece], kinds: list[tuple[str, str]]) -> Iterator[Told]:
        try:
            association = self._associate(kinds)
        except _NotWanted as refusal:
            yield from (_not_wanted(one, str(refusal)) for one in pieces)
            return
        accepted = {(c.abstract_syntax, c.transfer_syntax[0]) for c in association.accepted_contexts}
        try:
            for one in pieces:
                if (one.sop_class_uid, one.transfer_syntax_uid) not in accepted:
                    yield _not_accepted(one, {str(c.abstract_syntax) for c in association.accepted_contexts})
                    continue
                yield self._store(association, one)
        finally:
            if association.is_established:
                association.release()

    def _store(self, association: Any, one: Piece) -> Told:  # noqa: ANN401  of pynetdicom, untyped
        if not association.is_established:
            raise Unreachable(self._destination.name, "association ended")
        try:
            answer = association.send_c_store(one.file)
        except (RuntimeError, ValueError) as error:
            raise Unreachable(self._destination.name, "association ended") from error
        if "Status" not in answer:
            raise Unreachable(self._destination.name, "no answer")
        status = int(answer.Status)
        detail = f"0x{status:04X}"
        if status == 0 or status in _WARNINGS:
            return Told(errand=one.errand, state=ForwardState.SENT, detail=detail)
        later = any(status in some for some in _LATER)
        state = ForwardState.PENDING if later else ForwardState.DEAD
        return Told(errand=one.errand, state=state, detail=detail, later=later)

    def _associate(self, kinds: list[tuple[str, str]]) -> Any:  # noqa: ANN401
        from pynetdicom import AE, _config  # noqa: PLC0415  only who forwards pays for it

        _config.STORE_SEND_CHUNKED_DATASET = True  # a path is sent byte for byte, never decoded
        destination = self._destination
        entity = AE(ae_title=self._calling_ae_title)
        timeout = destination.timeout_seconds
        entity.connection_timeout = entity.acse_timeout = timeout
        entity.dimse_timeout = entity.network_timeout = timeout
        # One context a pair: merged ones would let the receiver choose among syntaxes that we do not have.
        contexts = [_context(sop_class, syntax) for sop_class, syntax in kinds]
        try:
            tls_args = client_args(destination.tls, destination.host)
        except OSError as error:
            raise Unreachable(destination.name, "certificate") from error
        association = associate(
            entity,
            destination.host,
            destination.port,
            contexts=contexts,
            ae_title=destination.ae_title,
            tls_args=tls_args,
        )
        if association.is_established:
            return association
        if association.is_rejected:
            answer = association.acceptor.primitive
            if answer is None:
                raise Unreachable(destination.name, "association rejected")
            detail = f"association rejected (source {answer.result_source}, reason {answer.diagnostic})"
            if answer.result == _PERMANENT:
                raise _NotWanted(detail)
            raise Unreachable(destination.name, detail)
        if association.rejected_contexts and not association.accepted_contexts:
            return association  # aborted by us: nothing of this is known there
        knock(destination.name, destination.host, destination.port, timeout_seconds=5, tls=destination.tls)
        raise Unreachable(destination.name, "no association")


class _NotWanted(Exception):
    """The receiver refuses us, not for now only."""


def _not_wanted(one: Piece, detail: str) -> Told:
    return Told(errand=one.errand, state=ForwardState.PENDING, detail=detail, later=True, not_wanted=True)


def _context(sop_class: str, syntax: str) -> Any:  # noqa: ANN401
    from pynetdicom import build_context  # noqa: PLC0415

    return build_context(sop_class, syntax)


def _not_accepted(one: Piece, classes: set[str]) -> Told:
    known = one.sop_class_uid in classes
    what = f"transfer syntax {one.transfer_syntax_uid}" if known else f"SOP class {one.sop_class_uid}"
    return Told(
        errand=one.errand, state=ForwardState.DEAD, detail=f"{what} not accepted", syntax_refused=True
    )


class StowCourier:
    """STOW-RS, some objects a request."""

    def __init__(
        self, destination: DicomwebDestination, *, transport: httpx2.BaseTransport | None = None
    ) -> None:
        self._client = StowClient(destination, transport=transport)

    def bring(self, pieces: list[Piece]) -> Iterator[Told]:
        """A word for each piece. Raises Unreachable or OSError."""
        waiting: list[Piece] = []
        size = 0
        for one in pieces:
            length = one.file.stat().st_size
            other = waiting and waiting[0].study_instance_uid != one.study_instance_uid
            if waiting and (other or size + length > LARGEST_REQUEST):
                yield from self._store(waiting)
                waiting, size = [], 0
            waiting.append(one)
            size += length
        if waiting:
            yield from self._store(waiting)

    def _store(self, pieces: list[Piece]) -> Iterator[Told]:
        parcels = [
            Parcel(
                sop_instance_uid=one.sop_instance_uid,
                size_bytes=one.file.stat().st_size,
                content=pieces_of(one.file),
            )
            for one in pieces
        ]
        verdicts = self._client.store(pieces[0].study_instance_uid, parcels)
        for one in pieces:
            said = verdicts[one.sop_instance_uid]
            waits = ForwardState.PENDING if said.again else ForwardState.DEAD
            yield Told(
                errand=one.errand,
                state=ForwardState.SENT if said.stored else waits,
                detail=said.detail,
                later=said.again,
                syntax_refused=said.reason == _SYNTAX_UNKNOWN,
            )


class FolderCourier:
    """One file an object, `<path>/forwarded/<study>/<instance>.dcm`; safe on disk before it has its name."""

    def __init__(self, destination: FolderDestination) -> None:
        self._destination = destination

    def bring(self, pieces: list[Piece]) -> Iterator[Told]:
        """A word for each piece. Raises Unreachable when the folder cannot be written."""
        for one in pieces:
            folder = self._destination.path.absolute() / "forwarded" / one.study_instance_uid
            try:
                folder.mkdir(parents=True, exist_ok=True)
                _write(one.file, folder / f"{one.sop_instance_uid}.dcm")
            except OSError as error:
                raise Unreachable(self._destination.name, reason_of(error)) from error
            yield Told(errand=one.errand, state=ForwardState.SENT, detail="written")


def _write(source: Path, target: Path) -> None:
    part = target.with_name(f".{target.name}.{os.getpid()}.part")
    try:
        with part.open("wb") as file:
            for piece in pieces_of(source):
                file.write(piece)
            file.flush()
            os.fsync(file.fileno())
        part.replace(target)
    finally:
        with suppress(FileNotFoundError):
            part.unlink()
