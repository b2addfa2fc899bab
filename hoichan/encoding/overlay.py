"""The picture every viewer can show: the film in grey, a calm map where the model looked, words beside it.

Nothing is written over the film but thin boxes and their numbers; the words stand in a panel, so that the
picture stays readable at the size a PACS gives it. It carries no text about the patient. Pure: arrays in,
array out.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from importlib.resources import files
from io import BytesIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from hoichan.encoding.captions import Caption, Mark
from hoichan.types import GraphicType, Tier

WIDTH = 1024  # pixels of the whole picture
HEIGHT = 1024  # at most
LEAST_HEIGHT = 640
PANEL = 330  # pixels, the words at the right
BANNER = 46
MARGIN = 14
GAP = 8
MOST_IN_FULL = 5  # findings listed in full and drawn; where there are more, each is one line of the list
TALLEST_FILM = HEIGHT - BANNER - 2 * MARGIN - 76

Colour = tuple[int, int, int]
BACKGROUND: Colour = (14, 16, 20)
BANNER_GROUND: Colour = (74, 52, 8)
BANNER_TEXT: Colour = (255, 220, 140)
TEXT: Colour = (232, 236, 240)
QUIET: Colour = (160, 168, 178)
LINE: Colour = (52, 58, 66)
MAP: Colour = (255, 128, 24)
CONTOUR: Colour = (255, 176, 84)
WARNING: Colour = (255, 190, 92)
TIERS: dict[Tier, Colour] = {
    Tier.CRITICAL: (255, 104, 96),
    Tier.URGENT: (255, 190, 92),
    Tier.ROUTINE: (140, 204, 255),
}

MAP_FLOOR = 0.35  # below this strength the map is not drawn
MAP_TINT = 0.45  # at full strength: how far the film's grey turns into the map's colour, its detail kept
MAP_GLOW = 26.0  # grey levels of 255 added at full strength, so that the map also shows over dark lung
CONTOUR_AT = 0.6
CONTOUR_OPACITY = 0.75

Grey = NDArray[np.float32]
Picture = NDArray[np.uint8]


def render(film: Grey | None, caption: Caption) -> Picture:
    """(rows, columns, 3) uint8 RGB, at most 1024 x 1024.

    `film` is (rows, columns) float32, 0..1, bright = dense; None when it cannot be shown.
    """
    film_size = _film_size(film)
    footer = _footer_lines(caption)
    footer_height = sum(_line_height(font) for _, font, _ in footer) + 2 * MARGIN - 6
    body = max(film_size[1] + 2 * MARGIN, LEAST_HEIGHT - BANNER - footer_height)
    height = min(HEIGHT, BANNER + body + footer_height)
    canvas = Image.new("RGB", (WIDTH, height), BACKGROUND)
    draw = ImageDraw.Draw(canvas)

    _draw_banner(draw, caption.banner)
    area_width = WIDTH - PANEL
    bottom = height - footer_height
    if film is not None:
        left = MARGIN + (area_width - 2 * MARGIN - film_size[0]) // 2
        top = BANNER + (bottom - BANNER - film_size[1]) // 2
        canvas.paste(_film_with_map(film, film_size, caption.marks), (left, top))
        _draw_marks(draw, caption.marks, left, top, film_size)
    _draw_panel(draw, caption, area_width + 6, BANNER + MARGIN, bottom)
    _draw_footer(draw, footer, bottom)
    return np.asarray(canvas, dtype=np.uint8)


def jpeg(picture: Picture, quality: int = 88) -> bytes:
    """The picture as JPEG, for receivers without DICOM."""
    stream = BytesIO()
    Image.fromarray(picture).save(stream, "JPEG", quality=quality, optimize=True)
    return stream.getvalue()


def plain_film(film: Grey, longest: int = 900) -> bytes:
    """The film alone as JPEG, `longest` pixels at most; nothing over it. `film`: float32, 0..1."""
    grey = Image.fromarray((np.clip(film, 0, 1) * 255).round().astype(np.uint8))
    grey.thumbnail((longest, longest), Image.Resampling.BOX)
    return jpeg(np.asarray(grey))


@cache
def _font(size: int, bold: bool = False) -> ImageFont.FreeTypeFont:
    name = "DejaVuSansCondensed-Bold.ttf" if bold else "DejaVuSansCondensed.ttf"
    data = files("hoichan.encoding").joinpath("fonts", name).read_bytes()
    return ImageFont.truetype(BytesIO(data), size, layout_engine=ImageFont.Layout.BASIC)


def _line_height(font: ImageFont.FreeTypeFont) -> int:
    return int(font.size * 1.32)


def _film_size(film: Grey | None) -> tuple[int, int]:
    """(width, height) in the picture; proportions kept."""
    if film is None:
        return (0, 0)
    rows, columns = film.shape
    scale = min((WIDTH - PANEL - 2 * MARGIN) / columns, TALLEST_FILM / rows)
    return max(1, round(columns * scale)), max(1, round(rows * scale))


def _film_with_map(film: Grey, size: tuple[int, int], marks: Sequence[Mark]) -> Image.Image:
    """The film in grey and, over it, the strongest of the marks' maps in one colour."""
    grey = Image.fromarray(np.ascontiguousarray(film, dtype=np.float32)).resize(
        size, Image.Resampling.BOX if film.shape[0] > 2 * size[1] else Image.Resampling.BICUBIC
    )
    base = np.clip(np.asarray(grey, dtype=np.float32), 0.0, 1.0) * np.float32(255)
    picture = np.repeat(np.rint(base).astype(np.uint8)[..., None], 3, axis=2)
    maps = [_enlarged(mark.heatmap, size) for mark in marks if mark.heatmap is not None]
    if maps:
        strength = np.maximum.reduce(maps)
        under = strength > MAP_FLOOR  # elsewhere the film stays as it is
        weight = np.clip((strength[under] - MAP_FLOOR) / (1 - MAP_FLOOR), 0.0, 1.0)
        colour = _tinted(np.repeat(base[under][:, None], 3, axis=1), weight)
        edge = _contour(strength >= CONTOUR_AT)[under] * CONTOUR_OPACITY
        picture[under] = np.rint(_blend(colour, CONTOUR, edge)).astype(np.uint8)
    return Image.fromarray(picture)


