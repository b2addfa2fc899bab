"""The signed report as a page on paper: PDF, A4, with the words that were signed and who signed them.

No warning of an unread result stands on it, and no number that no person stands for. The same review gives
the same bytes.
"""

from __future__ import annotations

from collections.abc import Mapping
from io import BytesIO
from xml.sax.saxutils import escape

from reportlab.lib.pagesizes import A4
from reportlab.lib.units import mm
from reportlab.pdfgen.canvas import Canvas
from reportlab.platypus import Flowable, KeepTogether, Paragraph, SimpleDocTemplate, Spacer

from hoichan.encoding.page import (
    MARGIN,
    QUIET,
    REGULAR,
    WORDS,
    patient_table,
    picture_flowable,
    register_fonts,
    style,
)
from hoichan.encoding.source import DocumentContext
from hoichan.reporting.review_words import HEADINGS, KINDS, REASON_OF
from hoichan.reporting.volume_verdicts import HEADING as VOLUMES
from hoichan.reporting.volume_verdicts import volume_lines
from hoichan.types import Review

SIGNED = {
    "vi": {
        "signed_by": "Bác sĩ đọc kết quả",
        "licence": "Số chứng chỉ hành nghề",
        "signed_at": "Ký lúc",
        "digest": "Mã băm nội dung (SHA-256)",
        "replaces": "Thay cho kết quả",
    },
    "en": {
        "signed_by": "Read and signed by",
        "licence": "Licence number",
        "signed_at": "Signed at",
        "digest": "Hash of the content (SHA-256)",
        "replaces": "Replaces the result",
    },
}


def encode_signed_page(context: DocumentContext, review: Review, picture: bytes) -> bytes:
    """The PDF. `picture`: the film as JPEG with nothing of a machine over it; b"" where there is none."""
    register_fonts()
    stream = BytesIO()
    words = WORDS[review.language]  # the page is in one language: that of who signed
    title = KINDS[review.kind.value][review.language]
    document = SimpleDocTemplate(
        stream,
        pagesize=A4,
        leftMargin=MARGIN,
        rightMargin=MARGIN,
        topMargin=MARGIN,
        bottomMargin=MARGIN + 6 * mm,
        title=title,
        author=review.reviewer_name,
        lang=review.language,
        invariant=1,
    )
    story: list[Flowable] = [
        Paragraph(escape(context.institution_name), style("site", 9.5, colour=QUIET, after=2)),
        Paragraph(escape(title), style("title", 15, bold=True, after=6)),
        patient_table(context, words),
        Spacer(1, 4 * mm),
        *_sections(review),
        *_volumes(context, review),
    ]
    if picture:
        story += [Spacer(1, 3 * mm), picture_flowable(picture)]
    story += [Spacer(1, 5 * mm), KeepTogether(signature_lines(context, review))]

    def frame(canvas: Canvas, _document: object) -> None:
        _frame(canvas, context, words)

    document.build(story, onFirstPage=frame, onLaterPages=frame)
    return stream.getvalue()


def _sections(review: Review) -> list[Flowable]:
    heading, text = style("heading", 10.5, bold=True, after=1), style("text", 10.5, after=5)
    strong = style("conclusion", 11.5, bold=True, after=5)
    story: list[Flowable] = []
    for name in ("description", "comparison", "conclusion", "recommendation"):
        said = getattr(review.sections, name).reveal().strip()
        if said:
            body = escape(said).replace("\n", "<br/>")
            story.append(Paragraph(escape(HEADINGS[name][review.language]), heading))
            story.append(Paragraph(body, strong if name == "conclusion" else text))
    if review.reason and review.kind.value in REASON_OF:
        story.append(Paragraph(escape(REASON_OF[review.kind.value][review.language]), heading))
        story.append(Paragraph(escape(review.reason).replace("\n", "<br/>"), text))
    return story


def _volumes(context: DocumentContext, review: Review) -> list[Flowable]:
    """The numbers that the person stands for; nothing where there are none."""
    lines = volume_lines(context.report, review, review.language)
    if not lines:
        return []
    heading, text = style("heading", 10.5, bold=True, after=1), style("text", 10.5, after=5)
    body = "<br/>".join(escape(line) for line in lines)
    return [Paragraph(escape(VOLUMES[review.language]), heading), Paragraph(body, text)]


def signature_lines(context: DocumentContext, review: Review) -> list[Flowable]:
    """Who signed, when by the site's clock, and what."""
    words = SIGNED[review.language]
    moment = review.signed_at.astimezone(context.site_zone)
    small, strong = style("note", 8, colour=QUIET, after=1), style("signer", 11, bold=True, after=2)
    lines = [
        f"{words['licence']}: {review.licence_number}",
        f"{words['signed_at']}: {moment:%H:%M:%S %d/%m/%Y}",
        f"{words['digest']}: {review.content_sha256}",
        f"{WORDS[review.language]['report']}: {review.report_uid}",
    ]
    if review.predecessor != review.judged:
        lines.append(f"{words['replaces']}: {review.predecessor}")
    return [
        Paragraph(escape(words["signed_by"]), small),
        Paragraph(escape(review.reviewer_name), strong),
        *(Paragraph(escape(line), small) for line in lines),
        Spacer(1, 2 * mm),
        Paragraph(escape(context.report.disclaimer[review.language]), small),
    ]


def _frame(canvas: Canvas, context: DocumentContext, words: Mapping[str, str]) -> None:
    width, _ = A4
    canvas.saveState()
    canvas.setFillColor(QUIET)
    canvas.setFont(REGULAR, 8)
    canvas.drawString(MARGIN, 10 * mm, context.institution_name)
    canvas.drawRightString(width - MARGIN, 10 * mm, f"{words['page']} {canvas.getPageNumber()}")
    canvas.restoreState()
