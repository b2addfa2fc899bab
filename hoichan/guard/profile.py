"""Table E.1-1 of PS3.15 as data: what the Basic Application Level Confidentiality Profile does to what.

The action codes are those of the standard: X remove, Z empty, D dummy, K keep, C clean, U new UID; a
combination such as X/Z/D means "the first that the IOD allows" (`resolve`). Not written out, because a rule
says the same: every UID (U, `deidentify`), the GPS attributes (X), groups 50xx and 60xx, private and unknown
attributes (X).

What the table does not list is not kept for that reason, as the standard would: `default_action` keeps
numbers and the fixed terms of `hoichan.guard.words`, and takes every other text away.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum

from pydicom.datadict import keyword_for_tag


class Action(StrEnum):
    """What happens to one attribute (PS3.15 E.1.1)."""

    REMOVE = "X"
    EMPTY = "Z"
    DUMMY = "D"
    KEEP = "K"
    CLEAN = "C"
    NEW_UID = "U"


_STORAGE = "1.2.840.10008.5.1.4.1.1."
REFUSED = frozenset(("1.2.840.10008.1.3.10", _STORAGE + "66"))  # a directory of media, raw data
REFUSED_FAMILIES = (
    _STORAGE + "88.",  # structured reports and key objects
    _STORAGE + "104.",  # PDF, CDA, STL and other documents
    _STORAGE + "9.4.",  # speech
)
REFUSED_CONTENT = (0x00041220, 0x00420011)  # directory records, an encapsulated document


def _set(keywords: str) -> frozenset[str]:
    return frozenset(keywords.split())


_BASIC = {
    "X": """
        AcquisitionComments AcquisitionProtocolDescription ActualHumanPerformersSequence
        AdditionalPatientHistory AddressTrial AdmissionID AdmittingDate AdmittingDiagnosesCodeSequence
        AdmittingDiagnosesDescription AdmittingTime Allergies Arbitrary AuthorObserverSequence
        BeamDescription BolusDescription BranchOfService CameraOwnerName CassetteID
        ClinicalTrialProtocolEthicsCommitteeApprovalNumber CodingSchemeIdentificationSequence
        ClinicalTrialSeriesDescription ClinicalTrialSeriesID ClinicalTrialTimePointDescription
        CommentsOnRadiationDose CommentsOnThePerformedProcedureStep CompensatorDescription
        ConfidentialityConstraintOnPatientDataDescription ConsultingPhysicianIdentificationSequence
        ContainerComponentID ContainerDescription ContentCreatorIdentificationCodeSequence
        ContributingEquipmentSequence ContributionDescription CountryOfResidence CurrentObserverTrial
        CurrentPatientLocation CurveDate CurveTime CustodialOrganizationSequence DataSetTrailingPadding
        DateOfSecondaryCapture DecompositionDescription DerivationDescription DeviceDescription
        DeviceSettingDescription DigitalSignaturesSequence DischargeDiagnosisDescription DistributionAddress
        DistributionName DoseReferenceDescription EncryptedAttributesSequence EntityDescription EntityName
        EquipmentFrameOfReferenceDescription EthnicGroup ExpectedCompletionDateTime
        FixationDeviceDescription FractionGroupDescription FrameComments GantryID GeneratorID
        HumanPerformerName HumanPerformerOrganization IconImageSequence IdentifyingComments ImageComments
        ImagePresentationComments ImagingServiceRequestComments Impressions InstanceCoercionDateTime
        InstanceOriginStatus InstitutionAddress InstitutionalDepartmentName
        InstitutionalDepartmentTypeCodeSequence InsurancePlanIdentification
        IntendedRecipientsOfResultsIdentificationSequence InterpretationApproverSequence
        InterpretationAuthor InterpretationDiagnosisDescription InterpretationIDIssuer
        InterpretationRecorder InterpretationText InterpretationTranscriber IssuerOfAdmissionID
        IssuerOfAdmissionIDSequence IssuerOfPatientID IssuerOfPatientIDQualifiersSequence
        IssuerOfServiceEpisodeID IssuerOfServiceEpisodeIDSequence LastMenstrualDate LensMake LensModel
        LensSerialNumber LensSpecification LongDeviceDescription MAC MakerNote MedicalAlerts
        MedicalRecordLocator MilitaryRank ModifiedAttributesSequence ModifiedImageDescription
        ModifyingDeviceID MultienergyAcquisitionDescription NameOfPhysiciansReadingStudy
        NamesOfIntendedRecipientsOfResults NonconformingDataElementValue
        NonconformingModifiedAttributesSequence ObservationDateTrial ObservationTimeTrial Occupation
        OrderCallbackPhoneNumber OrderCallbackTelecomInformation OrderEnteredBy OrderEntererLocation
        OriginalAttributesSequence OtherPatientIDs OtherPatientIDsSequence OtherPatientNames OverlayDate
        OverlayTime ParticipantSequence PatientAddress PatientAge PatientAlternativeCalendar
        PatientBirthDateInAlternativeCalendar PatientBirthName PatientBirthTime PatientComments
        PatientDeathDateInAlternativeCalendar PatientInstitutionResidence PatientInsurancePlanCodeSequence
        PatientMotherBirthName PatientPrimaryLanguageCodeSequence PatientPrimaryLanguageModifierCodeSequence
        PatientReligiousPreference PatientSize PatientState PatientTelecomInformation
        PatientTelephoneNumbers PatientTransportArrangements PatientWeight PerformedLocation
        PerformedProcedureStepDescription PerformedProcedureStepEndDate PerformedProcedureStepEndDateTime
        PerformedProcedureStepEndTime PerformedProcedureStepID PerformedProcedureStepStartDate
        PerformedProcedureStepStartDateTime PerformedProcedureStepStartTime PerformedStationAETitle
        PerformedStationGeographicLocationCodeSequence PerformedStationName PerformedStationNameCodeSequence
        PerformingPhysicianIdentificationSequence PerformingPhysicianName PersonAddress
        PersonTelecomInformation PersonTelephoneNumbers PhysicianApprovingInterpretation PhysiciansOfRecord
        PhysiciansOfRecordIdentificationSequence PhysiciansReadingStudyIdentificationSequence PlateID
        PreMedication PregnancyStatus PrescriptionDescription PriorTreatmentDoseDescription
        PrivateDataElementCharacteristicsSequence ProcedureStepCancellationDateTime ROIDescription
        ROIGenerationDescription ROIObservationDescription ROIObservationLabel RTPlanDescription RTPlanName
        ReasonForOmissionDescription ReasonForRequestedProcedureCodeSequence ReasonForStudy
        ReasonForTheImagingServiceRequest ReasonForTheRequestedProcedure ReasonForVisit
        ReasonForVisitCodeSequence ReferencedDigitalSignatureSequence ReferencedPatientAliasSequence
        ReferencedPatientPhotoSequence ReferencedPatientSequence ReferencedSOPInstanceMACSequence
        ReferringPhysicianAddress ReferringPhysicianIdentificationSequence
        ReferringPhysicianTelephoneNumbers RegionOfResidence RequestAttributesSequence
        RequestedContrastAgent RequestedProcedureComments RequestedProcedureID RequestedProcedureLocation
        RequestedSeriesDescription RequestingPhysician RequestingPhysicianIdentificationSequence
        RequestingService RespiratoryMotionCompensationTechniqueDescription ResponsibleOrganization
        ResponsiblePerson ResultsComments ResultsDistributionListSequence ResultsIDIssuer
        ScheduledHumanPerformersSequence ScheduledPatientInstitutionResidence
        ScheduledPerformingPhysicianIdentificationSequence ScheduledPerformingPhysicianName
        ScheduledProcedureStepDescription ScheduledProcedureStepEndDate ScheduledProcedureStepEndTime
        ScheduledProcedureStepExpirationDateTime ScheduledProcedureStepID ScheduledProcedureStepLocation
        ScheduledProcedureStepModificationDateTime ScheduledProcedureStepStartDate
        ScheduledProcedureStepStartDateTime ScheduledProcedureStepStartTime ScheduledStationAETitle
        ScheduledStationGeographicLocationCodeSequence ScheduledStationName ScheduledStationNameCodeSequence
        ScheduledStudyLocation ScheduledStudyLocationAETitle SeriesDescription ServiceEpisodeDescription
        ServiceEpisodeID SetupTechniqueDescription ShieldingDeviceDescription SlideIdentifier SmokingStatus
        SourceManufacturer SpecialNeeds SpecimenAccessionNumber SpecimenDetailedDescription
        SpecimenShortDescription StructureSetDescription StructureSetName StudyComments StudyDescription
        StudyIDIssuer TelephoneNumberTrial TextComments TextString TimeOfSecondaryCapture
        TimezoneOffsetFromUTC TopicAuthor TopicKeywords TopicSubject TopicTitle
        TransducerIdentificationSequence UDISequence UniqueDeviceIdentifier
        VerbalSourceIdentifierCodeSequenceTrial VerbalSourceTrial VisitComments XRayDetectorLabel
        """,
    "Z": """
        AccessionNumber ClinicalTrialCoordinatingCenterName ClinicalTrialProtocolName ClinicalTrialSiteID
        ClinicalTrialSiteName ClinicalTrialTimePointID ConceptualVolumeCombinationDescription
        ConceptualVolumeDescription ConsultingPhysicianName DeviceAlternateIdentifier
        FillerOrderNumberImagingServiceRequest FractionationNotes IssuerOfTheContainerIdentifierSequence
        IssuerOfTheSpecimenIdentifierSequence ManufacturerDeviceIdentifier PatientBirthDate PatientID
        PatientName PatientSex PlacerOrderNumberImagingServiceRequest PrescriptionNotes
        PrescriptionNotesSequence ROIInterpreter ROIName RTAccessoryDeviceSlotID RTAccessoryHolderSlotID
        RTPhysicianIntentNarrative RadiationGenerationModeDescription ReasonForSuperseding
        ReferringPhysicianName SpecimenPreparationSequence StructureSetDate StudyDate StudyID StudyTime
        TreatmentTechniqueNotes VerifyingObserverIdentificationCodeSequence
        """,
    "D": """
        AcquisitionFieldOfViewLabel ClinicalTrialProtocolEthicsCommitteeName ClinicalTrialProtocolID
        ClinicalTrialSponsorName ClinicalTrialSubjectID ClinicalTrialSubjectReadingID ContainerIdentifier
        ContentSequence DeviceLabel EntityLabel EntityLongLabel FlowIdentifier FlowIdentifierSequence
        FrameOriginTimestamp GraphicAnnotationSequence ImpedanceMeasurementDateTime InterlockDateTime
        InterlockDescription InterlockOriginDescription OverrideDateTime PersonIdentificationCodeSequence
        PersonName RTPlanLabel RTPrescriptionLabel RTToleranceSetLabel RadiationDoseIdentificationLabel
        RadiationDoseInVivoMeasurementLabel RadiationGenerationModeLabel RecordedRTControlPointDateTime
        SourceEndDateTime SourceIdentifier SourceStartDateTime SpecimenIdentifier StructureSetLabel
        TreatmentPositionGroupLabel TreatmentSite TreatmentToleranceViolationDateTime
        TreatmentToleranceViolationDescription UserContentLabel UserContentLongLabel VerifyingObserverName
        VerifyingObserverSequence VerifyingOrganization XRayDetectorID XRaySourceID
        """,
    "X/Z": """
        AcquisitionContextSequence AcquisitionDate AcquisitionTime BarcodeValue LabelText PatientSexNeutered
        ReferencedStudySequence RequestedProcedureDescription ReviewerName SourceSerialNumber
        TreatmentMachineName
        """,
    "X/D": """
        AcquisitionDeviceProcessingDescription DetectorID EndAcquisitionDateTime FirstTreatmentDate
        InstanceCreationDate InstanceCreationTime IntendedPhaseEndDate IntendedPhaseStartDate
        MostRecentTreatmentDate OperatorIdentificationSequence ProtocolName RTPlanDate RTPlanTime
        RTTreatmentApproachLabel SeriesDate SeriesTime StartAcquisitionDateTime StructureSetTime
        TreatmentDate TreatmentTime
        """,
    "Z/D": "ContentCreatorName ContentDate ContentTime ContrastBolusAgent",
    "X/Z/D": """
        AcquisitionDateTime DeviceSerialNumber InstitutionCodeSequence InstitutionName OperatorsName
        ReferencedPerformedProcedureStepSequence StationName
        """,
    "X/Z/U": "ReferencedImageSequence SourceImageSequence",
}
_GPS = [keyword_for_tag(tag) for tag in range(0x00160070, 0x0016008F)]
BASIC: Mapping[str, str] = {
    keyword: code for code, keywords in _BASIC.items() for keyword in keywords.split()
} | dict.fromkeys(_GPS, "X")  # keyword -> action code of the column "Basic Profile"

# The columns of the options that we offer. Manufacturer, model and software are not in the standard's
# column: it keeps them always, we only with this option or when the word is known.
DEVICE = _set(
    """
    CassetteID DetectorID DeviceDescription DeviceLabel DeviceSerialNumber GantryID GeneratorID LensMake
    LensModel LensSerialNumber LensSpecification ManufacturerDeviceIdentifier PerformedStationAETitle
    PerformedStationGeographicLocationCodeSequence PerformedStationName PerformedStationNameCodeSequence
    PlateID ScheduledProcedureStepLocation ScheduledStationAETitle
    ScheduledStationGeographicLocationCodeSequence ScheduledStationName ScheduledStationNameCodeSequence
    ScheduledStudyLocation ScheduledStudyLocationAETitle SourceManufacturer SourceSerialNumber StationName
    TransducerIdentificationSequence TreatmentMachineName UDISequence UniqueDeviceIdentifier XRayDetectorID
    XRayDetectorLabel XRaySourceID Manufacturer ManufacturerModelName SoftwareVersions
    """
)  # Retain Device Identity: K; DeviceUID and ManufacturerDeviceClassUID are replaced all the same
CHARACTERISTICS = _set(
    "PatientAge PatientSex PatientSexNeutered PatientSize PatientWeight PregnancyStatus SmokingStatus"
)  # Retain Patient Characteristics: K. Ethnic group, allergies and other free text stay removed
DESCRIPTORS = _set(
    """
    AcquisitionComments AcquisitionDeviceProcessingDescription AcquisitionFieldOfViewLabel
    AcquisitionProtocolDescription AdditionalPatientHistory AdmittingDiagnosesCodeSequence
    AdmittingDiagnosesDescription Allergies BeamDescription BolusDescription ClinicalTrialSeriesDescription
    ClinicalTrialTimePointDescription CommentsOnRadiationDose CommentsOnThePerformedProcedureStep
    CompensatorDescription ConceptualVolumeCombinationDescription ConceptualVolumeDescription
    ContainerDescription ContrastBolusAgent ContributionDescription DecompositionDescription
    DerivationDescription DeviceSettingDescription DischargeDiagnosisDescription DoseReferenceDescription
    EntityDescription EntityLabel EntityLongLabel EntityName EquipmentFrameOfReferenceDescription
    FixationDeviceDescription FractionGroupDescription FractionationNotes FrameComments IdentifyingComments
    ImageComments ImagingServiceRequestComments Impressions InterlockDescription InterlockOriginDescription
    InterpretationDiagnosisDescription InterpretationText LabelText LongDeviceDescription MakerNote
    MedicalAlerts MultienergyAcquisitionDescription Occupation PatientComments PatientState
    PerformedProcedureStepDescription PrescriptionDescription PrescriptionNotes PrescriptionNotesSequence
    PriorTreatmentDoseDescription ProtocolName RadiationDoseIdentificationLabel
    RadiationDoseInVivoMeasurementLabel RadiationGenerationModeDescription RadiationGenerationModeLabel
    ReasonForOmissionDescription ReasonForRequestedProcedureCodeSequence ReasonForStudy ReasonForSuperseding
    ReasonForTheImagingServiceRequest ReasonForTheRequestedProcedure ReasonForVisit
    ReasonForVisitCodeSequence RequestAttributesSequence RequestedContrastAgent RequestedProcedureComments
    RequestedProcedureDescription RequestedSeriesDescription
    RespiratoryMotionCompensationTechniqueDescription ResultsComments ROIDescription
    ROIGenerationDescription ROIName ROIObservationDescription ROIObservationLabel
    RTPhysicianIntentNarrative RTPlanDescription RTPlanLabel RTPlanName RTPrescriptionLabel
    RTToleranceSetLabel RTTreatmentApproachLabel ScheduledProcedureStepDescription SeriesDescription
    ServiceEpisodeDescription SetupTechniqueDescription ShieldingDeviceDescription
    SpecimenDetailedDescription SpecimenShortDescription StructureSetDescription StructureSetLabel
    StructureSetName StudyComments StudyDescription TreatmentPositionGroupLabel TreatmentSite
    TreatmentTechniqueNotes TreatmentToleranceViolationDescription UserContentLabel UserContentLongLabel
    VisitComments SegmentDescription SegmentLabel
    """
)  # Clean Descriptors: C; the last two are ours
BIRTH = _set(
    """
    PatientBirthDate PatientBirthTime PatientBirthDateInAlternativeCalendar
    PatientDeathDateInAlternativeCalendar
    """
)  # dates without the column Modified Dates: never shifted

# Requirement types that decide a combination: the images that most hospitals make.
# Of the attributes with a combination they require, as type 2, only these.
_IMAGES = _set("1 1.1 1.1.1 1.2 1.2.1 1.3 1.3.1 2 4 7 12.1 12.2 20")
_CLASSIC = frozenset(_STORAGE + suffix for suffix in _IMAGES)
_TYPE_2_OF_CLASSIC = _set(
    """
    AcquisitionContextSequence AcquisitionDate AcquisitionTime ContentDate ContentTime ContrastBolusAgent
    PatientSexNeutered
    """
)

# Unlisted text that an image, segmentation or presentation state must carry (types 1 and 1C, 2 and 2C).
_DUMMY = _set(
    """
    AlgorithmName AlgorithmVersion AnnotationGroupLabel ApplicationManufacturer ApplicationName
    ApplicationVersion BeamCurrentModulationID CalculationComment DataSetName DataSetSource DataSetVersion
    DisplayWindowLabelVector FiducialIdentifier FrameLabelVector GraphicGroupLabel LUTExplanation LUTLabel
    Manufacturer ManufacturerModelName MetaboliteMapDescription ModalityLUTType MultiCoilElementName
    OpticalPathIdentifier PixelSpacingCalibrationDescription ReferencedOpticalPathIdentifier RescaleType
    RTImageLabel SegmentAlgorithmName SegmentLabel SoftwareVersions SourceIsotopeName StackID TextValue
    TrackSetLabel TrackingID UnformattedTextValue DateTime Date Time FrameAcquisitionDateTime
    FrameReferenceDateTime PresentationCreationDate PresentationCreationTime
    RadiopharmaceuticalStartDateTime SourceStrengthReferenceDate SourceStrengthReferenceTime
    DecayCorrectionDateTime
    """
)
_EMPTY = _set(
    """
    ASLBolusCutoffTechnique ASLTechniqueDescription BlockName BrachyAccessoryDeviceID CalibrationDateTime
    ChannelShieldID ContentDescription DocumentTitle FixationDeviceLabel LensDescription
    ManufacturerModelVersion MaterialID PatientBreedDescription PatientSetupPhotoDescription
    PositionReferenceIndicator RadiationMachineName ReceiveCoilManufacturerName ReviewDate ReviewTime
    SetupDeviceLabel ShieldingDeviceLabel TransmitCoilManufacturerName TreatmentTerminationDescription
    """
)
_NUMBERS = _set("DS IS US SS UL SL UV SV FL FD AT OF OD OL OV")
_BULK = _set(
    """
    PixelData FloatPixelData DoubleFloatPixelData LUTData RedPaletteColorLookupTableData
    GreenPaletteColorLookupTableData BluePaletteColorLookupTableData AlphaPaletteColorLookupTableData
    SegmentedRedPaletteColorLookupTableData SegmentedGreenPaletteColorLookupTableData
    SegmentedBluePaletteColorLookupTableData SegmentedAlphaPaletteColorLookupTableData
    BlendingLookupTableData RecommendedDisplayCIELabValueList WaveformData WaveformPaddingValue
    ChannelMinimumValue ChannelMaximumValue
    """
)  # OB and OW that hold samples; every other one may hold text


CLASS_UIDS = _set(
    """
    SOPClassUID ReferencedSOPClassUID ReferencedSOPClassUIDInFile RelatedGeneralSOPClassUID
    ReferencedRelatedGeneralSOPClassUIDInFile OriginalSpecializedSOPClassUID SOPClassesInStudy
    SOPClassesSupported
    """
)  # of a class, not of an object; a maker's own classes are not registered
DUMMIES: Mapping[str, str | bytes] = {
    "AE": "REMOVED", "AS": "000Y", "CS": "OTHER", "DA": "19000101", "DS": "0", "DT": "19000101000000",
    "IS": "0", "LO": "REMOVED", "LT": "REMOVED", "PN": "REMOVED", "SH": "REMOVED", "ST": "REMOVED",
    "TM": "000000", "UC": "REMOVED", "UR": "urn:removed", "UT": "REMOVED", "OB": b"\0\0", "OW": b"\0\0",
}  # fmt: skip


def resolve(keyword: str, code: str, *, sop_class_uid: str, nested: bool) -> Action:
    """One action out of a combination, by the type of the attribute in this IOD.

    Where the type is not known the strongest requirement is taken: a dummy is valid under each of them.
    References to images are kept and carry new UIDs.
    """
    choices = code.split("/")
    if len(choices) == 1 or "U" in choices:
        return Action(choices[-1])
    if sop_class_uid not in _CLASSIC or nested:
        return Action(choices[-1])
    if keyword in _TYPE_2_OF_CLASSIC and "Z" in choices:
        return Action.EMPTY
    return Action(choices[0])


def default_action(keyword: str, vr: str) -> Action:
    """What happens to a standard attribute that table E.1-1 does not list. `vr` is that of the dictionary."""
    first = vr.split(" or ", maxsplit=1)[0]
    if first == "UI":
        return Action.NEW_UID
    if first in ("SQ", "CS"):
        return Action.CLEAN
    if first in _NUMBERS or keyword in _BULK:
        return Action.KEEP
    if keyword in _DUMMY:
        return Action.DUMMY
    return Action.EMPTY if keyword in _EMPTY else Action.REMOVE
