"""The table against the dictionary, against the modules of PS3.3, and against itself."""

import json
from importlib import resources

import pytest
from pydicom.datadict import dictionary_VR, tag_for_keyword

from hoichan.guard import profile
from hoichan.guard.profile import (
    BASIC,
    BIRTH,
    CHARACTERISTICS,
    DESCRIPTORS,
    DEVICE,
    Action,
    default_action,
    resolve,
)

CR = "1.2.840.10008.5.1.4.1.1.1"
TEXT = {"AE", "AS", "LO", "LT", "PN", "SH", "ST", "UC", "UR", "UT", "DA", "DT", "TM"}


def standard(name):
    """One of the tables that highdicom carries."""
    return json.loads((resources.files("highdicom") / "_standard" / f"{name}.json").read_text())


IODS = standard("sop_class_iod_map")  # the small one; the others are read where the tests run


@pytest.fixture(scope="module")
def types():
    """(SOP class, keyword, whether nested) -> requirement types."""
    attributes, used = standard("module_attribute_map"), standard("iod_module_map")
    found = {}
    for sop_class, iod in IODS.items():
        for module in used[iod]:
            for attribute in attributes.get(module["key"], []):
                key = (sop_class, attribute["keyword"], bool(attribute["path"]))
                found.setdefault(key, set()).add(attribute["type"][0])
    assert {key[0] for key in found} == set(IODS)
    return found


def test_every_keyword_is_in_the_dictionary():
    for keyword in {*BASIC, *DEVICE, *CHARACTERISTICS, *DESCRIPTORS, *BIRTH}:
        assert tag_for_keyword(keyword) is not None, keyword


def test_every_action_code_is_one_of_the_standard():
    assert {part for code in BASIC.values() for part in code.split("/")} <= {"X", "Z", "D", "U"}
    assert len(BASIC) > 400


def test_what_identifies_directly_is_in_the_table():
    for keyword in [
        "PatientName",
        "PatientID",
        "PatientBirthDate",
        "OtherPatientIDs",
        "PatientAddress",
        "PatientTelephoneNumbers",
        "ReferringPhysicianName",
        "InstitutionName",
        "AccessionNumber",
        "StudyID",
        "OperatorsName",
        "StationName",
        "ImageComments",
        "PatientComments",
        "StudyDescription",
        "RequestAttributesSequence",
        "OriginalAttributesSequence",
    ]:
        assert keyword in BASIC


@pytest.mark.parametrize("sop_class", sorted(IODS))
def test_a_combination_never_breaks_a_required_type(types, sop_class):
    """X only for type 3, Z only for types 2 and 3 (PS3.15 E.1)."""
    for keyword, code in BASIC.items():
        for nested in (False, True):
            wanted = types.get((sop_class, keyword, nested), set())
            if "/" not in code or not wanted or dictionary_VR(keyword) == "SQ":
                continue
            action = resolve(keyword, code, sop_class_uid=sop_class, nested=nested)
            if "2" in wanted:
                assert action is not Action.REMOVE, keyword
            if "1" in wanted and "D" in code:
                assert action is Action.DUMMY, keyword


IMAGES = [
    f"1.2.840.10008.5.1.4.1.1.{suffix}"
    for suffix in ("1", "1.1", "1.2", "2", "3.1", "4", "6.1", "7", "12.1", "66.4", "128")
]
# In sequences that go as a whole, in forms of a code that are replaced, or without the condition for them
ELSEWHERE = frozenset(
    """
    AttributeModificationDateTime BreedRegistrationNumber CodeMeaning CodeValue CodingSchemeDesignator
    CodingSchemeExternalID CodingSchemeRegistry CodingSchemeURL CodingSchemeVersion ContextGroupLocalVersion
    ContextGroupVersion DeidentificationMethod DeviceAlternateIdentifierFormat DigitalSignatureDateTime
    DimensionIndexPrivateCreator FilterType FunctionalGroupPrivateCreator GeneticModificationsDescription
    GeneticModificationsNomenclature HL7InstanceIdentifier IssuerOfClinicalTrialProtocolID
    LocalNamespaceEntityID LongCodeValue ModifyingSystem PatientSpeciesDescription
    PatientTreatmentPreparationProcedureParameterDescription PixelDataProviderURL PrivateCreatorReference
    PrivateDataElementKeyword PrivateDataElementName RetrieveAETitle RetrieveURI RetrieveURL
    SelectorAttributePrivateCreator SelectorSequencePointerPrivateCreator SourceOfPreviousValues
    StorageMediaFileSetID StrainSource StrainStockNumber URNCodeValue UniversalEntityID
    """.split()  # noqa: SIM905
)


@pytest.mark.parametrize("sop_class", IMAGES)
def test_unlisted_text_that_an_image_must_carry_is_not_removed(types, sop_class):
    for (of, keyword, _), wanted in types.items():
        tag = tag_for_keyword(keyword)
        if of != sop_class or tag is None or keyword in BASIC or keyword in ELSEWHERE:
            continue
        if dictionary_VR(tag) in TEXT and wanted & {"1", "2"}:
            assert default_action(keyword, dictionary_VR(tag)) is not Action.REMOVE, keyword


def test_examples_of_resolving():
    assert resolve("ContentDate", "Z/D", sop_class_uid=CR, nested=False) is Action.EMPTY
    assert resolve("StationName", "X/Z/D", sop_class_uid=CR, nested=False) is Action.REMOVE
    assert (
        resolve("StationName", "X/Z/D", sop_class_uid="1.2.840.10008.5.1.4.1.1.2.1", nested=False)
        is Action.DUMMY
    )
    assert resolve("SourceImageSequence", "X/Z/U", sop_class_uid=CR, nested=False) is Action.NEW_UID


def test_numbers_and_samples_stay_and_other_bytes_go():
    assert default_action("KVP", "DS") is Action.KEEP
    assert default_action("PixelData", "OB or OW") is Action.KEEP
    assert default_action("ICCProfile", "OB") is Action.REMOVE
    assert default_action("SOPInstanceUID", "UI") is Action.NEW_UID
    assert default_action("ReceiveCoilName", "SH") is Action.REMOVE


def test_columns_do_not_contradict_each_other():
    assert not DEVICE & DESCRIPTORS
    assert not CHARACTERISTICS & DESCRIPTORS
    assert set(BASIC) >= CHARACTERISTICS
    assert not profile._DUMMY & profile._EMPTY
