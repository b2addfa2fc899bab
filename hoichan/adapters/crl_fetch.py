"""A revocation list by its URL: fetched in time, checked, and kept in the file that the doors read.

The line needs no secrecy and no proof of its own: the list is signed by the authority (RFC 5280 5). What
another signed, an ended list, and one that is older than the kept one are thrown away. The kept file outlives
a restart; once it has ended nobody gets in until a newer one was fetched.
"""

from __future__ import annotations

import os
import threading
import weakref
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import structlog
from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import Encoding

from hoichan.adapters.objects_disk import sync_folder

log = structlog.get_logger()

TIMEOUT_SECONDS = 10.0
MOST_BYTES = 20_000_000
LOOK_SECONDS = 60.0  # between two looks whether it is time
WITHOUT_END = timedelta(days=1)  # a list that does not say when the next comes


class ListRefused(Exception):
    """What came is no list of the authority that counts now. Its text is a reason for the log."""


class FetchedList:
    """The list of one authority."""

    def __init__(
        self, url: str, file: Path, ca: Path, *, now: Callable[[], datetime] = lambda: datetime.now(UTC)
    ) -> None:
        """`file`: where it is kept, PEM. `ca`: PEM of who may sign it."""
        self._url, self._file, self._ca, self._now = url, file, ca, now

    def is_due(self) -> bool:
        """Whether a newer one should be asked for: half of the kept one's time is over, or there is none."""
        kept = self._kept()
        if kept is None:
            return True
        begin = kept.last_update_utc
        end = kept.next_update_utc or begin + 2 * WITHOUT_END
        return self._now() >= begin + (end - begin) / 2

    def fetch(self) -> bool:
        """Ask for it and keep it; False, and a line in the log, where that did not succeed."""
        import httpx2  # noqa: PLC0415  few sites have a list

        try:
            with httpx2.stream("GET", self._url, timeout=TIMEOUT_SECONDS) as answer:
                if answer.status_code != httpx2.codes.OK:
                    raise ListRefused(f"HTTP {answer.status_code}")
                content = b""
                for piece in answer.iter_bytes():
                    content += piece
                    if len(content) > MOST_BYTES:
                        raise ListRefused("too_large")
            self._keep(self._checked(content))
        except (ListRefused, httpx2.HTTPError, OSError) as error:
            reason = str(error) if isinstance(error, ListRefused) else type(error).__name__
            log.error("revocation_list_not_fetched", reason=reason)
            return False
        log.info("revocation_list_fetched")
        return True

    def keep_fresh(self, owner: object) -> None:
        """Fetch it when it is time, in a thread that ends with its owner."""
        stop = threading.Event()
        weakref.finalize(owner, stop.set)
        threading.Thread(target=self._run, args=(stop,), name="revocation-list", daemon=True).start()

    def _run(self, stop: threading.Event) -> None:
        while not stop.wait(LOOK_SECONDS):
            if self.is_due():
                self.fetch()

    def _checked(self, content: bytes) -> x509.CertificateRevocationList:
        try:
            pem = content.lstrip().startswith(b"-----BEGIN")
            found = x509.load_pem_x509_crl(content) if pem else x509.load_der_x509_crl(content)
            authorities = x509.load_pem_x509_certificates(self._ca.read_bytes())
            signers = [one for one in authorities if one.subject == found.issuer]
            signed = any(found.is_signature_valid(one.public_key()) for one in signers)  # type: ignore[arg-type]
        except (ValueError, TypeError, UnsupportedAlgorithm) as error:
            raise ListRefused("unreadable") from error
        if not signed:
            raise ListRefused("not_of_the_authority")
        if found.next_update_utc is not None and found.next_update_utc <= self._now():
            raise ListRefused("ended")
        kept = self._kept()
        if kept is not None and kept.issuer == found.issuer and found.last_update_utc < kept.last_update_utc:
            raise ListRefused("older_than_the_kept_one")
        return found

    def _keep(self, found: x509.CertificateRevocationList) -> None:
        part = self._file.with_name(f"{self._file.name}.{os.getpid()}.part")
        with part.open("wb") as file:
            file.write(found.public_bytes(Encoding.PEM))
            file.flush()
            os.fsync(file.fileno())
        part.replace(self._file)
        sync_folder(self._file.parent)

    def _kept(self) -> x509.CertificateRevocationList | None:
        try:
            return x509.load_pem_x509_crl(self._file.read_bytes())
        except (OSError, ValueError):
            return None
