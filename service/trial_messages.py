"""What does an EMR or RIS do with our messages? Labelled test reports are sent, one a form, and taken back.

The patient has to be there already, under the number that is tried: nobody is created. Each form is about a
study of its own, so that the person at the screen sees them beside each other.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from io import BytesIO
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from hoichan.adapters.encoder import DocumentEncoder
from hoichan.adapters.sink_fhir import FhirSink
from hoichan.adapters.sink_mllp import MllpSink
from hoichan.adapters.spool_disk import DiskSpool
from hoichan.encoding.retraction import withdraw
from hoichan.encoding.specimen import specimen
from hoichan.errors import Refused, Unreachable
from hoichan.intake.dataset import read_spooled
from hoichan.intake.files import take_in
from hoichan.settings import FhirDestination, Hl7Destination, Settings
from hoichan.types import Document, DocumentKind, ModelManifest
from service.trial import SENDER, Tried, delivery_of, trial_report

MessageDestination = FhirDestination | Hl7Destination
PDF_BYTES = 1024**2
# What differs from the destination as it is configured; how each is named to the person at the screen.
FHIR_FORMS: Mapping[str, dict[str, Any]] = {
    "partial": {"unread_status": "partial"},
    "preliminary": {"unread_status": "preliminary"},
}
HL7_FORMS: Mapping[str, dict[str, Any]] = {
    "r": {"unread_status": "R", "charset": "utf-8", "pdf_maximum_bytes": 0},
    "p": {"unread_status": "P", "charset": "utf-8", "pdf_maximum_bytes": 0},
    "ascii": {"unread_status": "R", "charset": "ascii", "pdf_maximum_bytes": 0},
    "pdf": {"unread_status": "R", "charset": "utf-8", "pdf_maximum_bytes": PDF_BYTES},
}


def forms_of(destination: MessageDestination) -> Mapping[str, dict[str, Any]]:
    """What is tried at a destination of this kind."""
    return FHIR_FORMS if isinstance(destination, FhirDestination) else HL7_FORMS


class MessageTrial:
    """One run: `send`, then a person looks, then `take_back`."""

    def __init__(
        self, settings: Settings, destination: MessageDestination, manifest: ModelManifest, *, now: datetime
    ) -> None:
        """`now` is aware; it makes the studies of two runs different."""
        self._settings = settings
        self._destination = destination
        self._manifest = manifest
        self._now = now
        self._sent: dict[str, Document] = {}

    def send(self, patient_id: str) -> Iterator[Tried]:
        """A report in each form."""
        for number, form in enumerate(forms_of(self._destination)):
            document = self._document(form, self._now + timedelta(minutes=number), patient_id)
            tried = self._deliver(form, document)
            if tried.stored:
                self._sent[form] = document
            yield tried

    def sent_before(self, patient_id: str, forms: Collection[str]) -> None:
        """Go on with what another run sent at the same `now`: the same documents are made again."""
        for number, form in enumerate(forms_of(self._destination)):
            if form in forms:
                self._sent[form] = self._document(form, self._now + timedelta(minutes=number), patient_id)

    def take_back(self) -> Iterator[Tried]:
        """Mark what was sent as wrong."""
        language = self._settings.site.language
        for form, document in self._sent.items():
            (withdrawn,) = withdraw([document], language=language, now=self._now + timedelta(hours=1))
            yield self._deliver(form, withdrawn)

    def _document(self, form: str, now: datetime, patient_id: str) -> Document:
        asked = self._as(form)
        with TemporaryDirectory(prefix="hoichan-trial-") as folder:
            spool = DiskSpool(Path(folder), reserve_bytes=0)
            film = specimen(now, patient_id=patient_id)
            film.AccessionNumber = f"TEST{now:%H%M%S}"
            stream = BytesIO()
            film.save_as(stream, enforce_file_format=True)
            take_in(spool, stream.getvalue(), calling_ae_title=SENDER)
            (spooled,) = spool.listing(film.StudyInstanceUID)
            study = replace(read_spooled(spool, spooled, self._settings.site.zone), revision=1)
            encoder = DocumentEncoder(spool, self._settings.model_copy(update={"destinations": (asked,)}))
            made = encoder.encode(study, trial_report(study, self._manifest, now))
        wanted = DocumentKind.FHIR if isinstance(asked, FhirDestination) else DocumentKind.HL7
        return next(one for one in made if one.kind is wanted)

    def _deliver(self, form: str, document: Document) -> Tried:
        asked = self._as(form)
        sink = FhirSink(asked) if isinstance(asked, FhirDestination) else MllpSink(asked)
        try:
            answer = sink.deliver(delivery_of(asked, document, self._now), [document])
        except (Refused, Unreachable) as error:
            return Tried(form=form, stored=False, detail=str(error))
        return Tried(form=form, stored=True, detail=answer)

    def _as(self, form: str) -> MessageDestination:
        return self._destination.model_copy(update=forms_of(self._destination)[form])


def message_profile(destination: MessageDestination, shown: Collection[str]) -> dict[str, object]:
    """Settings of the destination, from what a person saw; the less final status wherever both show."""
    if isinstance(destination, FhirDestination):
        partial = "partial" in shown or "preliminary" not in shown
        return {"unread_status": "partial" if partial else "preliminary"}
    received = bool({"r", "ascii", "pdf"} & set(shown)) or "p" not in shown
    letters = bool({"r", "p", "pdf"} & set(shown)) or "ascii" not in shown
    return {
        "unread_status": "R" if received else "P",
        "charset": "utf-8" if letters else "ascii",
        "pdf_maximum_bytes": PDF_BYTES if "pdf" in shown else 0,
    }
