"""The findings of chest films that we speak of: what each is called, where it sits, how sure its codes are.

A code is sent only if PS3.16 lists it or two sources that do not know of each other have it (`CodeStatus`).
What has no such code travels under one of our own scheme, with its words; codes that could not be checked
stand here to be checked, marked, and are never sent. The Vietnamese words are to be signed off by a
radiologist.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from hoichan.types import Code, Tier


class CodeStatus(StrEnum):
    """How sure we are that a code means what it says."""

    LISTED = "listed"  # in the tables of DICOM PS3.16
    AGREED = "agreed"  # the same in two public sources that do not know of each other
    CHECKED = "checked"  # RadLex, checked against BioPortal's list
    OWN = "own"  # of our own scheme: it means what our words say
    SINGLE = "single"  # one source: not sent
    MEMORY = "memory"  # nobody has looked it up: not sent


SENT = frozenset({CodeStatus.LISTED, CodeStatus.AGREED, CodeStatus.CHECKED, CodeStatus.OWN})


@dataclass(frozen=True, slots=True, kw_only=True)
class Coding:
    """A code and how sure it is."""

    code: Code
    status: CodeStatus

    @property
    def is_verified(self) -> bool:
        """Whether it may be sent."""
        return self.status in SENT


@dataclass(frozen=True, slots=True, kw_only=True)
class FindingTerm:
    """One finding: its codes, its words, where it sits, and the ICD-10 code a doctor may choose."""

    key: str
    codings: tuple[Coding, ...]  # SNOMED CT, DICOM, RadLex, our own; the first that is verified is sent
    display: Mapping[str, str]  # language -> name
    site: Code | None  # SCT 363698007 "Finding Site"
    tier: Tier
    icd10_suggestion: str | None  # WHO ICD-10; only ever a suggestion

    @property
    def code(self) -> Code:
        """What is sent."""
        return next(one.code for one in self.codings if one.is_verified)

    @property
    def unverified(self) -> tuple[Coding, ...]:
        """What is known and never sent."""
        return tuple(one for one in self.codings if not one.is_verified)


OWN_SCHEME = "99HOICHAN"


def _code(value: str, scheme: str, meaning: str) -> Code:
    return Code(code_value=value, coding_scheme_designator=scheme, code_meaning=meaning)


def _sct(value: str, meaning: str, status: str) -> Coding:
    return Coding(code=_code(value, "SCT", meaning), status=CodeStatus(status))


def _dcm(value: str, meaning: str) -> Coding:
    return Coding(code=_code(value, "DCM", meaning), status=CodeStatus.LISTED)


def _rid(value: str, meaning: str, status: str = "checked") -> Coding:
    return Coding(code=_code(value, "RADLEX", meaning), status=CodeStatus(status))


def _own(key: str, meaning: str) -> Coding:
    return Coding(code=_code(key.upper()[:16], OWN_SCHEME, meaning), status=CodeStatus.OWN)


LUNG = _code("39607008", "SCT", "Lung")
PLEURA = _code("3120008", "SCT", "Pleura")
HEART = _code("80891009", "SCT", "Heart")
CHEST = _code("51185008", "SCT", "Chest")
MEDIASTINUM = _code("72410000", "SCT", "Mediastinum")


def _term(
    key: str, codings: tuple[Coding, ...], vi: str, en: str, site: Code | None, tier: Tier, icd10: str | None
) -> FindingTerm:
    return FindingTerm(
        key=key, codings=codings, display={"vi": vi, "en": en}, site=site, tier=tier, icd10_suggestion=icd10
    )


# fmt: off
_TERMS = (
    _term("pneumothorax", (_sct("36118008", "Pneumothorax", "listed"), _rid("RID5352", "Pneumothorax")),
          "Tràn khí màng phổi", "Pneumothorax", PLEURA, Tier.CRITICAL, "J93.9"),
    _term("pleural_effusion", (
              _sct("60046008", "Pleural effusion", "listed"),
              _rid("RID34539", "Pleural effusion")),
          "Tràn dịch màng phổi", "Pleural effusion", PLEURA, Tier.URGENT, "J90"),
    _term("edema", (
              _sct("19242006", "Pulmonary edema", "listed"),
              _rid("RID4866", "Pulmonary edema", "single")),
          "Phù phổi", "Pulmonary edema", LUNG, Tier.URGENT, "J81"),
    _term("consolidation", (
              _sct("95436008", "Lung consolidation", "agreed"),
              _rid("RID43255", "Consolidation")),
          "Đông đặc phổi", "Consolidation", LUNG, Tier.URGENT, "J18.9"),
    _term("pneumonia", (_sct("233604007", "Pneumonia", "agreed"), _rid("RID5350", "Pneumonia", "single")),
          "Viêm phổi", "Pneumonia", LUNG, Tier.URGENT, "J18.9"),
    _term("atelectasis", (_sct("46621007", "Atelectasis", "agreed"), _rid("RID28493", "Atelectasis")),
          "Xẹp phổi", "Atelectasis", LUNG, Tier.ROUTINE, "J98.1"),
    _term("infiltration", (
              _sct("409609008", "Radiologic infiltrate of lung", "single"),
              _dcm("112121", "Infiltrate")),
          "Thâm nhiễm phổi", "Infiltrate", LUNG, Tier.ROUTINE, "R91"),
    _term("nodule", (
              _sct("427359005", "Solitary nodule of lung", "agreed"),
              _rid("RID50149", "Pulmonary nodule")),
          "Nốt mờ phổi", "Pulmonary nodule", LUNG, Tier.ROUTINE, "R91"),
    _term("mass", (_sct("309529002", "Lung mass", "agreed"), _rid("RID3874", "Mass")),
          "Khối mờ phổi", "Lung mass", LUNG, Tier.URGENT, "R91"),
    _term("emphysema", (_sct("87433001", "Pulmonary emphysema", "agreed"), _rid("RID4799", "Emphysema")),
          "Khí phế thũng", "Emphysema", LUNG, Tier.ROUTINE, "J43.9"),
    _term("fibrosis", (
              _sct("51615001", "Fibrosis of lung", "agreed"),
              _rid("RID3820", "Fibrosis", "single")),
          "Xơ phổi", "Pulmonary fibrosis", LUNG, Tier.ROUTINE, "J84.1"),
    _term("pleural_thickening", (_rid("RID28509", "Thickening"),),
          "Dày màng phổi", "Pleural thickening", PLEURA, Tier.ROUTINE, "J92.9"),
    _term("hernia", (
              _sct("39839004", "Diaphragmatic hernia", "agreed"),
              _rid("RID4895", "Hernia", "single")),
          "Thoát vị hoành", "Diaphragmatic hernia", None, Tier.ROUTINE, "K44.9"),
    _term("cardiomegaly", (_sct("8186001", "Cardiomegaly", "agreed"),),
          "Bóng tim to", "Cardiomegaly", HEART, Tier.ROUTINE, "I51.7"),
    _term("tuberculosis", (
              _sct("154283005", "Pulmonary tuberculosis", "agreed"),
              _rid("RID29116", "Tuberculosis", "single")),
          "Nghi lao phổi", "Suspected pulmonary tuberculosis", LUNG, Tier.URGENT, "Z03.0"),
    _term("lung_opacity", (_dcm("112001", "Opacity"), _rid("RID28530", "Opacity")),
          "Đám mờ phổi", "Lung opacity", LUNG, Tier.ROUTINE, "R91"),
    _term("lung_lesion", (_sct("308689002", "Coin lesion", "listed"), _rid("RID38780", "Lesion", "single")),
          "Tổn thương phổi", "Lung lesion", LUNG, Tier.ROUTINE, "R91"),
    _term("lung_tumor", (_sct("309529002", "Lung mass", "agreed"),),
          "Nghi u phổi", "Suspected lung tumour", LUNG, Tier.URGENT, "D38.1"),
    _term("cavity", (_sct("302219003", "Lung cavity", "memory"), _rid("RID7475", "Cavitary")),
          "Hang phổi", "Lung cavity", LUNG, Tier.URGENT, "J98.4"),
    _term("lung_cyst", (_own("lung_cyst", "Lung cyst"),),
          "Kén khí phổi", "Lung cyst", LUNG, Tier.ROUTINE, "J98.4"),
    _term("copd", (
              _sct("13645005", "Chronic obstructive lung disease", "agreed"),
              _rid("RID5317", "COPD", "single")),
          "Dấu hiệu bệnh phổi tắc nghẽn mạn tính", "Signs of COPD", LUNG, Tier.ROUTINE, "J44.9"),
    _term("ild", (
              _sct("233703007", "Interstitial lung disease", "agreed"),
              _dcm("112004", "Abnormal interstitial pattern"),
              _rid("RID28799", "Interstitial lung disease", "single")),
          "Bệnh phổi kẽ", "Interstitial lung disease", LUNG, Tier.ROUTINE, "J84.9"),
    _term("enlarged_cmed", (_sct("263654008", "Abnormal", "listed"),),
          "Bóng tim – trung thất rộng", "Enlarged cardiomediastinum", MEDIASTINUM, Tier.URGENT, "R93.8"),
    _term("mediastinal_shift", (_own("mediast_shift", "Mediastinal shift"),),
          "Lệch trung thất", "Mediastinal shift", MEDIASTINUM, Tier.URGENT, "J98.5"),
    _term("aortic_enlargement", (_own("aortic_enlarged", "Aortic enlargement"),),
          "Giãn động mạch chủ", "Aortic enlargement", None, Tier.ROUTINE, "I77.8"),
    _term("enlarged_pa", (_own("enlarged_pa", "Enlarged pulmonary artery"),),
          "Giãn động mạch phổi", "Enlarged pulmonary artery", None, Tier.ROUTINE, "I28.8"),
    _term("calcification", (
              _sct("82650004", "Calcification", "single"),
              _dcm("112063", "Abnormal calcifications"),
              _rid("RID5196", "Calcification")),
          "Vôi hóa", "Calcification", LUNG, Tier.ROUTINE, "J98.4"),
    _term("rib_fracture", (_sct("33737001", "Fracture of rib", "single"), _rid("RID4650", "Fracture")),
          "Gãy xương sườn", "Rib fracture", CHEST, Tier.URGENT, "S22.3"),
    _term("clavicle_fracture", (
              _sct("58150001", "Fracture of clavicle", "memory"),
              _rid("RID4650", "Fracture")),
          "Gãy xương đòn", "Clavicle fracture", None, Tier.URGENT, "S42.0"),
    _term("fracture", (_sct("125605004", "Fracture of bone", "agreed"), _rid("RID4650", "Fracture")),
          "Gãy xương", "Fracture", None, Tier.URGENT, None),
    _term("support_devices", (_own("support_devices", "Support devices present"),),
          "Có thiết bị hoặc ống thông hỗ trợ", "Support devices present", None, Tier.ROUTINE, None),
    _term("other_abnormality", (_sct("263654008", "Abnormal", "listed"),),
          "Bất thường khác", "Other finding", CHEST, Tier.ROUTINE, "R93.8"),
)
# fmt: on
FINDINGS: Mapping[str, FindingTerm] = {term.key: term for term in _TERMS}
