"""What is here as DICOM objects: what came in, and the results that stand now, for QIDO-RS and WADO-RS.

Read only. Of our own documents those count whose report no later one replaces: a viewer must not show a
withdrawn word beside the present one. Images that a rejection note has taken back are not given out.
"""

from __future__ import annotations

import warnings
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from copy import copy
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path, PurePosixPath
from threading import Lock
from typing import Any

import sqlalchemy as sa
from pydicom import Dataset, dcmread
from pydicom.errors import InvalidDicomError
from pydicom.tag import Tag

from hoichan.adapters.objects_disk import ObjectsDisk, write_whole
from hoichan.adapters.schema import documents, instances, reports, series, studies
from hoichan.adapters.schema_front_door import rejected_instances
from hoichan.adapters.sight import EVERYTHING, Sight
from hoichan.analysis.imaging import DECODING_ERRORS
from hoichan.errors import IntakeError, NotDicom, NotHeld, ObjectUnknown, RecordsUnavailable
from hoichan.intake.rejections import KEY_OBJECT_SELECTION, read_rejection
from hoichan.ports import Objects, Spool
from hoichan.types import ReportStatus, Sha256

_REMEMBERED = 4096  # headers of our own documents; some 4 kB each
_LAID = 512  # documents laid into the folder; some 300 kB each
_BATCH = 500  # rows at a time
_DICOM = "application/dicom"
Row = Mapping[Any, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """One object that can be given out."""

    study_instance_uid: str
    series_instance_uid: str
    sop_instance_uid: str
    sop_class_uid: str
    transfer_syntax_uid: str
    modality: str
    place: Callable[[], Path] = field(repr=False, compare=False)
    series_row: Row | None = None  # as recorded; None: one of our own documents
    instance_row: Row | None = None

    @property
    def path(self) -> Path:
        """Its Part 10 file, fetched where another machine received it.

        Raises NotHeld where the images were removed since, RecordsUnavailable (try again).
        """
        try:
            found = self.place()
        except (IntakeError, ObjectUnknown) as error:
            raise NotHeld from error
        if not found.exists():
            raise NotHeld
        return found


@dataclass(frozen=True, slots=True, kw_only=True)
class StudyWish:
    """What of a study the database can say no to. What it lets through may still not fit."""

    study_instance_uids: Sequence[str] = ()
    patient_id: str = ""  # without wildcards
    accession_number: str = ""
    first_day: Any = None  # aware datetimes, a day wider than asked
    last_day: Any = None


class HeldSql:
    """The reading side for DICOMweb. Every method may raise RecordsUnavailable (try again)."""

    def __init__(self, engine: sa.Engine, objects: Objects, spool: Spool, folder: Path) -> None:
        """`folder`: where documents are laid for reading, when the store of documents is no folder itself."""
        self._engine = engine
        self._objects = objects
        self._spool = spool
        self._folder = folder
        self._headers: OrderedDict[str, Dataset] = OrderedDict()
        self._lock = Lock()
        self._sight = EVERYTHING

    @property
    def spool(self) -> Spool:
        """Where the images lie."""
        return self._spool

    def within(self, sight: Sight) -> HeldSql:
        """The same objects for a reader who sees less."""
        if not sight.is_bound:
            return self
        narrowed = copy(self)  # what is remembered is shared
        narrowed._sight = sight
        return narrowed

    @contextmanager
    def _connection(self) -> Iterator[sa.Connection]:
        try:
            with self._engine.connect() as connection:
                yield connection
        except (sa.exc.OperationalError, sa.exc.InterfaceError) as error:
            raise RecordsUnavailable(f"The database did not answer ({type(error).__name__}).") from error

    def studies(self, wish: StudyWish) -> Iterator[Row]:
        """Rows of studies that may fit, newest first, read in stretches."""
        query = (
            sa.select(studies)
            .where(*self._sight.narrow())
            .order_by(studies.c.last_received_at.desc(), studies.c.study_instance_uid.desc())
        )
        if wish.study_instance_uids:
            query = query.where(studies.c.study_instance_uid.in_(list(wish.study_instance_uids)))
        if wish.patient_id:
            query = query.where(studies.c.patient_id == wish.patient_id)
        if wish.accession_number:
            query = query.where(studies.c.accession_number == wish.accession_number)
        if wish.first_day is not None:
            query = query.where(studies.c.study_datetime >= wish.first_day)
        if wish.last_day is not None:
            query = query.where(studies.c.study_datetime <= wish.last_day)
        last: Row | None = None
        while True:
            stretch = query.limit(_BATCH)
            if last is not None:
                stretch = stretch.where(
                    sa.tuple_(studies.c.last_received_at, studies.c.study_instance_uid)
                    < sa.tuple_(
                        sa.literal(last["last_received_at"], studies.c.last_received_at.type),
                        last["study_instance_uid"],
                    )
                )
            with self._connection() as connection:
                found = list(connection.execute(stretch).mappings())
            yield from found
            if len(found) < _BATCH:
                return
            last = found[-1]

    def objects(
        self, study: str, *, series_uid: str | None = None, sop_instance_uid: str | None = None
    ) -> list[Held]:
        """The objects of a study, of one of its series, or one of them: received ones first, in order."""
        with self._connection() as connection:
            if not self._sees(connection, study):
                return []
            received = self._received(connection, study)
            own = self._own(connection, study)
        return [
            one
            for one in (*received, *own)
            if series_uid in (None, one.series_instance_uid)
            and sop_instance_uid in (None, one.sop_instance_uid)
        ]

    def one(self, study: str, series_uid: str, sop_instance_uid: str) -> Held | None:
        """One object, without a look at the rest of a large study; None when it is not given out."""
        with self._connection() as connection:
            if not self._sees(connection, study):
                return None
            found = self._received(connection, study, sop_instance_uid) or [
                one for one in self._own(connection, study) if one.sop_instance_uid == sop_instance_uid
            ]
        return next((one for one in found if one.series_instance_uid == series_uid), None)

    def _sees(self, connection: sa.Connection, study: str) -> bool:
        if not self._sight.is_bound:
            return True
        seen = sa.select(studies.c.state).where(studies.c.study_instance_uid == study, *self._sight.narrow())
        return connection.execute(seen).first() is not None

    def _received(self, connection: sa.Connection, study: str, only: str | None = None) -> list[Held]:
        of_series = {
            row["series_instance_uid"]: row
            for row in connection.execute(
                sa.select(series)
                .where(series.c.study_instance_uid == study)
                .order_by(series.c.series_number, series.c.series_instance_uid)
            ).mappings()
        }
        rejected = self._rejected(connection, study)
        query = sa.select(instances).where(instances.c.study_instance_uid == study)
        if only is not None:
            query = query.where(instances.c.sop_instance_uid == only)
        found = list(
            connection.execute(
                query.order_by(instances.c.instance_number, instances.c.sop_instance_uid)
            ).mappings()
        )
        order = {uid: place for place, uid in enumerate(of_series)}
        found.sort(key=lambda row: order[row["series_instance_uid"]])  # stable: numbers stay in order
        return [
            Held(
                study_instance_uid=study,
                series_instance_uid=row["series_instance_uid"],
                sop_instance_uid=row["sop_instance_uid"],
                sop_class_uid=row["sop_class_uid"],
                transfer_syntax_uid=row["transfer_syntax_uid"],
                modality=of_series[row["series_instance_uid"]]["modality"],
                place=partial(self._spool.file, PurePosixPath(row["path"])),
                series_row=of_series[row["series_instance_uid"]],
                instance_row=row,
            )
            for row in found
            if row["sop_instance_uid"] not in rejected
        ]

    def _rejected(self, connection: sa.Connection, study: str) -> frozenset[str]:
        """What rejection notes take back: those of the study itself, and what the record knows of others."""
        notes = connection.execute(
            sa.select(instances.c.path).where(
                instances.c.study_instance_uid == study, instances.c.sop_class_uid == KEY_OBJECT_SELECTION
            )
        ).scalars()
        elsewhere = sa.select(rejected_instances.c.sop_instance_uid).where(
            rejected_instances.c.study_instance_uid == study
        )
        rejected: set[str] = set(connection.execute(elsewhere).scalars())
        for path in notes:
            try:
                note = read_rejection(self._spool, PurePosixPath(path))
            except (NotDicom, OSError):  # damaged on the disk; said when it came
                continue
            if note is not None and note.withdraws:
                rejected.update(uid for named in note.instances.values() for uid in named)
        return frozenset(rejected)

    def _own(self, connection: sa.Connection, study: str) -> list[Held]:
        replaced = sa.select(reports.c.predecessor).where(
            reports.c.study_instance_uid == study, reports.c.predecessor.is_not(None)
        )
        found = connection.execute(
            sa.select(documents.c.uid, documents.c.sha256)
            .join(reports, reports.c.report_uid == documents.c.report_uid)
            .where(
                reports.c.study_instance_uid == study,
                reports.c.status != ReportStatus.CANCELLED,
                reports.c.report_uid.not_in(replaced),
                documents.c.media_type == _DICOM,
            )
            .order_by(reports.c.created_at, documents.c.position)
        ).all()
        own = {}
        for uid, sha256 in found:  # the same object may have been made for more than one receiver
            header = self._header_of_own(Sha256(sha256))
            if header is None:
                continue
            own[uid] = Held(
                study_instance_uid=study,
                series_instance_uid=str(header.SeriesInstanceUID),
                sop_instance_uid=str(uid),
                sop_class_uid=str(header.SOPClassUID),
                transfer_syntax_uid=str(header.file_meta.TransferSyntaxUID),
                modality=str(header.Modality),
                place=partial(self._file_of_own, Sha256(sha256)),
            )
        return list(own.values())

    def _header_of_own(self, sha256: Sha256) -> Dataset | None:
        with self._lock:
            known = self._headers.get(sha256)
        if known is not None:
            return known
        try:
            header = read_header(self._file_of_own(sha256))
        except (OSError, NotDicom, ObjectUnknown):  # lost; the page says so where it is asked for
            return None
        kept = Dataset({tag: header[tag] for tag in _OF_OWN if tag in header})
        kept.file_meta = header.file_meta
        with self._lock:
            self._headers[sha256] = kept
            while len(self._headers) > _REMEMBERED:
                self._headers.popitem(last=False)
        return kept

    def _file_of_own(self, sha256: Sha256) -> Path:
        if isinstance(self._objects, ObjectsDisk):
            return self._objects.path(sha256)
        laid = self._folder / sha256
        if not laid.exists():
            content = self._objects.get(sha256)
            self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            write_whole(content, laid)
            others = sorted(self._folder.iterdir(), key=lambda one: one.stat().st_mtime)
            for old in others[:-_LAID]:
                old.unlink(missing_ok=True)
        return laid


_OF_OWN = tuple(Tag(tag) for tag in (0x00080016, 0x00080018, 0x00080060, 0x0020000D, 0x0020000E))


def read_header(path: Path) -> Dataset:
    """The attributes of a file before its pixels, values not decoded yet. Raises NotDicom or OSError."""
    try:
        with warnings.catch_warnings():  # pydicom's warnings quote the data set
            warnings.simplefilter("ignore")
            return dcmread(path, stop_before_pixels=True)
    except OSError:
        raise
    except (InvalidDicomError, *DECODING_ERRORS) as error:
        raise NotDicom("A kept file cannot be read.") from error
