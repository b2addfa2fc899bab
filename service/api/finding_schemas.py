"""The person, and what the models said of the images, as the API says it."""

from __future__ import annotations

from collections.abc import Mapping

from pydantic import BaseModel, ConfigDict

from hoichan import codes
from hoichan.types import Finding, Measurement, Patient, Presence, Refusal, RefusalCode, Tier
from service.web import people

Texts = Mapping[str, str]  # language -> text


class Outgoing(BaseModel):
    """Made from the record, and not changed after."""

    model_config = ConfigDict(frozen=True, from_attributes=True)


class PatientOut(Outgoing):
    """The person, as far as a list needs: the identifier is masked."""

    name: str
    birth_year: int | None
    age_years: int | None
    sex: str | None
    masked_id: str

    @classmethod
    def of(cls, patient: Patient) -> PatientOut:
        """From the wrapped values."""
        born = patient.patient_birth_date
        return cls(
            name=people.spoken_name(patient.patient_name.reveal()),
            birth_year=born.reveal().year if born else None,
            age_years=patient.patient_age_years,
            sex=patient.patient_sex,
            masked_id=people.masked(patient.patient_id.reveal()),
        )


class FindingOut(Outgoing):
    """One statement of a model about one image."""

    key: str
    display: Texts
    presence: Presence
    probability: float  # 0..1
    operating_point: float  # 0..1
    calibration: str
    tier: Tier
    algorithm_name: str
    algorithm_version: str
    sop_instance_uid: str

    @classmethod
    def of(cls, finding: Finding) -> FindingOut:
        """From a finding of the record."""
        term = codes.FINDINGS.get(finding.key)
        return cls(
            key=finding.key,
            display=dict(term.display) if term else {"vi": finding.key, "en": finding.key},
            presence=finding.presence,
            probability=finding.probability,
            operating_point=finding.operating_point,
            calibration=finding.calibration,
            tier=finding.tier,
            algorithm_name=finding.algorithm_name,
            algorithm_version=finding.algorithm_version,
            sop_instance_uid=finding.sop_instance_uid,
        )


class RefusalOut(Outgoing):
    """Why something was not analysed."""

    code: RefusalCode
    text: Texts
    algorithm_name: str | None
    series_instance_uid: str | None
    sop_instance_uid: str | None
    detail: str = ""  # in English, for those who look after the models; nothing of a patient

    @classmethod
    def of(cls, refusal: Refusal) -> RefusalOut:
        """From a refusal of the record."""
        return cls(
            code=refusal.code,
            text=codes.refusal_words(refusal.code, refusal.detail),
            algorithm_name=refusal.algorithm_name,
            series_instance_uid=refusal.series_instance_uid,
            sop_instance_uid=refusal.sop_instance_uid,
            detail=refusal.detail,
        )


class MeasurementOut(Outgoing):
    """The volume of one part. No reference by age or sex exists for it."""

    display: Texts  # of the part
    code: str
    scheme: str
    value: float
    unit: str  # UCUM
    note: Texts
    series_instance_uid: str
    sop_instance_uid: str
    algorithm_name: str
    algorithm_version: str

    @classmethod
    def of(cls, one: Measurement) -> MeasurementOut:
        """From a measurement of the record."""
        return cls(
            display=dict(one.display),
            code=one.code.code_value,
            scheme=one.code.coding_scheme_designator,
            value=one.value,
            unit=one.unit,
            note=dict(codes.NO_REFERENCE),
            series_instance_uid=one.series_instance_uid,
            sop_instance_uid=one.sop_instance_uid,
            algorithm_name=one.algorithm_name,
            algorithm_version=one.algorithm_version,
        )


class AlgorithmOut(Outgoing):
    """A model that answered."""

    algorithm_name: str
    algorithm_version: str
    algorithm_source: str
    weights_sha256: str
    status: str