def _enlarged(heatmap: NDArray[np.float32], size: tuple[int, int]) -> Grey:
    """A map over exactly the film, at the film's size in the picture; (rows, columns), 0..1."""
    image = Image.fromarray(np.ascontiguousarray(heatmap, dtype=np.float32))
    return np.clip(np.asarray(image.resize(size, Image.Resampling.BICUBIC), dtype=np.float32), 0.0, 1.0)


def _contour(mask: NDArray[np.bool_]) -> Grey:
    """1 on the inner edge of the mask, one pixel wide."""
    inner = mask.copy()
    for axis in (0, 1):
        for shift in (1, -1):
            inner &= np.roll(mask, shift, axis=axis)
    inner[0, :] &= False
    inner[-1, :] &= False
    inner[:, 0] &= False
    inner[:, -1] &= False
    return (mask & ~inner).astype(np.float32)


def _tinted(base: Grey, weight: Grey) -> Grey:
    """The film seen through a coloured glass: multiplied, so that every detail of it stays."""
    glass = 1 - MAP_TINT * (1 - np.asarray(MAP, dtype=np.float32) / 255)
    glow = MAP_GLOW * np.asarray(MAP, dtype=np.float32) / 255
    strength = weight[..., None]
    tinted: Grey = np.clip(base * (1 - strength * (1 - glass)) + strength * glow, 0, 255)
    return tinted


def _blend(base: Grey, colour: Colour, opacity: Grey) -> Grey:
    weight = opacity[..., None]
    blended: Grey = base * (1 - weight) + np.asarray(colour, dtype=np.float32) * weight
    return blended


