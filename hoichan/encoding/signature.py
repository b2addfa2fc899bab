"""What a signature adds to the SR: who signed, the name as DICOM writes it, and what was said."""

from __future__ import annotations

from highdicom.sr import (
    CodeContentItem,
    ContentItem,
    FindingSite,
    Measurement,
    ObservationContext,
    ObserverContext,
    PersonObserverIdentifyingAttributes,
    TextContentItem,
)
from highdicom.sr.coding import CodedConcept
from pydicom import Dataset
from pydicom.sequence import Sequence as DicomSequence

from hoichan import codes
from hoichan.encoding.equipment import long_string
from hoichan.encoding.signer import dicom_name, rejection
from hoichan.encoding.source import DocumentContext, offset_text
from hoichan.reporting.begun import begun_uid
from hoichan.reporting.reports import measurement_text
from hoichan.reporting.review_words import SENTENCES, SIDE_CODES, SITES
from hoichan.reporting.signed import is_added, judgement_of
from hoichan.reporting.volume_verdicts import rejected_volumes
from hoichan.types import Code, Finding, Presence, Report, Review, ReviewKind, Verdict
from hoichan.uids import derived_uid

SERIES_NUMBER = 9011
SERIES_DESCRIPTION = "AI Results (verified)"
LICENCE_SCHEME = "99HOICHAN"  # private: there is no public scheme of Vietnamese licences to practise
COMMENT = CodedConcept("121106", "DCM", "Comment")
LONG_AXIS = CodedConcept("103339001", "SCT", "Long Axis")  # CID 7470
MILLIMETER = CodedConcept("mm", "UCUM", "millimeter")
SECTIONS = {  # in reading order
    "description": CodedConcept("121071", "DCM", "Finding"),
    "comparison": CodedConcept("18834-2", "LN", "Radiology Comparison study"),
    "conclusion": CodedConcept("121077", "DCM", "Conclusion"),
    "recommendation": CodedConcept("121075", "DCM", "Recommendation"),
}
PERSON = CodedConcept("121006", "DCM", "Person")
_SHORT_STRING = 16  # characters of a Code Value


def observer(context: DocumentContext, review: Review) -> ObservationContext:
    """TID 1003: the person who says it."""
    return ObservationContext(
        observer_person_context=ObserverContext(
            observer_type=PERSON,
            observer_identifying_attributes=PersonObserverIdentifyingAttributes(
                name=dicom_name(review.reviewer_name),
                login_name=review.reviewer,
                organization_name=context.institution_name,
            ),
        )
    )


def verify(document: Dataset, context: DocumentContext, review: Review) -> None:
    """(0040,A073): name, organisation, licence number and time of the signature, as they were signed."""
    licence = Dataset()
    value = review.licence_number
    if len(value) <= _SHORT_STRING:
        licence.CodeValue = value
    else:
        licence.LongCodeValue = value
    licence.CodingSchemeDesignator = LICENCE_SCHEME
    licence.CodeMeaning = "Licence to practise medicine"
    item = Dataset()
    item.VerifyingObserverName = dicom_name(review.reviewer_name)
    item.VerifyingOrganization = long_string(context.institution_name)
    moment = review.signed_at.astimezone(context.zone)
    item.VerificationDateTime = moment.strftime("%Y%m%d%H%M%S.%f") + offset_text(context.zone)
    item.VerifyingObserverIdentificationCodeSequence = DicomSequence([licence])
    document.VerifyingObserverSequence = DicomSequence([item])
    listed = {one.CodingSchemeDesignator for one in document.CodingSchemeIdentificationSequence}
    if LICENCE_SCHEME in listed:  # a finding has a code of our own
        return
    scheme = Dataset()
    scheme.CodingSchemeDesignator = LICENCE_SCHEME
    scheme.CodingSchemeName = "Licences to practise medicine, as accounts have them"
    scheme.CodingSchemeResponsibleOrganization = long_string(context.institution_name)
    document.CodingSchemeIdentificationSequence.append(scheme)


def replaced(review: Review) -> tuple[str, ...]:
    """The reports that a signed one replaces: the signature before, and the machine's that it judges."""
    former = dict.fromkeys((review.predecessor, review.judged))
    never_sent = begun_uid(review.study_instance_uid, review.revision)
    return tuple(uid for uid in former if uid != never_sent)


def sites(finding: Finding, review: Review) -> list[FindingSite] | None:
    """Where the person said the finding is; without a word of his, where such findings are."""
    judgement = judgement_of(review, finding)
    term = codes.FINDINGS[finding.key]
    code = SITES[judgement.site].code if judgement and judgement.site else term.site
    if code is None:
        return None
    side = judgement.laterality if judgement else None
    return [FindingSite(_concept(code), laterality=_concept(SIDE_CODES[side]) if side else None)]


def size(finding: Finding, review: Review) -> list[Measurement]:
    """The longest diameter, where the person measured it."""
    judgement = judgement_of(review, finding)
    if judgement is None or judgement.size_mm is None:
        return []
    return [Measurement(LONG_AXIS, round(judgement.size_mm, 1), MILLIMETER)]


def words(context: DocumentContext, report: Report, review: Review) -> list[ContentItem]:
    """The sections as they were signed, what was said of single findings, and who signed."""
    items: list[ContentItem] = []
    for name, concept in SECTIONS.items():
        text = getattr(review.sections, name).reveal().strip()
        if text:
            items.append(TextContentItem(concept, _lines(text), relationship_type="CONTAINS"))
    language = context.language
    texts = [_said(finding, review, language) for finding in report.findings]
    texts += [
        f"{SENTENCES['rejected'][language]}: {measurement_text(one, language)}. {rejection(said, language)}"
        for one, said in rejected_volumes(report)
    ]
    if review.kind is not ReviewKind.FINAL and review.reason:
        texts.append(review.reason)
    texts.append(report.disclaimer[language])
    items += [TextContentItem(COMMENT, _lines(text), relationship_type="CONTAINS") for text in texts if text]
    return items


def doubtful(report: Report) -> list[CodeContentItem]:
    """Negatives and undetermined that a person has confirmed or said."""
    return [
        CodeContentItem(
            _concept(codes.FINDINGS[finding.key].code),
            _concept(codes.PRESENCE[finding.presence]),
            relationship_type="CONTAINS",
        )
        for finding in report.findings
        if finding.presence is not Presence.PRESENT
    ]


def tracking_uid(context: DocumentContext, finding: Finding) -> str:
    """The same lesion keeps its UID from the machine's report to the signed one (TID 300, 112040)."""
    review = context.report.review
    if review is None:
        return context.uid(f"tracking|{finding.key}|{finding.sop_instance_uid}")
    number = f"|{finding.algorithm_version}" if is_added(finding) else ""
    return derived_uid(review.judged, f"tracking|{finding.key}|{finding.sop_instance_uid}{number}")


def _said(finding: Finding, review: Review, language: str) -> str:
    judgement = judgement_of(review, finding)
    if judgement is None:
        return ""
    name = codes.FINDINGS[finding.key].display[language]
    if judgement.verdict is Verdict.REJECTED:
        return f"{SENTENCES['rejected'][language]}: {name}. {rejection(judgement, language)}"
    own = judgement.text.reveal().strip()
    return f"{name}: {own}" if own else ""


def _lines(text: str) -> str:
    """The text with CR LF for a new line, as PS3.5 6.1.3 wants it in UT."""
    return "\r\n".join(text.replace("\r\n", "\n").split("\n"))


def _concept(code: Code) -> CodedConcept:
    return CodedConcept(code.code_value, code.coding_scheme_designator, code.code_meaning)
