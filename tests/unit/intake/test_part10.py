import hashlib
from io import BytesIO

import pytest
from pydicom import dcmread

from hoichan.errors import DamagedObject, NotDicom
from hoichan.intake.headers import DEFLATED, EXPLICIT_BIG, EXPLICIT_LITTLE, IMPLICIT_LITTLE
from hoichan.intake.part10 import Checksum, digest, read_meta, write_meta
from hoichan.testing.datasets import COMPUTED_RADIOGRAPHY, encode, film
from hoichan.uids import derived_uid

SYNTAXES = [IMPLICIT_LITTLE, EXPLICIT_LITTLE, EXPLICIT_BIG, DEFLATED]


def whole(syntax, title="CR_ROOM1"):
    data = encode(film(), syntax)
    head = write_meta(
        sop_class_uid=COMPUTED_RADIOGRAPHY,
        sop_instance_uid=film().SOPInstanceUID,
        transfer_syntax_uid=syntax,
        calling_ae_title=title,
        checksum=Checksum(data).digest(),
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
    assert digest(head + data, meta) == hashlib.sha256(data).hexdigest()
    assert (meta.calling_ae_title, meta.transfer_syntax_uid) == ("CR_ROOM1", syntax)


def test_the_digest_of_a_foreign_file_is_taken_from_its_data_set():
    data_set = film()
    data_set.ensure_file_meta()
    data_set.file_meta.TransferSyntaxUID = EXPLICIT_LITTLE
    buffer = BytesIO()
    data_set.save_as(buffer, enforce_file_format=True)
    meta = read_meta(buffer.getvalue())
    assert meta.checksum is None
    assert digest(buffer.getvalue(), meta) == hashlib.sha256(encode(film())).hexdigest()


@pytest.mark.parametrize("syntax", SYNTAXES)
def test_one_changed_bit_is_found(syntax):
    head, data = whole(syntax)
    for at in (0, len(data) // 2, len(data) - 1):
        rotten = bytearray(head + data)
        rotten[len(head) + at] ^= 1
        with pytest.raises(DamagedObject):
            digest(bytes(rotten), read_meta(bytes(rotten)))
    with pytest.raises(DamagedObject):
        digest(head + data[:-2], read_meta(head + data[:-2]))


def test_files_of_the_first_weeks_are_held_against_their_sha_256():
    head, data = whole(EXPLICIT_LITTLE)
    old = derived_uid("private information", "sha256 of the data set").encode()
    new = derived_uid("private information", "xxh3-128 of the data set").encode()
    old, new = (uid + b"\0" * (len(uid) % 2) for uid in (old, new))
    creator = b"\2\0\0\1UI" + len(new).to_bytes(2, "little") + new
    assert creator in head
    at = head.index(creator)
    element = b"\2\0\2\1OB\0\0" + (32).to_bytes(4, "little") + hashlib.sha256(data).digest()
    group = head[144:at] + b"\2\0\0\1UI" + len(old).to_bytes(2, "little") + old + element
    former = head[:140] + len(group).to_bytes(4, "little") + group
    meta = read_meta(former + data)
    assert digest(former + data, meta) == hashlib.sha256(data).hexdigest()
    with pytest.raises(DamagedObject):
        digest(former + data[:-1] + b"\7", meta)


def test_what_is_no_part_10_file_is_refused():
    with pytest.raises(NotDicom):
        read_meta(encode(film()))


@pytest.mark.parametrize("title", ["", "A\\B", "Phòng 1", "A" * 20, "\n\t"])
def test_any_calling_title_gives_a_valid_file(title):
    head, data = whole(EXPLICIT_LITTLE, title)
    assert dcmread(BytesIO(head + data)).PatientID == "BN0001"
