"""A PACS that is asked by QIDO-RS and gives by WADO-RS (PS3.18 10.4, 10.6), each instance as it is kept."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime, tzinfo
from typing import Any

import httpx2

from hoichan.adapters.http_source import LARGEST_BYTES, HttpSource, Params, Session
from hoichan.adapters.query_dimse import since_day
from hoichan.adapters.source_intake import SourceIntake
from hoichan.errors import Unreachable
from hoichan.intake.door import is_uid
from hoichan.multipart import Multipart, MultipartBroken, PartBegins, PartData, media_type
from hoichan.ports import Changes, Fetched, Holding, Spool
from hoichan.settings import DicomwebSource, sender_title
from hoichan.types import Patient, SeriesInstanceUID, SOPInstanceUID, StudyInstanceUID

JSON = "application/dicom+json"
DICOM = 'multipart/related; type="application/dicom"; transfer-syntax=*'
PAGE = 200  # studies or instances in one answer
STUDY_UID, SERIES_UID, SOP_UID = "0020000D", "0020000E", "00080018"
BODY_PART = "00180015"
MODALITIES, COUNT, STUDY_DATE, STUDY_TIME = "00080061", "00201208", "00080020", "00080030"


class DicomwebArchive:
    """One PACS; see `hoichan.ports.Archive`. The mark is the moment of the last question."""

    def __init__(
        self,
        source: DicomwebSource,
        spool: Spool,
        *,
        zone: tzinfo,
        transport: httpx2.BaseTransport | None = None,
    ) -> None:
        self._source = source
        self._spool = spool
        self._zone = zone
        self._http = HttpSource(source, transport=transport)

    def changes(self, mark: str | None, *, now: datetime) -> Changes:
        """Studies of the days since the mark, less the window."""
        since = since_day(mark, now, self._source.window_hours, self._zone)
        with self._http.session() as session:
            found = self._studies(session, {"StudyDate": f"{since}-"})
        return Changes(holdings=found, mark=now.isoformat(timespec="seconds"))

    def holding(self, study: StudyInstanceUID) -> Holding | None:
        """One study with the number of its instances; None when it is not there."""
        with self._http.session() as session:
            found = self._studies(session, {"StudyInstanceUID": study})
        return next((one for one in found if one.study_instance_uid == study), None)

    def instances(self, study: StudyInstanceUID) -> Mapping[SOPInstanceUID, SeriesInstanceUID]:
        """Every instance of a study, with its series."""
        with self._http.session() as session:
            return {
                SOPInstanceUID(uid): SeriesInstanceUID(series)
                for one in _pages(
                    session, f"studies/{study}/instances", {"includefield": [SERIES_UID]}, SOP_UID
                )
                if is_uid(uid := _text(one, SOP_UID)) and is_uid(series := _text(one, SERIES_UID))
            }

    def studies_of(self, patient: Patient) -> Sequence[Holding]:
        """Never asked: a URL would carry the patient's number (see the settings of this kind)."""
        return []

    def body_parts(self, study: StudyInstanceUID) -> Sequence[str]:
        """Of the series of a study; servers may leave the attribute out."""
        with self._http.session() as session:
            found = _pages(session, f"studies/{study}/series", {"includefield": [BODY_PART]}, SERIES_UID)
            return [text for one in found if (text := _text(one, BODY_PART))]

    def fetch(self, study: StudyInstanceUID, wanted: Mapping[SOPInstanceUID, SeriesInstanceUID]) -> Fetched:
        """By WADO-RS, one instance after another."""
        intake = SourceIntake(self._spool, study, sender=sender_title(self._source))
        with intake.open(), self._http.session() as session:
            for uid, series in wanted.items():
                path = f"studies/{study}/series/{series}/instances/{uid}"
                with session.stream(path, accept=DICOM) as answer:
                    if answer is None:
                        intake.fail("source.instance_gone")
                        continue
                    for file in self._files(*answer):
                        intake.take(file)
        return intake.outcome

    def _files(self, content_type: str, body: Iterator[bytes]) -> Iterator[bytes]:
        """The files of a multipart answer; some servers give one file without any part."""
        kind, parameters = media_type(content_type)
        if kind == "application/dicom":
            yield self._whole(body)
            return
        try:
            multipart = Multipart(parameters.get("boundary", ""))
            part: bytearray | None = None
            for chunk in body:
                for event in multipart.feed(chunk):
                    if isinstance(event, PartBegins):
                        part = bytearray()
                    elif isinstance(event, PartData):
                        part = _grown(part, event.data, self._source.name)
                    elif part is not None:
                        yield bytes(part)
                        part = None
            multipart.close()
        except MultipartBroken:
            raise Unreachable(self._source.name, "the answer is broken") from None

    def _whole(self, body: Iterator[bytes]) -> bytes:
        file: bytearray | None = None
        for chunk in body:
            file = _grown(file, chunk, self._source.name)
        return bytes(file or b"")

    def _studies(self, session: Session, match: Mapping[str, str]) -> list[Holding]:
        params: Params = {**match, "includefield": [COUNT, MODALITIES]}
        found = _pages(session, "studies", params, STUDY_UID)
        return [_holding(one, self._zone) for one in found if is_uid(_text(one, STUDY_UID))]


def _pages(session: Session, path: str, params: Params, key: str) -> Iterator[Mapping[str, Any]]:
    """Every result, page by page, each once: servers may cap a page, or not know `offset`."""
    seen: set[str] = set()
    while True:
        page = session.get(path, {**params, "limit": PAGE, "offset": len(seen)}, accept=JSON) or []
        fresh = [one for one in page if isinstance(one, dict) and _text(one, key) not in seen]
        if not fresh:
            return
        seen.update(_text(one, key) for one in fresh)
        yield from fresh


def _values(one: Mapping[str, Any], tag: str) -> list[Any]:
    """The values of an attribute in the DICOM JSON model (PS3.18 F.2)."""
    element = one.get(tag)
    values = element.get("Value") if isinstance(element, dict) else None
    return values if isinstance(values, list) else []


def _text(one: Mapping[str, Any], tag: str) -> str:
    values = _values(one, tag)
    return str(values[0]) if values else ""


def _holding(one: Mapping[str, Any], zone: tzinfo) -> Holding:
    count = _text(one, COUNT)
    return Holding(
        study_instance_uid=StudyInstanceUID(_text(one, STUDY_UID)),
        instances=int(count) if count.isdecimal() else None,
        modalities=tuple(str(value).upper() for value in _values(one, MODALITIES)),
        study_datetime=moment(_text(one, STUDY_DATE), _text(one, STUDY_TIME), zone),
    )


def moment(day: str, time: str, zone: tzinfo) -> datetime | None:
    """Study date and time in UTC; None where the date is missing or odd."""
    for text, form in ((day + time[:6], "%Y%m%d%H%M%S"), (day, "%Y%m%d")):
        try:
            return datetime.strptime(text, form).replace(tzinfo=zone).astimezone(UTC)
        except (ValueError, OverflowError):
            continue
    return None


def _grown(part: bytearray | None, data: bytes, name: str) -> bytearray:
    part = bytearray() if part is None else part
    part += data
    if len(part) > LARGEST_BYTES:
        raise Unreachable(name, "an instance is too large")
    return part
