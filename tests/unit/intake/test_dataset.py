import hashlib
from datetime import UTC, date, datetime
from pathlib import PurePosixPath

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom.config import disable_value_validation
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

from hoichan.errors import DamagedObject, HoichanError, IncompleteObject, IntakeError
from hoichan.intake.assembly import merge
from hoichan.intake.dataset import read_spooled
from hoichan.intake.headers import DEFLATED, EXPLICIT_BIG, EXPLICIT_LITTLE, IMPLICIT_LITTLE
from hoichan.settings import Site
from hoichan.testing import FakeSpool
from hoichan.testing.datasets import COMPUTED_RADIOGRAPHY, described, encode, film
from hoichan.types import StudyState, Urgency

ZONE = Site().zone


def respooled(data_set, syntax=EXPLICIT_LITTLE, *, data=None):
    """Through a spool and back, so that values are read from their bytes."""
    spool = FakeSpool()
    stored = spool.store(
        encode(data_set, syntax) if data is None else data,
        transfer_syntax_uid=syntax,
        sop_class_uid=COMPUTED_RADIOGRAPHY,
        sop_instance_uid=data_set.SOPInstanceUID,
        calling_ae_title="CR_ROOM1",
    )
    (spooled,) = spool.listing(stored.study_instance_uid)
    try:
        return read_spooled(spool, spooled, ZONE)
    finally:
        spool.close()


BOTH = pytest.mark.parametrize("read", [described, respooled], ids=["built", "from bytes"])


@BOTH
def test_no_text_has_a_nul_that_a_database_cannot_hold(read):
    data_set = film()
    with disable_value_validation():
        del data_set.Modality, data_set.ImageType
        data_set.PatientID, data_set.AccessionNumber, data_set.Modality = "BN\x000001", "ACC\0", "\0"
        data_set.StudyDescription, data_set.ImageType = "X-quang\0 ngực", ["ORIGINAL", "PRI\0MARY"]
        study = read(data_set)
    assert (study.patient.patient_id.reveal(), study.accession_number) == ("BN0001", "ACC")
    assert (study.series[0].modality, study.study_description) == ("OT", "X-quang ngực")
    assert study.instances[0].image_type == ("ORIGINAL", "PRIMARY")


@pytest.mark.parametrize("syntax", [IMPLICIT_LITTLE, EXPLICIT_LITTLE, EXPLICIT_BIG, DEFLATED])
def test_a_film_is_described_alike_in_every_syntax(syntax):
    study = respooled(film(), syntax)
    (series,) = study.series
    (instance,) = series.instances
    assert (instance.rows, instance.columns, instance.instance_number) == (8, 8, 1)
    assert instance.transfer_syntax_uid == syntax
    assert instance.image_type == ("ORIGINAL", "PRIMARY")
    assert (series.modality, series.body_part_examined, series.view_position) == ("CR", "CHEST", "PA")
    assert study.state is StudyState.RECEIVING and study.revision == 0
    assert study.calling_ae_title == "CR_ROOM1"
    assert study.patient.patient_name.reveal() == "Nguyễn^An^Văn"


@BOTH
def test_missing_options_are_none(read):
    data_set = Dataset()
    for keyword in ("SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID"):
        setattr(data_set, keyword, getattr(film(), keyword))
    study = read(data_set)
    (series,) = study.series
    assert series.modality == "OT"
    assert study.study_datetime is study.accession_number is series.view_position is None
    assert study.patient.patient_id.reveal() == study.patient.patient_name.reveal() == ""
    assert study.patient.patient_birth_date is study.patient.patient_age_years is None
    assert series.instances[0].rows is None and series.instances[0].number_of_frames == 1


@pytest.mark.parametrize(
    "keyword", ["SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID"]
)
def test_a_missing_uid_is_an_error(keyword):
    data_set = film()
    setattr(data_set, keyword, None)
    with pytest.raises(IncompleteObject):
        described(data_set)


