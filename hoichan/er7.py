"""HL7 v2 messages as text: values to segments and back (HL7 v2.5.1 chapter 2, "ER7").

Strict out: the delimiters are always `|^~\\&`, and whatever text a value holds, the receiver reads the same
text. Lenient in: other delimiters, LF or CRLF between segments, old code pages and broken escapes are read as
well as they can be. Written here and not taken from a library: ADR-0005.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from hoichan.errors import MessageUnreadable

Component = str | tuple[str, ...]  # text, or its subcomponents
Repetition = str | tuple[Component, ...]  # text, or its components
Field = Repetition | list[Repetition]  # one value, or several

SEGMENT_END = "\r"
NULL = '""'  # "delete what you have" (2.5.3.3); a text of two quotation marks must not say that

_ESCAPED = {"|": "\\F\\", "^": "\\S\\", "&": "\\T\\", "~": "\\R\\", "\\": "\\E\\"}
_SPECIAL = re.compile(r"[|^&~\\\x00-\x1f\x7f]")
_FORMATTING = {".br": "\n", ".sp": "\n", ".ce": "\n", ".sk": " "}  # 2.7.6; the others carry no text
_SEQUENCES = (
    r"[FSTREHN]|X(?:[0-9A-Fa-f]{2})+|C[0-9A-Fa-f]{4}|M[0-9A-Fa-f]{4,6}"
    r"|\.(?:br|sp|fi|nf|in|ti|sk|ce)[+-]?\d{0,3}"
)
_CODE_PAGES = {"8859/1": "latin-1", "8859/2": "iso8859-2", "8859/15": "iso8859-15", "BIG-5": "big5"}
_LIKE = str.maketrans(  # what NFKD does not take apart
    {"đ": "d", "Đ": "D", "–": "-", "—": "-", "≥": ">=", "≤": "<=", "×": "x", "•": "*"}
    | {"“": '"', "”": '"', "‘": "'", "’": "'"}
)


# ------------------------------------------------------------------ out
def escape(text: str) -> str:
    """The text with delimiters and control characters as escape sequences (2.7.1, 2.7.5); never a null."""
    if text == NULL:
        return "\\X22\\" + '"'
    return _SPECIAL.sub(_sequence, text)


def _sequence(match: re.Match[str]) -> str:
    character = match.group()
    if character == "\n":
        return "\\.br\\"
    return _ESCAPED.get(character) or f"\\X{ord(character):02X}\\"


def transliterate(text: str) -> str:
    """The text in ASCII: "Tràn dịch màng phổi" -> "Tran dich mang phoi"; what has no like becomes "?"."""
    plain = unicodedata.normalize("NFKD", text.translate(_LIKE))
    plain = "".join(character for character in plain if not unicodedata.combining(character))
    return plain.encode("ascii", "replace").decode("ascii")


def segment(name: str, fields: Mapping[int, Field]) -> str:
    """One segment, without its end; `fields` by their number, so that no value can slip a place.

    MSH-1 and MSH-2 are set here. Empty components at the end are left out.
    """
    first = 1
    parts = [name]
    if name == "MSH":
        parts, first = ["MSH", r"^~\&"], 3
    for number in range(first, max(fields, default=0) + 1):
        parts.append(_field(fields.get(number, "")))
    return "|".join(parts).rstrip("|") if name != "MSH" else "|".join(parts)


def _field(value: Field) -> str:
    if isinstance(value, list):
        return "~".join(_repetition(item) for item in value)
    return _repetition(value)


def _repetition(value: Repetition) -> str:
    return escape(value) if isinstance(value, str) else "^".join(map(_component, value)).rstrip("^")


def _component(value: Component) -> str:
    return escape(value) if isinstance(value, str) else "&".join(map(escape, value)).rstrip("&")


# ------------------------------------------------------------------ in
@dataclass(frozen=True, slots=True, kw_only=True)
class Delimiters:
    """The five characters that MSH-1 and MSH-2 declare."""

    field: str = "|"
    component: str = "^"
    repetition: str = "~"
    escape: str = "\\"
    subcomponent: str = "&"


_OURS = Delimiters()


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Segment:
    """One segment as it came. Not printable: it may hold anything of a patient."""

    name: str
    fields: tuple[str, ...]  # raw; fields[0] is field 1
    delimiters: Delimiters

    def raw(self, number: int) -> str:
        """Field `number` (1, 2, ...) with its delimiters and escapes; "" when absent."""
        return self.fields[number - 1] if 0 < number <= len(self.fields) else ""

    def repetitions(self, number: int) -> tuple[str, ...]:
        """The raw repetitions of a field that hold anything."""
        return tuple(part for part in self.raw(number).split(self.delimiters.repetition) if part)

    def text(self, number: int, component: int = 1, subcomponent: int = 1) -> str:
        """One subcomponent of the first repetition, unescaped, NFC, trimmed; "" when absent or null."""
        first = self.raw(number).split(self.delimiters.repetition)[0]
        return self.part(first, component, subcomponent)

    def part(self, repetition: str, component: int, subcomponent: int = 1) -> str:
        """The same of a given raw repetition."""
        components = repetition.split(self.delimiters.component)
        if component > len(components):
            return ""
        parts = components[component - 1].split(self.delimiters.subcomponent)
        if subcomponent > len(parts) or parts[subcomponent - 1] == NULL:
            return ""
        return unicodedata.normalize("NFC", unescape(parts[subcomponent - 1], self.delimiters)).strip()


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Message:
    """The segments of one message, in order. Not printable."""

    segments: tuple[Segment, ...]  # the first is MSH

    @property
    def header(self) -> Segment:
        """MSH, whose field 1 is the delimiter itself, as the standard counts."""
        return self.segments[0]

    @property
    def control_id(self) -> str:
        """MSH-10."""
        return self.header.text(10)

    def first(self, name: str) -> Segment | None:
        """The first segment of that name."""
        return next(self.all(name), None)

    def all(self, name: str) -> Iterator[Segment]:
        """Every segment of that name."""
        return (segment for segment in self.segments if segment.name == name)


def read(content: bytes) -> Message:
    """A message from its bytes, without the MLLP frame. Raises MessageUnreadable when there is no MSH."""
    text = _decode(content)
    lines = [line.lstrip() for line in re.split(r"[\r\n]+", text.lstrip("\ufeff \t\r\n\v"))]
    delimiters = _delimiters(lines[0])
    segments = []
    for line in lines:
        name, *fields = line.split(delimiters.field)
        if name == "MSH":
            fields = [delimiters.field, *fields]
        if re.fullmatch(r"[A-Z][A-Z0-9]{2}", name):
            segments.append(Segment(name=name, fields=tuple(fields), delimiters=delimiters))
    return Message(segments=tuple(segments))


def unescape(text: str, delimiters: Delimiters = _OURS) -> str:
    """The text behind the escape sequences (2.7); what is no sequence of the standard stays as it came."""
    mark = re.escape(delimiters.escape)
    return re.sub(f"{mark}({_SEQUENCES}){mark}", lambda match: _unescaped(match.group(1), delimiters), text)


def _unescaped(body: str, delimiters: Delimiters) -> str:
    letters = {
        "F": delimiters.field,
        "S": delimiters.component,
        "T": delimiters.subcomponent,
        "R": delimiters.repetition,
        "E": delimiters.escape,
    }
    if body.startswith("X"):
        return bytes.fromhex(body[1:]).decode("utf-8", "replace")
    return letters.get(body) or _FORMATTING.get(body[:3], "")


def _delimiters(line: str) -> Delimiters:
    if not line.startswith("MSH") or len(line) < 5 or line[3].isalnum():
        raise MessageUnreadable("It does not begin with an MSH segment.")
    field = line[3]
    declared = line[4:].split(field, maxsplit=1)[0]
    defaults = ("^", "~", "\\", "&")
    chosen = tuple(declared[place] if place < len(declared) else defaults[place] for place in range(4))
    if len({field, *chosen}) != 5:
        raise MessageUnreadable("MSH-1 and MSH-2 declare the same delimiter twice.")
    component, repetition, escaping, subcomponent = chosen
    return Delimiters(
        field=field,
        component=component,
        repetition=repetition,
        escape=escaping,
        subcomponent=subcomponent,
    )


def _decode(content: bytes) -> str:
    """UTF-8 where it is UTF-8, whatever MSH-18 says; else the declared page, else that of old Windows."""
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError:
        pass
    for page in (*_declared_pages(content), "cp1258"):
        try:
            return unicodedata.normalize("NFC", content.decode(page))
        except UnicodeDecodeError:
            continue
    return content.decode("latin-1")


def _declared_pages(content: bytes) -> Sequence[str]:
    fields = re.split(rb"[\r\n]", content, maxsplit=1)[0].split(content[3:4] or b"|")
    declared = fields[17].decode("ascii", "replace").strip().upper() if len(fields) > 17 else ""
    return [_CODE_PAGES[declared]] if declared in _CODE_PAGES else []
