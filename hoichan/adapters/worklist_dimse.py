"""Asks a RIS for its Modality Worklist by C-FIND (PS3.4 annex K): what is ordered from yesterday to tomorrow.

The question names days and modalities, never a person.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from datetime import datetime, timedelta, tzinfo
from typing import Any

from pydicom.dataset import Dataset
from pynetdicom import AE, _config

from hoichan.adapters.associations import associate, release
from hoichan.adapters.tls import client_args
from hoichan.errors import Refused, Unreachable
from hoichan.intake.dataset import Header
from hoichan.settings import Worklist

FIND = "1.2.840.10008.5.1.4.31"  # Modality Worklist Information Model - FIND
SUCCESS = 0x0000
PENDING = frozenset({0xFF00, 0xFF01})
PASSING = frozenset({0xA700, 0xC000, 0xFE00})  # another try can mend these (PS3.4 table K.4-1)
MOST_ITEMS = 5000  # of one answer: a RIS that ignores the days would send its whole past

_config.LOG_REQUEST_IDENTIFIERS = False
_config.LOG_RESPONSE_IDENTIFIERS = False


class WorklistScu:
    """One RIS."""

    def __init__(self, worklist: Worklist, *, our_title: str, zone: tzinfo) -> None:
        """`zone`: of the days that are asked for."""
        self._worklist = worklist
        self._title = worklist.calling_ae_title or our_title
        self._zone = zone

    def items(self, now: datetime) -> Iterator[Header]:
        """Entries, each modality in a question of its own. Raises Unreachable or Refused."""
        association = self._associate()
        try:
            for modality in self._worklist.modalities or ("",):
                yield from self._ask(association, self._question(now, modality))
        except (RuntimeError, ValueError) as error:  # it ended meanwhile, or the context was not accepted
            if isinstance(error, ValueError) and association.is_established:
                raise Refused(self._worklist.name, "presentation context not accepted") from None
            raise Unreachable(self._worklist.name, "association ended") from None
        finally:
            release(association)

    def _ask(self, association: Any, question: Dataset) -> Iterator[Header]:  # noqa: ANN401  of pynetdicom
        count = 0
        with warnings.catch_warnings():  # pydicom's warnings quote the data set
            warnings.simplefilter("ignore")
            for answer, found in association.send_c_find(question, FIND):
                if "Status" not in answer:
                    raise Unreachable(self._worklist.name, "no answer")
                status = int(answer.Status)
                if status in PENDING:
                    count += 1
                    if found is not None and count <= MOST_ITEMS:
                        yield Header(found)
                elif status != SUCCESS:
                    kind = Unreachable if status in PASSING else Refused
                    raise kind(self._worklist.name, f"0x{status:04X}")

    def _associate(self) -> Any:  # noqa: ANN401  of pynetdicom, untyped
        worklist = self._worklist
        entity = AE(ae_title=self._title)
        timeout = worklist.timeout_seconds
        entity.connection_timeout = entity.acse_timeout = timeout
        entity.dimse_timeout = entity.network_timeout = timeout
        entity.add_requested_context(FIND)
        try:
            tls_args = client_args(worklist.tls, worklist.host)
        except OSError as error:
            raise Unreachable(worklist.name, "certificate") from error
        association = associate(
            entity, worklist.host, worklist.port, ae_title=worklist.ae_title, tls_args=tls_args
        )
        if association.is_established:
            return association
        if association.is_rejected:
            raise Refused(worklist.name, "association rejected")
        if association.rejected_contexts and not association.accepted_contexts:
            raise Refused(worklist.name, "no presentation context accepted")
        raise Unreachable(worklist.name, "no association")

    def _question(self, now: datetime, modality: str) -> Dataset:
        """The keys that an order is made of; the days around now."""
        day = now.astimezone(self._zone).date()
        first, last = day - timedelta(days=1), day + timedelta(days=1)
        step = Dataset()
        step.Modality = modality
        step.ScheduledProcedureStepStartDate = f"{first:%Y%m%d}-{last:%Y%m%d}"
        for keyword in (
            "ScheduledStationAETitle",
            "ScheduledProcedureStepStartTime",
            "ScheduledProcedureStepDescription",
            "ScheduledProcedureStepID",
        ):
            setattr(step, keyword, "")
        step.ScheduledProtocolCodeSequence = [_code()]
        question = Dataset()
        question.SpecificCharacterSet = "ISO_IR 192"
        for keyword in (
            *("AccessionNumber", "StudyInstanceUID", "RequestedProcedureID"),
            *("RequestedProcedureDescription", "RequestedProcedurePriority"),
            *("ReasonForTheRequestedProcedure", "ReasonForTheImagingServiceRequest"),
            *("PlacerOrderNumberImagingServiceRequest", "FillerOrderNumberImagingServiceRequest"),
            *("PatientName", "PatientID", "IssuerOfPatientID", "PatientBirthDate", "PatientSex"),
        ):
            setattr(question, keyword, "")
        question.RequestedProcedureCodeSequence = [_code()]
        question.ScheduledProcedureStepSequence = [step]
        return question


def _code() -> Dataset:
    empty = Dataset()
    empty.CodeValue = empty.CodingSchemeDesignator = empty.CodeMeaning = ""
    return empty