@BOTH
def test_times_are_site_time_unless_they_bring_an_offset(read):
    assert read(film()).study_datetime == datetime(2026, 11, 20, 1, 15, 30, tzinfo=UTC)
    data_set = film()
    data_set.TimezoneOffsetFromUTC = "+0900"
    assert read(data_set).study_datetime == datetime(2026, 11, 19, 23, 15, 30, tzinfo=UTC)


@BOTH
@pytest.mark.parametrize(
    ("age", "birth", "years"),
    [
        ("045Y", "", 45),
        ("018M", "", 1),
        ("003W", "", 0),
        ("400D", "", 1),
        ("", "20081121", 17),
        ("", "20081120", 18),
        ("", "20300101", None),
        ("", "", None),
    ],
)
def test_age_comes_from_the_age_or_from_the_dates(read, age, birth, years):
    data_set = film()
    data_set.PatientAge, data_set.PatientBirthDate = age, birth
    assert read(data_set).patient.patient_age_years == years


def test_old_dates_with_dots_are_read():
    raw = encode(film()).replace(b"DA\x08\x0019700131", b"DA\x0a\x001970.01.31")
    birth_date = respooled(film(), data=raw).patient.patient_birth_date
    assert birth_date is not None and birth_date.reveal() == date(1970, 1, 31)


def other_id(value, issuer=None):
    item = Dataset()
    item.PatientID, item.TypeOfPatientID = value, "TEXT"
    if issuer is not None:
        item.IssuerOfPatientID = issuer
    return item


@BOTH
@pytest.mark.parametrize(
    ("patient_id", "issuer", "others", "expected"),
    [
        ("BN1", None, [other_id("079170000001", "VN-BCA")], "079170000001"),
        ("BN1", None, [other_id("079170000001")], "079170000001"),
        ("BN1", None, [other_id("111111111111"), other_id("079170000001", "VN-BCA")], "079170000001"),
        ("BN1", None, [other_id("079170000001", "OTHER HOSPITAL")], None),
        ("BN1", None, [other_id("07917000000")], None),
        ("079170000001", "VN-BCA", [], "079170000001"),
        ("079170000001", "HIS", [], None),
        ("079170000001", None, [], None),
    ],
)
def test_the_citizen_id_is_taken_only_where_it_is_one(read, patient_id, issuer, others, expected):
    data_set = film()
    data_set.PatientID = patient_id
    if issuer:
        data_set.IssuerOfPatientID = issuer
    if others:
        data_set.OtherPatientIDsSequence = Sequence(others)
    found = read(data_set).patient.national_id
    assert (found.reveal() if found else None) == expected


@BOTH
@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("NGUYEN VAN AN", "NGUYEN VAN AN"),
        ("Nguyễn^An^Văn^^", "Nguyễn^An^Văn"),
        ("=Nguyễn^An", "Nguyễn^An"),
        ("", ""),
    ],
)
def test_names_are_the_first_group_that_says_something(read, name, expected):
    data_set = film()
    data_set.PatientName = name
    assert read(data_set).patient.patient_name.reveal() == expected


def test_utf8_under_a_wrong_declaration_is_read_right():
    raw = encode(film()).replace(b"CS\x0a\x00ISO_IR 192", b"CS\x0a\x00ISO_IR 100")
    assert respooled(film(), data=raw).patient.patient_name.reveal() == "Nguyễn^An^Văn"


def test_codes_are_upper_case():
    (series,) = respooled(film(), data=encode(film()).replace(b"CHEST", b"Chest")).series
    assert series.body_part_examined == "CHEST"


@BOTH
def test_laterality_of_the_image_goes_before_that_of_the_series(read):
    data_set = film()
    data_set.Laterality, data_set.ImageLaterality = "R", "L"
    assert read(data_set).series[0].laterality == "L"


@given(st.data())
@settings(max_examples=150, deadline=None)
def test_mutants_are_described_or_refused_by_our_own_errors(data):
    raw = bytearray(encode(film(), data.draw(st.sampled_from([EXPLICIT_LITTLE]))))
    for _ in range(data.draw(st.integers(1, 12))):
        raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    try:
        respooled(film(), data=bytes(raw))
    except HoichanError as error:
        assert "Nguy" not in str(error) and "BN0001" not in str(error)


