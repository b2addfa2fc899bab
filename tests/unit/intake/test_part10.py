import hashlib
from io import BytesIO

import pytest
from pydicom import dcmread

from hoichan.errors import NotDicom
from hoichan.intake.headers import DEFLATED, EXPLICIT_BIG, EXPLICIT_LITTLE, IMPLICIT_LITTLE
from hoichan.intake.part10 import read_meta, write_meta
from hoichan.testing.datasets import COMPUTED_RADIOGRAPHY, encode, film

SYNTAXES = [IMPLICIT_LITTLE, EXPLICIT_LITTLE, EXPLICIT_BIG, DEFLATED]


def whole(syntax, title="CR_ROOM1"):
    data = encode(film(), syntax)
    head = write_meta(
        sop_class_uid=COMPUTED_RADIOGRAPHY,
        sop_instance_uid=film().SOPInstanceUID,
        transfer_syntax_uid=syntax,
        calling_ae_title=title,
        sha256=hashlib.sha256(data).hexdigest(),
    )
    return head, data


@pytest.mark.parametrize("syntax", SYNTAXES)
def test_another_reader_reads_what_we_write(syntax):
    head, data = whole(syntax)
    read = dcmread(BytesIO(head + data))
    assert read.PatientName == "Nguyễn^An^Văn"
    assert read.file_meta.TransferSyntaxUID == syntax
    assert read.file_meta.SourceApplicationEntityTitle == "CR_ROOM1"
    assert read.file_meta.SendingApplicationEntityTitle == "CR_ROOM1"
    assert read.file_meta.MediaStorageSOPInstanceUID == film().SOPInstanceUID


@pytest.mark.parametrize("syntax", SYNTAXES)
def test_the_meta_reads_back_with_the_place_of_the_data_set(syntax):
    head, data = whole(syntax)
    meta = read_meta(head + data)
    assert meta.offset == len(head)
    assert meta.sha256 == hashlib.sha256(data).hexdigest()
    assert (meta.calling_ae_title, meta.transfer_syntax_uid) == ("CR_ROOM1", syntax)


def test_the_digest_of_a_foreign_file_is_taken_from_its_data_set():
    data_set = film()
    data_set.ensure_file_meta()
    data_set.file_meta.TransferSyntaxUID = EXPLICIT_LITTLE
    buffer = BytesIO()
    data_set.save_as(buffer, enforce_file_format=True)
    assert read_meta(buffer.getvalue()).sha256 == hashlib.sha256(encode(film())).hexdigest()


def test_what_is_no_part_10_file_is_refused():
    with pytest.raises(NotDicom):
        read_meta(encode(film()))


@pytest.mark.parametrize("title", ["", "A\\B", "Phòng 1", "A" * 20, "\n\t"])
def test_any_calling_title_gives_a_valid_file(title):
    head, data = whole(EXPLICIT_LITTLE, title)
    assert dcmread(BytesIO(head + data)).PatientID == "BN0001"