def _draw_marks(
    draw: ImageDraw.ImageDraw, marks: Sequence[Mark], left: int, top: int, size: tuple[int, int]
) -> None:
    taken: list[tuple[int, int]] = []
    for mark in marks[:MOST_IN_FULL]:  # more boxes would hide the film
        if mark.graphic_type is None:
            continue
        points = [(left + x * (size[0] - 1), top + y * (size[1] - 1)) for x, y in mark.points]
        colour = TIERS[mark.tier]
        xs, ys = [x for x, _ in points], [y for _, y in points]
        box = (min(xs), min(ys), max(xs), max(ys))
        if mark.graphic_type is GraphicType.POINT:
            x, y = points[0]
            box = (x - 7, y - 7, x + 7, y + 7)
            draw.ellipse(box, outline=colour, width=2)
        elif mark.graphic_type is GraphicType.ELLIPSE:
            draw.ellipse(box, outline=colour, width=2)
        else:
            draw.line([*points, points[0]], fill=colour, width=2, joint="curve")
        corner = (round(box[0]), max(top, round(box[1]) - 20))
        while any(abs(corner[0] - x) < 22 and abs(corner[1] - y) < 20 for x, y in taken):
            corner = (corner[0] + 22, corner[1])
        taken.append(corner)
        _draw_number(draw, mark.number, corner, colour)


def _draw_number(draw: ImageDraw.ImageDraw, number: int, at: tuple[int, int], colour: Colour) -> None:
    draw.rectangle((*at, at[0] + 20, at[1] + 19), fill=colour)
    draw.text((at[0] + 10, at[1] + 10), str(number), font=_font(15, bold=True), fill=BACKGROUND, anchor="mm")