def test_the_patient_does_not_show_in_the_words():
    text = repr(described(film()))
    assert "Nguy" not in text and "BN0001" not in text and "1970" not in text


@pytest.mark.parametrize("content", [b"", b"damaged", b"\0" * 128 + b"DICM"])
def test_a_file_that_was_damaged_on_the_disk_is_our_own_error(content):
    spool = FakeSpool()
    stored = spool.store(
        encode(film()),
        transfer_syntax_uid=EXPLICIT_LITTLE,
        sop_class_uid=COMPUTED_RADIOGRAPHY,
        sop_instance_uid=film().SOPInstanceUID,
        calling_ae_title="CR_ROOM1",
    )
    (spooled,) = spool.listing(stored.study_instance_uid)
    spool.file(spooled.path).write_bytes(content)
    with pytest.raises(IntakeError):
        read_spooled(spool, spooled, ZONE)
    spool.close()


def test_uids_behind_the_pixels_are_read_too():
    """The door takes elements in any order; a study that the house does not find would have no answer."""
    tail, data_set = Dataset(), film()
    for keyword in ("StudyInstanceUID", "SeriesInstanceUID"):
        tail[keyword] = data_set[keyword]
        del data_set[keyword]
    read = respooled(film(), data=encode(data_set) + encode(tail))
    assert read.study_instance_uid == film().StudyInstanceUID
    assert read.series[0].series_instance_uid == film().SeriesInstanceUID


def test_a_bit_that_flipped_on_the_disk_is_found_before_anybody_looks_at_the_image():
    spool = FakeSpool()
    stored = spool.store(
        encode(film()),
        transfer_syntax_uid=EXPLICIT_LITTLE,
        sop_class_uid=COMPUTED_RADIOGRAPHY,
        sop_instance_uid=film().SOPInstanceUID,
        calling_ae_title="CR_ROOM1",
    )
    (spooled,) = spool.listing(stored.study_instance_uid)
    sound = read_spooled(spool, spooled, ZONE)
    assert sound.instances[0].sha256 == hashlib.sha256(encode(film())).hexdigest()
    content = bytearray(spool.file(spooled.path).read_bytes())
    content[-1] ^= 0x10
    spool.file(spooled.path).write_bytes(content)
    with pytest.raises(DamagedObject):
        read_spooled(spool, spooled, ZONE)
    spool.close()


def test_the_path_is_kept():
    assert described(film()).instances[0].path == PurePosixPath("studies") / f"{film().SOPInstanceUID}.dcm"


@pytest.mark.parametrize(
    ("view", "position", "modality", "told"),
    [
        ("PA", "XX", "CR", "PA"),
        (None, "XX", "DX", "XX"),  # a maker that writes the view where the position belongs
        (None, "HFS", "CR", None),
        (None, "XX", "CT", None),
        (None, None, "CR", None),
    ],
)
def test_a_view_written_as_patient_position_is_read_as_a_view(view, position, modality, told):
    data_set = film()
    data_set.ViewPosition, data_set.PatientPosition, data_set.Modality = view, position, modality
    assert described(data_set).series[0].view_position == told


@pytest.mark.parametrize(
    ("where", "word", "urgency"),
    [
        ("", "STAT", Urgency.STAT),
        ("", "high", Urgency.URGENT),
        ("", "MEDIUM", Urgency.ROUTINE),
        ("RequestAttributesSequence", "STAT", Urgency.STAT),
        ("", "SOON", None),
        ("", "", None),
    ],
)
def test_the_priority_of_the_request_is_the_urgency(where, word, urgency):
    data_set, asked = film(), Dataset()
    (asked if where else data_set).RequestedProcedurePriority = word
    if where:
        setattr(data_set, where, Sequence([asked]))
    assert described(data_set).urgency is urgency


def test_the_most_urgent_image_decides():
    low, stat, silent = (film(instance=name) for name in ("low", "stat", "silent"))
    low.RequestedProcedurePriority, stat.RequestedProcedurePriority = "LOW", "STAT"
    assert merge([described(one) for one in (low, stat, silent)]).urgency is Urgency.STAT
    assert merge([described(silent)]).urgency is None
