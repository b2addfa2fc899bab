"""What does a receiver do with each form of our results? A labelled test study is sent, form by form.

What was stored is only half of the answer: whether it shows is for the person at the screen to say. From both
comes the destination's profile.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from io import BytesIO
from pathlib import Path
from tempfile import TemporaryDirectory

from hoichan.adapters.encoder import DocumentEncoder
from hoichan.adapters.sink_dicomweb import DicomwebSink
from hoichan.adapters.sink_dimse import DimseSink
from hoichan.adapters.spool_disk import DiskSpool
from hoichan.encoding.specimen import COLUMNS, ROWS, specimen
from hoichan.errors import Refused, Unreachable
from hoichan.intake.dataset import read_spooled
from hoichan.intake.files import take_in
from hoichan.reporting import compose
from hoichan.reporting.deliveries import SEG_FORMS
from hoichan.settings import AnyDestination, DicomDestination, DicomwebDestination, Settings
from hoichan.types import (
    Delivery,
    DeliveryState,
    Document,
    DocumentKind,
    Evidence,
    Finding,
    GraphicType,
    InferenceResult,
    ModelManifest,
    Presence,
    Refusal,
    RefusalCode,
    Report,
    SOPInstanceUID,
    Study,
    StudyInstanceUID,
)
from service.trial_outlines import outlines

PacsDestination = DicomDestination | DicomwebDestination
SENDER = "HOICHAN_TEST"
# Each with how it is named to the person at the screen; the film first, because the others speak of it. The
# segmentations bring the slices that they outline; the note comes last, because it takes the others back.
FORMS: Mapping[str, DocumentKind | None] = {
    "film": None,
    "sc": DocumentKind.SC,
    "gsps": DocumentKind.GSPS,
    "sr": DocumentKind.SR,
    "sr-comprehensive": DocumentKind.SR_COMPREHENSIVE,
    "sr-enhanced": DocumentKind.SR_ENHANCED,
    "seg": DocumentKind.SEG,
    "seg-fractional": DocumentKind.SEG_FRACTIONAL,
    "pdf": DocumentKind.PDF,
    "kos": DocumentKind.KOS,
}
EVERYTHING = ("sr", "sc", "gsps", "pdf", "kos")
_SEG_NAMES = {form: str(kind) for form, kind in SEG_FORMS.items()}  # the plain one first
_SR_CLASSES = {"sr": "comprehensive_3d", "sr-comprehensive": "comprehensive", "sr-enhanced": "enhanced"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Tried:
    """What came of one form."""

    form: str  # into FORMS
    stored: bool
    detail: str  # the receiver's status or refusal


def trial(
    settings: Settings,
    destination: PacsDestination,
    manifest: ModelManifest,
    *,
    now: datetime,
    patient_id: str,
) -> Iterator[Tried]:
    """Sends every form alone, in the order of FORMS. Ends after the film where nothing gets through."""
    with TemporaryDirectory(prefix="hoichan-trial-") as folder:
        documents = _documents(settings, destination, manifest, Path(folder), now, patient_id)
        at_once = destination.model_copy(update={"wait_for_images_seconds": 0})  # the film goes first
        sink = (
            DimseSink(at_once, settings.listener.ae_title)
            if isinstance(at_once, DicomDestination)
            else DicomwebSink(at_once)
        )
        study = str(specimen(now, patient_id=patient_id).StudyInstanceUID)
        for form in FORMS:
            delivery = delivery_of(at_once, documents[form][-1], now, study)
            kinds = tuple(dict.fromkeys(one.kind for one in documents[form]))
            try:
                answer = sink.deliver(replace(delivery, documents=kinds), documents[form])
                tried = Tried(form=form, stored=True, detail=answer)
            except (Refused, Unreachable) as error:
                tried = Tried(form=form, stored=False, detail=str(error))
            yield tried
            if form == "film" and not tried.stored:
                return


def profile(stored: Collection[str], shown: Collection[str], *, took_back: bool) -> dict[str, object]:
    """`send`, `sr_class` and `seg_form` of the receiver, from what it stored and what a person saw of it."""
    send = [name for name in ("sc", "gsps") if name in stored and name in shown]
    forms = [name for name in _SR_CLASSES if name in stored]
    seen = [name for name in forms if name in shown]
    if forms:
        send.append("sr")  # a structured report that no viewer shows is still read by other programs
    drawn = [form for form, name in _SEG_NAMES.items() if name in stored and name in shown]
    if drawn:
        send.append("seg")
    if "pdf" in stored and "pdf" in shown:
        send.append("pdf")
    if "kos" in stored and took_back:
        send.append("kos")
    newest_shows = not seen or seen[0] == forms[0]
    found: dict[str, object] = {
        "send": send,
        "sr_class": "auto" if newest_shows else _SR_CLASSES[seen[0]],
    }
    return {**found, "seg_form": drawn[0]} if drawn else found


def _documents(
    settings: Settings,
    destination: PacsDestination,
    manifest: ModelManifest,
    folder: Path,
    now: datetime,
    patient_id: str,
) -> dict[str, Sequence[Document]]:
    """Every form by its name, with what it speaks of; the note takes the first report back."""
    spool = DiskSpool(folder, reserve_bytes=0)
    film = specimen(now, patient_id=patient_id)
    stream = BytesIO()
    film.save_as(stream, enforce_file_format=True)
    take_in(spool, stream.getvalue(), calling_ae_title=SENDER)
    (spooled,) = spool.listing(film.StudyInstanceUID)
    study = replace(read_spooled(spool, spooled, settings.site.zone), revision=1)
    asked = destination.model_copy(update={"send": EVERYTHING, "sr_class": "auto"})
    encoder = DocumentEncoder(spool, settings.model_copy(update={"destinations": (asked,)}))
    first = trial_report(study, manifest, now)
    made: Sequence[Document] = encoder.encode(study, first)
    second = replace(study, revision=2)
    withdrawn = encoder.encode(second, _withdrawal(second, manifest, first, now))
    by_kind = {document.kind: document for document in made}
    by_kind[DocumentKind.KOS] = next(one for one in withdrawn if one.kind is DocumentKind.KOS)
    images = Document(
        kind=DocumentKind.SC,
        uid=str(film.SOPInstanceUID),
        sop_class_uid=str(film.SOPClassUID),
        media_type="application/dicom",
        content=stream.getvalue(),
    )
    made_of: dict[DocumentKind | None, Sequence[Document]] = {kind: [one] for kind, one in by_kind.items()}
    made_of |= outlines(study, settings.site, now, patient_id=patient_id) | {None: [images]}
    return {form: made_of[kind] for form, kind in FORMS.items()}


def trial_report(study: Study, manifest: ModelManifest, now: datetime) -> Report:
    """A report with one finding and a box: not what a model said, but what our results look like."""
    output = next(output for output in manifest.outputs if output.enabled)
    instance = study.instances[0]
    left, top, right, bottom = COLUMNS * 0.15, ROWS * 0.55, COLUMNS * 0.45, ROWS * 0.9
    finding = Finding(
        key=output.finding_key,
        presence=Presence.PRESENT,
        probability=0.99,
        operating_point=output.operating_point,
        calibration="none",
        tier=output.tier,
        evidence=(
            Evidence(
                referenced_sop_instance_uid=instance.sop_instance_uid,
                graphic_type=GraphicType.POLYLINE,
                graphic_data=(left, top, right, top, right, bottom, left, bottom, left, top),
                method="test pattern",
            ),
        ),
        algorithm_name=manifest.algorithm_name,
        algorithm_version=manifest.algorithm_version,
        sop_instance_uid=instance.sop_instance_uid,
    )
    made = compose(
        study,
        results=(_result(study, manifest, now),),
        findings=(finding,),
        refusals=(),
        manifests=(manifest,),
        predecessor=None,
        now=now,
    )
    words = {language: f"TEST. {text}" for language, text in made.disclaimer.items()}
    return replace(made, disclaimer=words)


def _result(study: Study, manifest: ModelManifest, now: datetime) -> InferenceResult:
    """Stands for a model's answer, so that the report says that there was one."""
    instance = study.instances[0]
    return InferenceResult(
        study_instance_uid=study.study_instance_uid,
        revision=study.revision,
        series_instance_uid=study.series[0].series_instance_uid,
        sop_instance_uid=instance.sop_instance_uid,
        sop_class_uid=instance.sop_class_uid,
        algorithm_name=manifest.algorithm_name,
        algorithm_version=manifest.algorithm_version,
        weights_sha256=manifest.weights_sha256,
        logits={},
        gate=1.0,
        rows=ROWS,
        columns=COLUMNS,
        started_at=now,
        ended_at=now,
        provider="test pattern",
    )


def _withdrawal(study: Study, manifest: ModelManifest, former: Report, now: datetime) -> Report:
    refusal = Refusal(
        code=RefusalCode.REJECTED_IMAGE,
        algorithm_name=manifest.algorithm_name,
        series_instance_uid=study.series[0].series_instance_uid,
    )
    return compose(
        study,
        results=(),
        findings=(),
        refusals=(refusal,),
        manifests=(),
        considered=(manifest,),
        predecessor=former.report_uid,
        now=now,
    )


def delivery_of(destination: AnyDestination, document: Document, now: datetime, study: str = "") -> Delivery:
    """A delivery of this document alone; `study`: its Study Instance UID, where the receiver wants it."""
    return Delivery(
        report_uid=SOPInstanceUID(document.uid),
        study_instance_uid=StudyInstanceUID(study),
        destination=destination.name,
        kind=destination.kind,
        documents=(document.kind,),
        idempotency_key=f"{document.uid}:{destination.name}",
        state=DeliveryState.PENDING,
        attempts=0,
        next_attempt_at=now,
        acknowledgement=None,
    )
