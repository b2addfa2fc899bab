"""A PACS that is asked by C-FIND and gives by C-MOVE or C-GET (PS3.4 annex C, Study Root).

C-MOVE has the PACS send to our own listener, so what it gives comes through the door like everything else.
With C-GET the instances come on the association of the request and go into the spool from here.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime, timedelta, tzinfo
from typing import Any

import structlog
from pydicom.dataset import Dataset
from pynetdicom import (
    AE,
    ALL_TRANSFER_SYNTAXES,
    StoragePresentationContexts,
    _config,
    build_context,
    build_role,
    evt,
)

from hoichan.adapters.associations import associate, release
from hoichan.adapters.tls import client_args
from hoichan.errors import HoichanError, IntakeError, Refused, SpoolFull, Unreachable
from hoichan.intake.dataset import Header
from hoichan.intake.door import is_uid
from hoichan.intake.headers import EXPLICIT_LITTLE, IMPLICIT_LITTLE
from hoichan.ports import Changes, Fetched, Holding, Spool
from hoichan.settings import DimseSource
from hoichan.types import Patient, SeriesInstanceUID, SOPInstanceUID, StudyInstanceUID

log = structlog.get_logger()

FIND = "1.2.840.10008.5.1.4.1.2.2.1"
MOVE = "1.2.840.10008.5.1.4.1.2.2.2"
GET = "1.2.840.10008.5.1.4.1.2.2.3"
SUCCESS, SUB_OPERATIONS_FAILED = 0x0000, 0xB000
PENDING = frozenset({0xFF00, 0xFF01})
# Failures that another try can mend (PS3.4 tables C.4-1 to C.4-3): resources, cancelled
PASSING = frozenset({0xA700, 0xA701, 0xA702, 0xC000, 0xFE00})
REJECTED_TRANSIENT = 0x02
CONTEXTS = 128  # an association may propose no more (PS3.8 9.3.2.2)
LIST_OF_UIDS = 100  # in one request; longer ones are cut by some PACSs
# For C-GET, each in a context of its own, so that nothing has to be transcoded.
SYNTAXES = (
    EXPLICIT_LITTLE,
    IMPLICIT_LITTLE,
    "1.2.840.10008.1.2.4.50",  # JPEG baseline
    "1.2.840.10008.1.2.4.51",  # JPEG extended
    "1.2.840.10008.1.2.4.57",  # JPEG lossless
    "1.2.840.10008.1.2.4.70",  # JPEG lossless, first order
    "1.2.840.10008.1.2.4.80",  # JPEG-LS lossless
    "1.2.840.10008.1.2.4.81",  # JPEG-LS near-lossless
    "1.2.840.10008.1.2.4.90",  # JPEG 2000 lossless
    "1.2.840.10008.1.2.4.91",  # JPEG 2000
    "1.2.840.10008.1.2.4.201",  # HTJ2K lossless
    "1.2.840.10008.1.2.4.202",  # HTJ2K lossless, progressive by resolution
    "1.2.840.10008.1.2.4.203",  # HTJ2K
    "1.2.840.10008.1.2.5",  # RLE
    "1.2.840.10008.1.2.1.99",  # deflated
    "1.2.840.10008.1.2.2",  # big endian, retired
)
EVERY_SYNTAX = (*SYNTAXES, *(one for one in ALL_TRANSFER_SYNTAXES if one not in SYNTAXES))  # video, too

ANY_CLASS = [str(one.abstract_syntax) for one in StoragePresentationContexts][: CONTEXTS - 1]

_config.LOG_REQUEST_IDENTIFIERS = False
_config.LOG_RESPONSE_IDENTIFIERS = False


class DimseArchive:
    """One PACS; see `hoichan.ports.Archive`. The mark is the moment of the last question."""

    def __init__(self, source: DimseSource, spool: Spool, *, our_title: str, zone: tzinfo) -> None:
        """`our_title`: of our listener, at which C-MOVE arrives; `zone`: of the study dates."""
        self._source = source
        self._spool = spool
        self._title = source.calling_ae_title or our_title
        self._move_to = source.move_to or our_title
        self._zone = zone

    # ---------------------------------------------------------------------------------------------- questions
    def changes(self, mark: str | None, *, now: datetime) -> Changes:
        """Studies of the days since the mark, less the window."""
        since = since_day(mark, now, self._source.window_hours, self._zone)
        question = _study_question()
        question.StudyDate = f"{since}-"
        return Changes(holdings=self._studies(question), mark=now.isoformat(timespec="seconds"))

    def holding(self, study: StudyInstanceUID) -> Holding | None:
        """One study with the number of its instances; None when it is not there."""
        question = _study_question()
        question.StudyInstanceUID = study
        return next((one for one in self._studies(question) if one.study_instance_uid == study), None)

    def instances(self, study: StudyInstanceUID) -> Mapping[SOPInstanceUID, SeriesInstanceUID]:
        """Every instance of a study, asked series by series, as the hierarchy wants it."""
        return {uid: series for uid, (series, _) in self._images(study).items()}

    def studies_of(self, patient: Patient) -> Sequence[Holding]:
        """Every study under exactly this number, and of nobody with another date of birth."""
        number = patient.patient_id.reveal()
        if not is_searchable(number):
            return []
        question = _study_question()
        question.PatientID, question.PatientBirthDate = number, ""
        question.SpecificCharacterSet = "ISO_IR 192"
        with self._association([FIND]) as association:
            answers = self._find(association, question)
            return [_holding(found, self._zone) for found in answers if is_of(found, patient)]

    def body_parts(self, study: StudyInstanceUID) -> Sequence[str]:
        """Asked of the series; an optional key, so that a PACS may leave it out (PS3.4 C.6.2.1)."""
        question = Dataset()
        question.QueryRetrieveLevel, question.StudyInstanceUID = "SERIES", study
        question.SeriesInstanceUID = question.BodyPartExamined = ""
        with self._association([FIND]) as association:
            texts = [one.text("BodyPartExamined") for one in self._find(association, question)]
        return [text for text in texts if text]

    def _studies(self, question: Dataset) -> list[Holding]:
        with self._association([FIND]) as association:
            return [
                _holding(found, self._zone)
                for found in self._find(association, question)
                if is_uid(found.text("StudyInstanceUID") or "")
            ]

    def _images(self, study: StudyInstanceUID) -> dict[SOPInstanceUID, tuple[SeriesInstanceUID, str]]:
        """Series and SOP class of every instance."""
        question = Dataset()
        question.QueryRetrieveLevel, question.StudyInstanceUID = "SERIES", study
        question.SeriesInstanceUID = ""
        found: dict[SOPInstanceUID, tuple[SeriesInstanceUID, str]] = {}
        with self._association([FIND]) as association:
            series = [one.text("SeriesInstanceUID") or "" for one in self._find(association, question)]
            for uid in filter(is_uid, dict.fromkeys(series)):
                below = Dataset()
                below.QueryRetrieveLevel, below.StudyInstanceUID = "IMAGE", study
                below.SeriesInstanceUID, below.SOPInstanceUID, below.SOPClassUID = uid, "", ""
                for image in self._find(association, below):
                    instance = image.text("SOPInstanceUID") or ""
                    if is_uid(instance):
                        kind = image.text("SOPClassUID") or ""
                        found[SOPInstanceUID(instance)] = SeriesInstanceUID(uid), kind
        return found

    def _find(self, association: Any, question: Dataset) -> Iterator[Header]:  # noqa: ANN401
        for status, found in self._answers(association.send_c_find(question, FIND)):
            if status in PENDING:
                if found is not None:
                    yield Header(found)
            elif status != SUCCESS:
                raise self._failure(status)

    # ----------------------------------------------------------------------------------------------- fetching
    def fetch(self, study: StudyInstanceUID, wanted: Mapping[SOPInstanceUID, SeriesInstanceUID]) -> Fetched:
        """By C-MOVE or C-GET, in as few requests as ask for nothing else."""
        images = self._images(study)
        questions = list(_requests(study, wanted, images))
        if self._source.fetch == "move":
            with self._association([MOVE], answers=self._source.fetch_timeout_seconds) as association:
                return self._run(
                    association.send_c_move(question, self._move_to, MOVE) for question in questions
                )
        intake = _Intake(self._spool, self._source.ae_title)
        kinds = {images[uid][1] for uid in wanted if uid in images}
        classes = sorted(filter(is_uid, kinds)) or ANY_CLASS  # some PACSs do not tell the SOP class
        contexts = [build_context(GET), *_storage_contexts(classes)]
        with (
            intake,
            self._association(
                contexts,
                answers=self._source.fetch_timeout_seconds,
                roles=[build_role(kind, scp_role=True) for kind in classes],
                handlers=[(evt.EVT_C_STORE, intake.store)],
            ) as association,
        ):
            done = self._run(association.send_c_get(question, GET) for question in questions)
        return done if not intake.code else Fetched(stored=done.stored, failed=done.failed, code=intake.code)

    def _run(self, operations: Iterator[Any]) -> Fetched:
        """What the last response of each operation counts."""
        stored = failed = 0
        code = ""
        for responses in operations:
            completed = lost = 0
            for answer, _ in responses:
                if "Status" not in answer:
                    raise Unreachable(self._source.name, "no answer")
                status = int(answer.Status)
                if "NumberOfCompletedSuboperations" in answer:
                    completed = _number(answer, "NumberOfCompletedSuboperations", 0)
                    completed += _number(answer, "NumberOfWarningSuboperations", 0)
                lost = _number(answer, "NumberOfFailedSuboperations", lost)
                if status in PENDING or status == SUCCESS:
                    continue
                code = f"0x{status:04X}"
                if status != SUB_OPERATIONS_FAILED and not completed:
                    raise self._failure(status)
            stored, failed = stored + completed, failed + lost
        return Fetched(stored=stored, failed=failed, code=code)

    # ------------------------------------------------------------------------------------------- associations
    @contextmanager
    def _association(
        self,
        contexts: Sequence[Any],
        *,
        answers: float | None = None,
        roles: Sequence[Any] = (),
        handlers: Sequence[Any] = (),
    ) -> Iterator[Any]:
        """An association with these contexts; `answers`: seconds to wait for one."""
        source = self._source
        entity = AE(ae_title=self._title)
        entity.connection_timeout = entity.acse_timeout = source.timeout_seconds
        entity.dimse_timeout = entity.network_timeout = answers or source.timeout_seconds
        try:
            tls_args = client_args(source.tls, source.host)
        except OSError as error:
            raise Unreachable(source.name, "the certificates of tls cannot be used") from error
        association = associate(
            entity,
            source.host,
            source.port,
            ae_title=source.ae_title,
            contexts=[build_context(one) if isinstance(one, str) else one for one in contexts],
            ext_neg=list(roles),
            tls_args=tls_args,
            evt_handlers=list(handlers),
        )
        if not association.is_established:
            raise self._no_association(association)
        try:
            yield association
        except (RuntimeError, ValueError) as error:  # it ended meanwhile, or a context was not accepted
            if isinstance(error, ValueError) and association.is_established:
                raise Refused(source.name, "presentation context not accepted") from None
            raise Unreachable(source.name, "association ended") from None
        finally:
            release(association)

    def _no_association(self, association: Any) -> HoichanError:  # noqa: ANN401
        answer = association.acceptor.primitive if association.is_rejected else None
        if answer is not None and answer.result != REJECTED_TRANSIENT:
            detail = f"association rejected (source {answer.result_source}, reason {answer.diagnostic})"
            return Refused(self._source.name, detail)
        if association.rejected_contexts and not association.accepted_contexts:
            return Refused(self._source.name, "no presentation context accepted")
        return Unreachable(self._source.name, "no association")

    def _answers(self, responses: Iterator[Any]) -> Iterator[tuple[int, Dataset | None]]:
        with warnings.catch_warnings():  # pydicom's warnings quote the data set
            warnings.simplefilter("ignore")
            for answer, found in responses:
                if "Status" not in answer:
                    raise Unreachable(self._source.name, "no answer")
                yield int(answer.Status), found

    def _failure(self, status: int) -> HoichanError:
        text = f"0x{status:04X}"
        return (Unreachable if status in PASSING else Refused)(self._source.name, text)


class _Intake:
    """Takes the instances of a C-GET into the spool, byte for byte."""

    def __init__(self, spool: Spool, sender: str) -> None:
        self._spool = spool
        self._sender = sender
        self._batch = f"get-{id(self):x}"
        self._full: SpoolFull | None = None
        self.code = ""

    def __enter__(self) -> _Intake:
        return self

    def __exit__(self, *_: object) -> None:
        """Raises SpoolFull when there was no room, whatever the PACS made of it."""
        self._spool.released(self._batch)
        if self._full is not None:
            raise self._full

    def store(self, event: Any) -> int:  # noqa: ANN401 (an untyped pynetdicom Event)
        """The status of one C-STORE; no exception reaches pynetdicom, which would print its text."""
        request = event.request
        try:
            stored = self._spool.store(
                request.DataSet.getvalue() if request.DataSet else b"",
                transfer_syntax_uid=str(event.context.transfer_syntax),
                sop_class_uid=str(request.AffectedSOPClassUID),
                sop_instance_uid=str(request.AffectedSOPInstanceUID),
                calling_ae_title=self._sender,
            )
            if not stored.duplicate and stored.quarantined is None:
                self._spool.opened(stored.study_instance_uid, self._batch)
        except SpoolFull as error:
            self._full = error
            return 0xA700
        except IntakeError as error:
            self.code = error.code
            return 0xA900
        except Exception as error:  # noqa: BLE001
            self.code = type(error).__name__
            return 0x0110
        return SUCCESS


def since_day(mark: str | None, now: datetime, window_hours: float, zone: tzinfo) -> str:
    """The first study date to ask for, YYYYMMDD: that of the mark (ISO 8601), less the window."""
    last = now
    if mark is not None:
        try:
            last = min(now, datetime.fromisoformat(mark))
        except (ValueError, TypeError):
            last = now
    return f"{(last - timedelta(hours=window_hours)).astimezone(zone):%Y%m%d}"


def is_searchable(number: str) -> bool:
    """Whether a patient number means one person in a query: not empty, and without wildcards or lists."""
    return bool(number.strip()) and not set(number) & set('*?\\"')


def is_of(found: Header, patient: Patient) -> bool:
    """Whether an answer is about this patient: the same number, and no other date of birth."""
    born = found.date("PatientBirthDate")
    ours = patient.patient_birth_date.reveal() if patient.patient_birth_date else None
    return (
        is_uid(found.text("StudyInstanceUID") or "")
        and (found.text("PatientID") or "") == patient.patient_id.reveal()
        and (born is None or ours is None or born == ours)
    )


def _study_question() -> Dataset:
    question = Dataset()
    question.QueryRetrieveLevel = "STUDY"
    for keyword in ("StudyInstanceUID", "StudyDate", "StudyTime", "ModalitiesInStudy"):
        setattr(question, keyword, "")
    question.NumberOfStudyRelatedInstances = None
    return question


def _holding(found: Header, zone: tzinfo) -> Holding:
    return Holding(
        study_instance_uid=StudyInstanceUID(found.text("StudyInstanceUID") or ""),
        instances=found.integer("NumberOfStudyRelatedInstances"),
        modalities=tuple(filter(None, found.texts("ModalitiesInStudy"))),
        study_datetime=found.moment("StudyDate", "StudyTime", zone),
    )


def _requests(
    study: StudyInstanceUID,
    wanted: Mapping[SOPInstanceUID, SeriesInstanceUID],
    images: Mapping[SOPInstanceUID, tuple[SeriesInstanceUID, str]],
) -> Iterator[Dataset]:
    """The identifiers that ask for the wanted instances and no other, whole studies and series first."""
    if wanted.keys() >= images.keys():
        yield _request("STUDY", study)
        return
    for series in dict.fromkeys(wanted.values()):
        uids = sorted(uid for uid, of in wanted.items() if of == series)
        if set(uids) >= {uid for uid, (of, _) in images.items() if of == series}:
            yield _request("SERIES", study, SeriesInstanceUID=series)
            continue
        for start in range(0, len(uids), LIST_OF_UIDS):
            part = [str(uid) for uid in uids[start : start + LIST_OF_UIDS]]
            yield _request("IMAGE", study, SeriesInstanceUID=series, SOPInstanceUID=part)


def _request(level: str, study: StudyInstanceUID, **keys: object) -> Dataset:
    question = Dataset()
    question.QueryRetrieveLevel, question.StudyInstanceUID = level, study
    for keyword, value in keys.items():
        setattr(question, keyword, value)
    return question


def _storage_contexts(classes: Sequence[str]) -> list[Any]:
    """A context for each class and syntax while there is room, else one for each class.

    One or two classes, as most studies have, leave room for every syntax that there is.
    """
    for syntaxes in (EVERY_SYNTAX, SYNTAXES):
        if len(classes) * len(syntaxes) < CONTEXTS:
            return [build_context(kind, syntax) for kind in classes for syntax in syntaxes]
    return [build_context(kind, list(SYNTAXES)) for kind in classes[: CONTEXTS - 1]]


def _number(answer: Dataset, keyword: str, otherwise: int) -> int:
    value = answer.get(keyword)
    return otherwise if value is None else int(value)
