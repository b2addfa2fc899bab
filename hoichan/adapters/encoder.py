"""The Encoder port: reads the source image, and writes a report as picture, SR, FHIR bundle and HL7."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

import structlog
from pydicom import Dataset, config, dcmread
from pydicom.errors import InvalidDicomError

from hoichan import __version__
from hoichan.adapters.films_read import FilmsRead
from hoichan.analysis.imaging import DECODING_ERRORS, read_film
from hoichan.encoding.captions import Caption, caption
from hoichan.encoding.overlay import Grey, Picture, jpeg, render
from hoichan.encoding.source import DocumentContext, KeyImage, document_context, key_image
from hoichan.errors import InputOutOfDomain
from hoichan.ports import Spool
from hoichan.reporting.deliveries import SEG_FORMS, wanted
from hoichan.settings import Hl7Destination, Settings
from hoichan.types import Document, DocumentKind, Report, ReportObject, Review, Study

log = structlog.get_logger()

Drawn = tuple[DocumentContext, int, Picture]  # of one film: its context, its number in the study, its picture
MOST_ON_PAGE = 4  # pictures


class DocumentEncoder:
    """Encodes for one site. The same study and report give the same bytes."""

    def __init__(
        self,
        spool: Spool,
        settings: Settings,
        former: Callable[[str], Sequence[ReportObject]] | None = None,
        films: FilmsRead | None = None,
    ) -> None:
        """`former`: the objects of an earlier report, by its UID; None: its SR and first picture alone.

        `films`: those that the models read.
        """
        self._spool = spool
        self._films_read = films
        self._former = former
        self._site = settings.site
        self._pades = settings.pades
        self._wanted = {
            kind for destination in settings.effective_destinations for kind in wanted(destination)
        }
        forms = [form for form, kind in SEG_FORMS.items() if kind in self._wanted]
        self._segmentations = forms[0] if forms else ""  # the SR refers to one form, the binary one first
        self._hl7_destinations = [
            destination
            for destination in settings.effective_destinations
            if isinstance(destination, Hl7Destination)
        ]

    def encode(self, study: Study, report: Report) -> Sequence[Document]:
        """The picture, the SR that points to it, the bundle, and whatever else the destinations ask for.

        An image that is gone or damaged never stops a report: the picture then carries the words only.
        """
        # highdicom takes a second to import, and the page and the door never need it.
        from hoichan.encoding.fhir import encode_fhir  # noqa: PLC0415
        from hoichan.encoding.hl7 import hl7_document  # noqa: PLC0415
        from hoichan.encoding.sr import encode_sr  # noqa: PLC0415

        # pydicom's warnings and value checks quote the data set; an odd value is carried on as it came.
        with warnings.catch_warnings(), config.disable_value_validation():
            warnings.simplefilter("ignore")
            key = key_image(study, report)
            source = self._read(key)
            context = document_context(
                study,
                report,
                source=source,
                site=self._site,
                software_version=__version__,
                segmentations=self._segmentations,
            )
            if report.review is not None:
                return tuple(self._signed(context, report.review, self._film(context)))
            pictures = self._drawn(context)
            picture = pictures[0][2]
            page = self._page(context, [one for _, _, one in pictures])
            report_sr = _dicom_document(DocumentKind.SR, encode_sr(context))
            return (
                *_captures(pictures),
                *self._outlines(context),
                report_sr,
                *self._more(context, page, report_sr),
                _bundle(
                    DocumentKind.FHIR, context.uid("fhir"), encode_fhir(context, self._site, jpeg(picture))
                ),
                *(hl7_document(context, destination, page) for destination in self._hl7_destinations),
            )

    def _signed(self, context: DocumentContext, review: Review, film: Grey | None) -> Iterator[Document]:
        """What leaves after a signature: no picture of a machine, and the page always."""
        from hoichan.encoding.fhir import encode_fhir  # noqa: PLC0415
        from hoichan.encoding.fhir_imr import encode_imr  # noqa: PLC0415
        from hoichan.encoding.hl7 import hl7_document  # noqa: PLC0415
        from hoichan.encoding.overlay import plain_film  # noqa: PLC0415
        from hoichan.encoding.page_signed import encode_signed_page  # noqa: PLC0415
        from hoichan.encoding.sr import encode_sr  # noqa: PLC0415

        page = encode_signed_page(context, review, plain_film(film) if film is not None else b"")
        if self._pades is not None:  # the same signed bytes go into every form
            from hoichan.adapters.page_seal import PageSeal  # noqa: PLC0415

            page = PageSeal(self._pades).sign(page, review)
        report_sr = _dicom_document(DocumentKind.SR, encode_sr(context))
        yield report_sr
        yield from self._more(context, page, report_sr)
        bundle = encode_fhir(context, self._site, b"", page)
        yield _bundle(DocumentKind.FHIR, context.uid("fhir"), bundle)
        if DocumentKind.IMR in self._wanted:
            yield _bundle(DocumentKind.IMR, context.uid("imr"), encode_imr(context, review, bundle))
        for destination in self._hl7_destinations:
            yield hl7_document(context, destination, page)

    def _drawn(self, context: DocumentContext) -> list[Drawn]:
        """The picture of each film with its place in the study, the key image's first."""
        made = [
            (of_film, number, _picture(of_film, self._film(of_film)))
            for number, of_film in enumerate(self._films(context), start=1)
        ]
        return sorted(made, key=lambda one: one[0] is not context)

    def _marks(self, context: DocumentContext) -> Iterator[Document]:
        """A presentation state over each film on which there is something to draw."""
        from hoichan.encoding.gsps import encode_gsps  # noqa: PLC0415

        drawn = (encode_gsps(of_film, number) for number, of_film in enumerate(self._films(context), start=1))
        for part, document in enumerate((one for one in drawn if one is not None), start=1):
            yield replace(_dicom_document(DocumentKind.GSPS, document), part=part)

    def _films(self, context: DocumentContext) -> Iterator[DocumentContext]:
        """The context of each film that has a picture, in the study's order; itself for the key image."""
        from hoichan.encoding.images import drawn_films  # noqa: PLC0415

        films = drawn_films(context.study, context.report)
        if context.key not in films:
            yield context
        for film in films:
            yield context if film == context.key else replace(context, key=film, source=self._read(film))

    def _page(self, context: DocumentContext, pictures: Sequence[Picture]) -> bytes:
        """The report as PDF where somebody takes it, else nothing."""
        asked = any(destination.pdf_maximum_bytes for destination in self._hl7_destinations)
        if not asked and DocumentKind.PDF not in self._wanted:
            return b""
        from hoichan.encoding.page import encode_page  # noqa: PLC0415

        return encode_page(context, _caption(context), *(jpeg(one) for one in pictures[:MOST_ON_PAGE]))

    def _more(self, context: DocumentContext, page: bytes, newest: Document) -> Iterator[Document]:
        """The DICOM forms that are only made where a destination asks for them."""
        from hoichan.encoding.kos import encode_kos  # noqa: PLC0415
        from hoichan.encoding.pdf import encode_pdf  # noqa: PLC0415
        from hoichan.encoding.sr import COMPREHENSIVE_SR, ENHANCED_SR  # noqa: PLC0415
        from hoichan.encoding.sr_forms import older_form  # noqa: PLC0415

        makers: dict[DocumentKind, Callable[[], Dataset | None]] = {
            DocumentKind.SR_COMPREHENSIVE: lambda: older_form(newest.content, COMPREHENSIVE_SR),
            DocumentKind.SR_ENHANCED: lambda: older_form(newest.content, ENHANCED_SR),
            DocumentKind.KOS: lambda: encode_kos(context, self._former),
            DocumentKind.PDF: lambda: encode_pdf(context, page),
        }
        for kind, make in makers.items():
            made = make() if kind in self._wanted else None
            if made is not None:
                yield _dicom_document(kind, made)
        if DocumentKind.GSPS in self._wanted and context.report.review is None:  # the machine's boxes
            yield from self._marks(context)

    def _outlines(self, context: DocumentContext) -> Iterator[Document]:
        """What networks for volumes outlined, in the forms that destinations ask for."""
        from hoichan.adapters.encoder_seg import encode_segmentations  # noqa: PLC0415

        for form, kind in SEG_FORMS.items():
            if kind in self._wanted and context.report.volumes:
                for part, one in enumerate(encode_segmentations(context, self._spool, form), start=1):
                    yield replace(_dicom_document(kind, one), part=part)

    def _film(self, context: DocumentContext) -> Grey | None:
        """The film of the context's image, as the models saw it where they looked at it just now."""
        read = None
        if self._films_read is not None and context.source is not None and context.key is not None:
            read = self._films_read.take(self._spool.file(context.key.instance.path))
        return read.pixels if read is not None else _film(context.source)

    def _read(self, key: KeyImage | None) -> Dataset | None:
        if key is None:
            return None
        try:
            source = dcmread(self._spool.file(key.instance.path))
            _drop_unreadable(source)
            return source
        except (InvalidDicomError, *DECODING_ERRORS) as error:
            log.warning(
                "source_unreadable",
                sop_instance_uid=key.instance.sop_instance_uid,
                error=type(error).__name__,
            )
            return None