def _draw_banner(draw: ImageDraw.ImageDraw, text: str) -> None:
    draw.rectangle((0, 0, WIDTH, BANNER - 1), fill=BANNER_GROUND)
    draw.text((WIDTH // 2, BANNER // 2), text, font=_font(25, bold=True), fill=BANNER_TEXT, anchor="mm")


def _draw_panel(draw: ImageDraw.ImageDraw, caption: Caption, left: int, top: int, bottom: int) -> None:
    """Title, marks, what stayed below its threshold, notes; the legend at the foot."""
    right = WIDTH - MARGIN
    y = _paragraph(
        draw, caption.title, (left, top, right), _font(22, bold=True), WARNING if caption.warning else TEXT
    )
    y += GAP // 2
    if caption.message:
        y = _paragraph(draw, caption.message, (left, y, right), _font(18), TEXT) + GAP
    for mark in caption.marks:
        y = _draw_listed(draw, mark, (left, y, right), compact=len(caption.marks) > MOST_IN_FULL)
    legend_lines = _wrap(caption.legend, _font(15), right - left - 40)
    floor = bottom - MARGIN - (len(legend_lines) * _line_height(_font(15)) + GAP if caption.legend else 0)
    y = _draw_below(draw, caption, (left, y, right), floor)
    for note in caption.notes:
        if y + _line_height(_font(15)) <= floor:
            y = _paragraph(draw, note, (left, y, right), _font(15), QUIET) + GAP // 2
    if caption.legend:
        _draw_legend(draw, legend_lines, left, floor + GAP)


def _draw_listed(draw: ImageDraw.ImageDraw, mark: Mark, place: tuple[int, int, int], *, compact: bool) -> int:
    """One finding in the panel, in full or, where there are many, in one line; returns the y under it."""
    left, y, right = place
    colour = TIERS[mark.tier]
    _draw_number(draw, mark.number, (left, y + 2), colour)
    if compact:
        draw.text((right, y), mark.score, font=_font(17), fill=TEXT, anchor="ra")
        return _paragraph(draw, mark.name, (left + 30, y, right - 46), _font(17, bold=True), TEXT) + 3
    y = _paragraph(draw, mark.name, (left + 30, y, right), _font(20, bold=True), TEXT)
    y = _paragraph(draw, mark.detail, (left + 30, y, right), _font(15), TEXT)
    y = _paragraph(draw, mark.tier_name, (left + 30, y, right), _font(16), colour)
    if mark.elsewhere:
        y = _paragraph(draw, mark.elsewhere, (left + 30, y, right), _font(16), QUIET)
    return y + GAP


def _draw_below(draw: ImageDraw.ImageDraw, caption: Caption, place: tuple[int, int, int], floor: int) -> int:
    """The names below threshold, as many as there is room for; returns the y under them."""
    left, y, right = place
    if not caption.below:
        return y
    font = _font(16)
    step = _line_height(font)
    draw.line((left, y + 2, right, y + 2), fill=LINE)
    y = _paragraph(draw, caption.below_title, (left, y + GAP + 2, right), _font(16, bold=True), QUIET) + 2
    room = max(0, (floor - y - step * len(caption.notes) * 2) // step)
    shown = caption.below if len(caption.below) <= room else caption.below[: max(0, room - 1)]
    for name, number in shown:
        draw.text((left, y), name, font=font, fill=QUIET)
        draw.text((right, y), number, font=font, fill=QUIET, anchor="ra")
        y += step
    if len(shown) < len(caption.below):
        draw.text((left, y), f"+ {len(caption.below) - len(shown)}", font=font, fill=QUIET)
        y += step
    return y + GAP


def _draw_legend(draw: ImageDraw.ImageDraw, lines: Sequence[str], left: int, top: int) -> None:
    """A ramp of the map's colour from nothing to full strength, and what it means."""
    height = len(lines) * _line_height(_font(15)) - 4
    grey = np.full((height, 1, 3), 150, dtype=np.float32)
    ramp = _tinted(grey, np.linspace(1, 0, height, dtype=np.float32)[:, None])[:, 0]
    for row, shade in enumerate(np.rint(ramp).astype(int)):
        draw.line((left + 6, top + row, left + 18, top + row), fill=tuple(map(int, shade)))
    draw.rectangle((left + 5, top - 1, left + 19, top + height), outline=CONTOUR)
    for number, line in enumerate(lines):
        draw.text((left + 30, top + number * _line_height(_font(15))), line, font=_font(15), fill=QUIET)


def _footer_lines(caption: Caption) -> list[tuple[str, ImageFont.FreeTypeFont, Colour]]:
    """The models' standing in the warning colour, then the footer."""
    width = WIDTH - 2 * MARGIN
    parts = ((caption.standing, _font(16, bold=True), WARNING), (caption.footer, _font(15), QUIET))
    return [(line, font, colour) for text, font, colour in parts for line in _wrap(text, font, width)]


def _draw_footer(
    draw: ImageDraw.ImageDraw, lines: Sequence[tuple[str, ImageFont.FreeTypeFont, Colour]], top: int
) -> None:
    draw.line((0, top, WIDTH, top), fill=LINE)
    y = top + MARGIN - 4
    for line, font, colour in lines:
        draw.text((MARGIN, y), line, font=font, fill=colour)
        y += _line_height(font)


def _paragraph(
    draw: ImageDraw.ImageDraw,
    text: str,
    place: tuple[int, int, int],
    font: ImageFont.FreeTypeFont,
    colour: Colour,
) -> int:
    """Text between left and right from y on; returns the y under it."""
    left, y, right = place
    for line in _wrap(text, font, right - left):
        draw.text((left, y), line, font=font, fill=colour)
        y += _line_height(font)
    return y


def _wrap(text: str, font: ImageFont.FreeTypeFont, width: int) -> list[str]:
    """Lines no wider than `width` pixels; a single word that is wider stands alone."""
    lines: list[str] = []
    for word in text.split():
        if lines and font.getlength(f"{lines[-1]} {word}") <= width:
            lines[-1] = f"{lines[-1]} {word}"
        else:
            lines.append(word)
    return lines
