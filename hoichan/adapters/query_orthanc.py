"""An Orthanc that is asked by its own REST API: the list of its changes, by number, misses nothing."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, tzinfo
from typing import Any

import httpx2
import structlog

from hoichan.adapters.http_source import LARGEST_BYTES, HttpSource, Session
from hoichan.adapters.query_dimse import is_searchable, since_day
from hoichan.adapters.query_web import moment
from hoichan.adapters.source_intake import SourceIntake
from hoichan.errors import Unreachable
from hoichan.intake.door import is_uid
from hoichan.ports import Changes, Fetched, Holding, Spool
from hoichan.settings import OrthancSource, sender_title
from hoichan.types import Patient, SeriesInstanceUID, SOPInstanceUID, StudyInstanceUID

log = structlog.get_logger()

PAGE = 1000  # changes in one answer
ARRIVALS = frozenset(
    {"NewInstance", "NewSeries", "NewStudy", "StableSeries", "StableStudy", "UpdatedAttachment"}
)


class OrthancArchive:
    """One Orthanc; see `hoichan.ports.Archive`. The mark is the number of the last change that was seen."""

    def __init__(
        self,
        source: OrthancSource,
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
        """The studies of every change since the mark; the first time, those of the window's days."""
        with self._http.session() as session:
            last = int((session.get("changes", {"last": ""}) or {}).get("Last", 0))
            seen = int(mark) if mark is not None and mark.isdecimal() else None
            if seen is not None and seen > last:  # another database under the same address
                log.warning("source_begins_anew", source=self._source.name)
                seen = None
            if seen is None:
                since = since_day(None, now, self._source.window_hours, self._zone)
                question = {"Level": "Study", "Query": {"StudyDate": f"{since}-"}}
                ids = set(session.post("tools/find", json=question) or [])
                return Changes(holdings=self._holdings(session, ids), mark=str(last))
            found: set[str] = set()
            while True:
                page = session.get("changes", {"since": seen, "limit": PAGE}) or {}
                changes = page.get("Changes", [])
                found |= self._studies_of_changes(session, changes)
                seen = int(page.get("Last", seen)) if changes else seen
                if page.get("Done", True) or not changes:
                    return Changes(holdings=self._holdings(session, found), mark=str(seen))

    def holding(self, study: StudyInstanceUID) -> Holding | None:
        """One study with the number of its instances; None when it is not there."""
        with self._http.session() as session:
            orthanc_id = _id_of(session, study)
            return None if orthanc_id is None else self._holding(session, orthanc_id)

    def instances(self, study: StudyInstanceUID) -> Mapping[SOPInstanceUID, SeriesInstanceUID]:
        """Every instance of a study, with its series."""
        with self._http.session() as session:
            return {uid: series for uid, series, _ in _instances(session, study)}

    def studies_of(self, patient: Patient) -> Sequence[Holding]:
        """Every study under exactly this number, and of nobody with another date of birth."""
        number = patient.patient_id.reveal()
        if not is_searchable(number):
            return []
        born = patient.patient_birth_date.reveal() if patient.patient_birth_date else None
        with self._http.session() as session:
            question = {
                "Level": "Study",
                "Query": {"PatientID": number},
                "CaseSensitive": True,
                "Expand": True,
            }
            ids = []
            for one in session.post("tools/find", json=question) or []:
                tags = one.get("PatientMainDicomTags", {})
                theirs = tags.get("PatientBirthDate", "")
                if tags.get("PatientID") == number and (
                    not theirs or born is None or theirs == f"{born:%Y%m%d}"
                ):
                    ids.append(str(one.get("ID", "")))
            return self._holdings(session, ids)

    def body_parts(self, study: StudyInstanceUID) -> Sequence[str]:
        """Of the series of a study, from its main tags."""
        with self._http.session() as session:
            orthanc_id = _id_of(session, study)
            series = [] if orthanc_id is None else session.get(f"studies/{orthanc_id}/series") or []
        texts = (str(one.get("MainDicomTags", {}).get("BodyPartExamined", "")) for one in series)
        return [text for text in texts if text]

    def fetch(self, study: StudyInstanceUID, wanted: Mapping[SOPInstanceUID, SeriesInstanceUID]) -> Fetched:
        """Its files, one after another."""
        intake = SourceIntake(self._spool, study, sender=sender_title(self._source))
        with intake.open(), self._http.session() as session:
            ids = {uid: orthanc_id for uid, _, orthanc_id in _instances(session, study)}
            for uid in wanted:
                if uid not in ids:
                    intake.fail("source.instance_gone")
                    continue
                with session.stream(f"instances/{ids[uid]}/file", accept="*/*") as answer:
                    if answer is None:
                        intake.fail("source.instance_gone")
                        continue
                    intake.take(self._whole(answer[1]))
        return intake.outcome

    def _whole(self, body: Iterator[bytes]) -> bytes:
        file = bytearray()
        for chunk in body:
            file += chunk
            if len(file) > LARGEST_BYTES:
                raise Unreachable(self._source.name, "an instance is too large")
        return bytes(file)

    def _studies_of_changes(self, session: Session, changes: Sequence[Mapping[str, Any]]) -> set[str]:
        """The Orthanc IDs of the studies in which something arrived."""
        by_type: dict[str, set[str]] = {"Study": set(), "Series": set(), "Instance": set()}
        for change in changes:
            if change.get("ChangeType") in ARRIVALS and change.get("ResourceType") in by_type:
                by_type[change["ResourceType"]].add(str(change.get("ID", "")))
        studies = by_type["Study"]
        below = sorted(by_type["Series"] | by_type["Instance"])
        if below:
            found = session.post("tools/bulk-content", json={"Resources": below, "Level": "Study"})
            studies |= {str(one.get("ID", "")) for one in found or []}
        return studies

    def _holdings(self, session: Session, ids: Sequence[str] | set[str]) -> list[Holding]:
        found = (self._holding(session, orthanc_id) for orthanc_id in sorted(ids))
        return [holding for holding in found if holding is not None]

    def _holding(self, session: Session, orthanc_id: str) -> Holding | None:
        study = session.get(f"studies/{orthanc_id}")
        series = session.get(f"studies/{orthanc_id}/series")
        if not isinstance(study, dict) or not isinstance(series, list):  # deleted meanwhile
            return None
        tags = study.get("MainDicomTags", {})
        uid = str(tags.get("StudyInstanceUID", ""))
        if not is_uid(uid):
            return None
        modalities = (str(one.get("MainDicomTags", {}).get("Modality", "")).upper() for one in series)
        return Holding(
            study_instance_uid=StudyInstanceUID(uid),
            instances=sum(len(one.get("Instances", ())) for one in series),
            modalities=tuple(sorted({one for one in modalities if one})),
            study_datetime=moment(str(tags.get("StudyDate", "")), str(tags.get("StudyTime", "")), self._zone),
        )


def _id_of(session: Session, study: StudyInstanceUID) -> str | None:
    found = session.post("tools/lookup", content=study) or []
    return next((str(one["ID"]) for one in found if one.get("Type") == "Study"), None)


def _instances(
    session: Session, study: StudyInstanceUID
) -> list[tuple[SOPInstanceUID, SeriesInstanceUID, str]]:
    """SOP Instance UID, series and Orthanc ID of every instance of a study."""
    orthanc_id = _id_of(session, study)
    if orthanc_id is None:
        return []
    series = {
        one["ID"]: str(one.get("MainDicomTags", {}).get("SeriesInstanceUID", ""))
        for one in session.get(f"studies/{orthanc_id}/series") or []
    }
    found = []
    for one in session.get(f"studies/{orthanc_id}/instances") or []:
        uid = str(one.get("MainDicomTags", {}).get("SOPInstanceUID", ""))
        of = series.get(one.get("ParentSeries", ""), "")
        if is_uid(uid) and is_uid(of):
            found.append((SOPInstanceUID(uid), SeriesInstanceUID(of), str(one["ID"])))
    return found