def _captures(pictures: Sequence[Drawn]) -> Iterator[Document]:
    """A Secondary Capture of each picture."""
    from hoichan.encoding.sc import encode_sc  # noqa: PLC0415

    for part, (of_film, number, picture) in enumerate(pictures, start=1):
        document = _dicom_document(DocumentKind.SC, encode_sc(of_film, picture, number))
        yield replace(document, part=part)


def _drop_unreadable(data_set: Dataset) -> None:
    """Takes out the values that cannot be decoded, so that none of them can stop a report later."""
    for tag in list(data_set.keys()):
        try:
            element = data_set[tag]
        except DECODING_ERRORS:
            del data_set[tag]
        else:
            if element.VR == "SQ":
                for item in element.value:
                    _drop_unreadable(item)


def _film(source: Dataset | None) -> Grey | None:
    """The grey film, or None when its pixels cannot be shown."""
    if source is None or "PixelData" not in source:
        return None
    try:
        return read_film(source).pixels
    except InputOutOfDomain:
        return None


def _picture(context: DocumentContext, film: Grey | None) -> Picture:
    return render(film, _caption(context))


def _caption(context: DocumentContext) -> Caption:
    instance = context.key.instance if context.key is not None else None
    return caption(
        context.report,
        sop_instance_uid=instance.sop_instance_uid if instance is not None else None,
        rows=(instance.rows if instance is not None else None) or 1,
        columns=(instance.columns if instance is not None else None) or 1,
        language=context.language,
    )


def _bundle(kind: DocumentKind, uid: str, content: bytes) -> Document:
    return Document(
        kind=kind, uid=uid, sop_class_uid=None, media_type="application/fhir+json", content=content
    )


def _dicom_document(kind: DocumentKind, dataset: Dataset) -> Document:
    from hoichan.encoding.bytes_of import bytes_of  # noqa: PLC0415

    return Document(
        kind=kind,
        uid=str(dataset.SOPInstanceUID),
        sop_class_uid=str(dataset.SOPClassUID),
        media_type="application/dicom",
        content=bytes_of(dataset),
    )
