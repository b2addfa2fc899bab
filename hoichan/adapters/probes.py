"""A knock at each kind of receiver: cheap, without any document, and any answer counts.

A receiver that says no is there. Whether it takes our reports is told by the next delivery.
"""

from __future__ import annotations

import os
from functools import partial
from http import HTTPStatus
from pathlib import Path

from hoichan.adapters.associations import associate, release
from hoichan.adapters.reasons import knock, reason_of
from hoichan.adapters.tls import client_args, client_context
from hoichan.errors import Unreachable
from hoichan.ports import Probe
from hoichan.settings import (
    AnyDestination,
    DicomDestination,
    DicomwebDestination,
    FhirDestination,
    FolderDestination,
    Hl7Destination,
)

TIMEOUT_SECONDS = 5.0
VERIFICATION = "1.2.840.10008.1.1"
# A proxy in front of an EMR that is down
AWAY = frozenset({HTTPStatus.BAD_GATEWAY, HTTPStatus.SERVICE_UNAVAILABLE, HTTPStatus.GATEWAY_TIMEOUT})


def probe_of(destination: AnyDestination, calling_ae_title: str) -> Probe:
    """How to knock at one receiver."""
    match destination:
        case DicomDestination():
            return partial(echo, destination, destination.calling_ae_title or calling_ae_title)
        case DicomwebDestination():
            return partial(search, destination)
        case FhirDestination():
            return partial(metadata, destination)
        case Hl7Destination():
            return partial(connect, destination)
        case FolderDestination():
            return partial(folder, destination)


def echo(destination: DicomDestination, calling_ae_title: str) -> None:
    """An association for C-ECHO; a rejection is an answer too. Raises Unreachable."""
    from pynetdicom import AE  # noqa: PLC0415  only who knocks at a PACS pays for it

    name = destination.name
    where = destination.host, destination.port
    knock(name, *where, timeout_seconds=TIMEOUT_SECONDS, tls=destination.tls)
    entity = AE(ae_title=calling_ae_title)
    entity.add_requested_context(VERIFICATION)
    entity.connection_timeout = entity.acse_timeout = entity.dimse_timeout = TIMEOUT_SECONDS
    try:
        tls_args = client_args(destination.tls, destination.host)
    except OSError as error:
        raise Unreachable(name, "certificate") from error
    association = associate(entity, *where, ae_title=destination.ae_title, tls_args=tls_args)
    if association.is_established:
        try:
            association.send_c_echo()
        finally:
            release(association)
    elif not association.is_rejected and not association.rejected_contexts:
        raise Unreachable(name, "no association")


def search(destination: DicomwebDestination) -> None:
    """A search for one study; whatever the status says, somebody is there. Raises Unreachable."""
    from hoichan.adapters.stow_client import StowClient  # noqa: PLC0415

    status = StowClient(destination, timeout_seconds=TIMEOUT_SECONDS).knock()
    if status in AWAY:
        raise Unreachable(destination.name, f"HTTP {status}")


def metadata(destination: FhirDestination) -> None:
    """GET /metadata; whatever the status says, somebody is there. Raises Unreachable."""
    import httpx2  # noqa: PLC0415

    tls = destination.tls
    try:
        verify = client_context(tls) if tls is not None else True
    except OSError as error:
        raise Unreachable(destination.name, "certificate") from error
    try:
        address = str(destination.url).rstrip("/") + "/metadata"
        answer = httpx2.get(address, timeout=TIMEOUT_SECONDS, verify=verify)
    except httpx2.TransportError as error:
        raise Unreachable(destination.name, reason_of(error)) from error
    if answer.status_code in AWAY:
        raise Unreachable(destination.name, f"HTTP {answer.status_code}")


def connect(destination: Hl7Destination) -> None:
    """A connection, and the TLS handshake where there is one: MLLP has no echo. Raises Unreachable."""
    knock(
        destination.name,
        destination.host,
        destination.port,
        timeout_seconds=TIMEOUT_SECONDS,
        tls=destination.tls,
    )


def folder(destination: FolderDestination) -> None:
    """Whether the folder, or the nearest one above that is there, can be written. Raises Unreachable."""
    place: Path = destination.path.absolute()
    while not place.exists() and place != place.parent:
        place = place.parent
    if not os.access(place, os.W_OK | os.X_OK):
        raise Unreachable(destination.name, "no_permission")
