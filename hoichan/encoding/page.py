"""The report as one page on paper: PDF, A4, with the patient, the answer, the picture and the warning.

For receivers that show documents only, and for printing. The same report gives the same bytes.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from io import BytesIO
from xml.sax.saxutils import escape

from reportlab.lib.colors import Color, HexColor, white
from reportlab.lib.pagesizes import A4
from reportlab.lib.styles import ParagraphStyle
from reportlab.lib.units import mm
from reportlab.pdfbase import pdfmetrics
from reportlab.pdfbase.ttfonts import TTFont
from reportlab.pdfgen.canvas import Canvas
from reportlab.platypus import Flowable, Image, KeepTogether, Paragraph, SimpleDocTemplate, Spacer, Table

from hoichan.encoding.captions import Caption, Mark
from hoichan.encoding.source import DocumentContext
from hoichan.types import Tier

MARGIN = 16 * mm
WIDTH = A4[0] - 2 * MARGIN - 12  # points; the frame keeps 6 on each side
PICTURE_HEIGHT = 112 * mm
REGULAR, BOLD = "HoiChan", "HoiChan-Bold"
INK, QUIET, WARNING, RULE = HexColor("#1a2126"), HexColor("#5b6670"), HexColor("#8a1c14"), HexColor("#c9d0d5")
TIER_COLOURS: Mapping[Tier, Color] = {
    Tier.CRITICAL: HexColor("#b3261e"),
    Tier.URGENT: HexColor("#b85c00"),
    Tier.ROUTINE: HexColor("#2e5f8a"),
}
WORDS: Mapping[str, Mapping[str, str]] = {
    "vi": {
        "title": "Kết quả phân tích hình ảnh bằng AI",
        "name": "Họ và tên",
        "id": "Mã người bệnh",
        "born": "Ngày sinh",
        "sex": "Giới tính",
        "study": "Ngày chụp",
        "accession": "Số phiếu",
        "description": "Kỹ thuật",
        "made": "Lập lúc",
        "report": "Mã kết quả",
        "M": "Nam",
        "F": "Nữ",
        "O": "Khác",
        "page": "Trang",
    },
    "en": {
        "title": "AI image analysis result",
        "name": "Name",
        "id": "Patient ID",
        "born": "Date of birth",
        "sex": "Sex",
        "study": "Study date",
        "accession": "Accession number",
        "description": "Procedure",
        "made": "Made at",
        "report": "Result UID",
        "M": "Male",
        "F": "Female",
        "O": "Other",
        "page": "Page",
    },
}


def encode_page(context: DocumentContext, caption: Caption, picture: bytes, *others: bytes) -> bytes:
    """The PDF. `caption`: the words of the picture; `picture`: itself as JPEG; `others`: of other films."""
    register_fonts()
    stream = BytesIO()
    words = WORDS[context.language]
    document = SimpleDocTemplate(
        stream,
        pagesize=A4,
        leftMargin=MARGIN,
        rightMargin=MARGIN,
        topMargin=MARGIN + 10 * mm,
        bottomMargin=MARGIN + 6 * mm,
        title=words["title"],
        author=context.institution_name,
        subject=caption.banner,
        lang=context.language,
        invariant=1,
    )
    story = [
        Paragraph(escape(words["title"]), style("title", 15, bold=True, after=2)),
        Paragraph(escape(context.institution_name), style("site", 9.5, colour=QUIET, after=6)),
        patient_table(context, words),
        Spacer(1, 4 * mm),
        *_answer(caption),
        Spacer(1, 3 * mm),
        picture_flowable(picture),
        Spacer(1, 3 * mm),
        *(part for one in others for part in (picture_flowable(one), Spacer(1, 3 * mm))),
        KeepTogether([*_notes(context, caption, words)]),
    ]

    def frame(canvas: Canvas, _document: object) -> None:
        _frame(canvas, caption, words)

    document.build(story, onFirstPage=frame, onLaterPages=frame)
    return stream.getvalue()


def _frame(canvas: Canvas, caption: Caption, words: Mapping[str, str]) -> None:
    """On every page: the warning above, who says what this is below."""
    width, height = A4
    canvas.saveState()
    canvas.setFillColor(WARNING)
    canvas.rect(0, height - 13 * mm, width, 13 * mm, stroke=0, fill=1)
    canvas.setFillColor(white)
    canvas.setFont(BOLD, 11.5)
    canvas.drawCentredString(width / 2, height - 8.3 * mm, caption.banner)
    canvas.setFillColor(QUIET)
    canvas.setFont(REGULAR, 8)
    canvas.drawString(MARGIN, 10 * mm, caption.footer)
    canvas.drawRightString(width - MARGIN, 10 * mm, f"{words['page']} {canvas.getPageNumber()}")
    canvas.restoreState()


def patient_table(context: DocumentContext, words: Mapping[str, str]) -> Table:
    """Who it is about, and what was done."""
    study = context.study
    patient = study.patient
    born = patient.patient_birth_date
    taken = study.study_datetime.astimezone(context.site_zone) if study.study_datetime else None
    made = context.report.created_at.astimezone(context.site_zone)
    pairs = [
        (words["name"], _plain_name(patient.patient_name.reveal())),
        (words["id"], patient.patient_id.reveal()),
        (words["born"], f"{born.reveal():%d/%m/%Y}" if born else ""),
        (words["sex"], words.get(patient.patient_sex or "", "")),
        (words["study"], f"{taken:%d/%m/%Y %H:%M}" if taken else ""),
        (words["accession"], study.accession_number or ""),
        (words["description"], study.study_description or ""),
        (words["made"], f"{made:%d/%m/%Y %H:%M}"),
    ]
    label, value = style("label", 8, colour=QUIET), style("value", 9.5)
    cells = [[Paragraph(escape(name), label), Paragraph(escape(text) or "–", value)] for name, text in pairs]
    rows = [cells[at] + cells[at + 1] for at in range(0, len(cells), 2)]
    table = Table(rows, colWidths=[WIDTH * part for part in (0.14, 0.40, 0.16, 0.30)])
    table.setStyle(
        [
            ("LINEABOVE", (0, 0), (-1, 0), 0.6, RULE),
            ("LINEBELOW", (0, -1), (-1, -1), 0.6, RULE),
            ("VALIGN", (0, 0), (-1, -1), "TOP"),
            ("TOPPADDING", (0, 0), (-1, -1), 1.5),
            ("BOTTOMPADDING", (0, 0), (-1, -1), 1.5),
            ("LEFTPADDING", (0, 0), (0, -1), 0),
        ]
    )
    return table


def _answer(caption: Caption) -> list[Flowable]:
    colour = WARNING if caption.warning else INK
    story: list[Flowable] = [
        Paragraph(escape(caption.title), style("heading", 12, bold=True, colour=colour, after=3))
    ]
    if caption.message:
        story.append(Paragraph(escape(caption.message), style("message", 10.5, after=3)))
    if caption.marks:
        story.append(_marks(caption.marks))
    if caption.below:
        below = "; ".join(f"{name} {number}" for name, number in caption.below)
        story.append(
            Paragraph(
                f"{escape(caption.below_title)}: {escape(below)}", style("below", 8.5, colour=QUIET, after=2)
            )
        )
    return story


def _marks(marks: tuple[Mark, ...]) -> Table:
    strong, small = style("mark", 10.5, bold=True), style("detail", 9)
    rows = []
    for mark in marks:
        tier = style(f"tier-{mark.tier.value}", 9, bold=True, colour=TIER_COLOURS[mark.tier])
        detail = escape(mark.detail) + (f"<br/>{escape(mark.elsewhere)}" if mark.elsewhere else "")
        rows.append(
            [
                Paragraph(f"{mark.number}.", strong),
                Paragraph(escape(mark.name), strong),
                Paragraph(detail, small),
                Paragraph(escape(mark.tier_name), tier),
            ]
        )
    table = Table(rows, colWidths=[WIDTH * part for part in (0.05, 0.37, 0.36, 0.22)])
    table.setStyle(
        [
            ("VALIGN", (0, 0), (-1, -1), "TOP"),
            ("LINEBELOW", (0, 0), (-1, -1), 0.4, RULE),
            ("LEFTPADDING", (0, 0), (0, -1), 0),
            ("BOTTOMPADDING", (0, 0), (-1, -1), 3),
        ]
    )
    return table


def picture_flowable(picture: bytes) -> Image:
    """A picture as large as the page has room for."""
    image = Image(BytesIO(picture))
    scale = min(WIDTH / image.imageWidth, PICTURE_HEIGHT / image.imageHeight)
    image.drawWidth, image.drawHeight = image.imageWidth * scale, image.imageHeight * scale
    return image


def _notes(context: DocumentContext, caption: Caption, words: Mapping[str, str]) -> list[Flowable]:
    lines = [*caption.notes, caption.legend, caption.standing]
    lines.append(f"{words['report']}: {context.report.report_uid}")
    small = style("note", 8, colour=QUIET, after=1)
    return [Paragraph(escape(line), small) for line in lines if line]


def _plain_name(name: str) -> str:
    """A PN as people write it: the first group, family name first as in Vietnam."""
    return " ".join(part for part in name.split("=", maxsplit=1)[0].split("^") if part)


def style(
    name: str, size: float, *, bold: bool = False, colour: Color = INK, after: float = 0
) -> ParagraphStyle:
    """A style of our page; sizes in points."""
    return ParagraphStyle(
        name,
        fontName=BOLD if bold else REGULAR,
        fontSize=size,
        leading=size * 1.32,
        textColor=colour,
        spaceAfter=after,
        splitLongWords=True,
    )


@cache
def register_fonts() -> None:
    """The fonts that ship with us: reportlab's own know no Vietnamese."""
    for name, file in ((REGULAR, "DejaVuSansCondensed.ttf"), (BOLD, "DejaVuSansCondensed-Bold.ttf")):
        data = files("hoichan.encoding").joinpath("fonts", file).read_bytes()
        pdfmetrics.registerFont(TTFont(name, BytesIO(data)))
