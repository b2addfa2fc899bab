import io
import struct
import zipfile

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hoichan.errors import ArchiveRefused
from hoichan.intake import archives
from hoichan.intake.archives import is_zip, unpack

BIG = 1 << 30


def packed(files, method=zipfile.ZIP_DEFLATED):
    place = io.BytesIO()
    with zipfile.ZipFile(place, "w", method) as archive:
        for name, content in files:
            archive.writestr(name, content)
    return place.getvalue()


def read(data, maximum_bytes=BIG):
    return list(unpack(io.BytesIO(data), maximum_bytes=maximum_bytes))


def reason(data, maximum_bytes=BIG):
    with pytest.raises(ArchiveRefused) as caught:
        read(data, maximum_bytes)
    return caught.value.reason


FILES = [("DICOMDIR", b"table"), ("IMAGES/IM1", b"one" * 100), ("IMAGES/IM2", b""), ("phim ngực.dcm", b"\0")]


@pytest.mark.parametrize(
    "method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA]
)
def test_files_come_out_as_they_went_in(method):
    assert is_zip(packed(FILES, method)) and read(packed(FILES, method)) == FILES


def test_folders_are_passed_over_and_an_empty_archive_is_empty():
    assert read(packed([("IMAGES/", b"")])) == [] and read(packed([])) == [] and is_zip(packed([]))


@pytest.mark.parametrize(
    "name", ["../evil", "a/../../evil", "/etc/passwd", "..\\evil", "C:\\evil", "C:evil", "\\\\host\\share"]
)
def test_a_path_that_leads_out_refuses_the_archive(name):
    assert reason(packed([("good", b"good"), (name, b"x")])) == "unsafe_path"


def test_a_link_refuses_the_archive():
    link = zipfile.ZipInfo("link")
    link.external_attr = 0o120777 << 16
    assert reason(packed([(link, b"/etc/passwd")])) == "unsafe_path"


def test_an_encrypted_file_refuses_the_archive():
    data = bytearray(packed([("secret", b"x")]))
    at = data.index(b"PK\x01\x02")
    data[at + 8] |= 1
    assert reason(bytes(data)) == "encrypted"


def test_an_unknown_compression_refuses_the_archive():
    data = bytearray(packed([("odd", b"x")]))
    at = data.index(b"PK\x01\x02")
    data[at + 10] = 97
    assert reason(bytes(data)) == "unsupported_compression"


def test_too_much_is_refused_before_anything_comes_out(monkeypatch):
    assert reason(packed([("a", b"x" * 600), ("b", b"x" * 600)]), maximum_bytes=1000) == "too_large"
    monkeypatch.setattr(archives, "MAXIMUM_FILES", 2)  # 50,000 files take a while to write
    assert reason(packed(FILES)) == "too_many_files"


def test_a_bomb_is_refused_by_its_ratio():
    assert reason(packed([("bomb", bytes(archives.SMALL_ENOUGH + 1))])) == "too_large"


def test_a_file_that_is_larger_than_it_says_is_refused():
    data = bytearray(packed([("liar", b"x" * 5000)]))
    for mark, place in ((b"PK\x01\x02", 24), (b"PK\x03\x04", 22)):
        struct.pack_into("<I", data, data.index(mark) + place, 10)
    assert reason(bytes(data)) == "damaged"


@pytest.mark.parametrize("data", [b"", b"PK\x03\x04", b"no archive", packed(FILES)[:-5], packed(FILES)[40:]])
def test_what_is_no_whole_archive_is_damaged(data):
    assert reason(data) == "damaged"


def test_files_before_a_damaged_one_are_good():
    data = bytearray(packed([("good", b"good"), ("bad", b"bad")], zipfile.ZIP_STORED))
    data[data.index(b"bad", data.index(b"bad") + 3)] ^= 1
    found = []
    with pytest.raises(ArchiveRefused):
        for one in unpack(io.BytesIO(bytes(data)), maximum_bytes=BIG):
            found.append(one)
    assert found == [("good", b"good")]


@given(st.data())
@settings(max_examples=200, deadline=None)
def test_no_damage_is_a_fault_of_ours(data):
    whole = bytearray(packed(FILES))
    for _ in range(data.draw(st.integers(1, 5))):
        at = data.draw(st.integers(0, len(whole) - 1))
        whole[at : at + data.draw(st.integers(0, 8))] = data.draw(st.binary(max_size=8))
        whole = whole or bytearray(b"P")
    try:
        found = read(bytes(whole), 1 << 20)
    except ArchiveRefused:
        return
    assert sum(len(content) for _, content in found) <= 1 << 20
