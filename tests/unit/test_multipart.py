import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hoichan.multipart import (
    MAXIMUM_HEADERS,
    MAXIMUM_PREAMBLE,
    Multipart,
    MultipartBroken,
    PartBegins,
    PartData,
    PartEnds,
    media_type,
)

BOUNDARY = "b0und"


def body(*parts, boundary=BOUNDARY, start=b""):
    text = b""
    for headers, data in parts:
        lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        text += f"\r\n--{boundary}\r\n{lines}\r\n".encode() + data
    return start + text[2:] + f"\r\n--{boundary}--\r\n".encode()


def read(data, boundary=BOUNDARY, step=None, close=True):
    """The parts, fed `step` bytes at a time."""
    parser = Multipart(boundary)
    found = []
    step = step or len(data) or 1
    for at in range(0, len(data), step):
        for event in parser.feed(data[at : at + step]):
            match event:
                case PartBegins(headers):
                    found.append([dict(headers), b"", False])
                case PartData(more):
                    assert more and not found[-1][2]
                    found[-1][1] += more
                case PartEnds():
                    found[-1][2] = True
    if close:
        parser.close()
    return [tuple(part) for part in found]


TRICKY = [
    b"",
    b"\r\n",
    b"\r\n--",
    b"\r\n--b0un",
    b"\r\n--b0undary is longer than the delimiter",
    b"--b0und--",
    b"\n--b0und\n",
    b"\r\r\n--b0un\r\n--b0und-x",
    bytes(range(256)) * 3,
]


@pytest.mark.parametrize("step", [1, 2, 3, 7, 64, None])
def test_parts_come_out_as_they_went_in_however_they_are_cut(step):
    parts = [({"content-type": "application/dicom", "x": str(number)}, t) for number, t in enumerate(TRICKY)]
    assert read(body(*parts), step=step) == [(h, d, True) for h, d in parts]


@given(
    st.lists(st.binary(max_size=300).filter(lambda data: b"\r\n--b0und" not in data), min_size=1, max_size=4),
    st.integers(min_value=1, max_value=50),
)
@settings(max_examples=150, deadline=None)
def test_any_bytes_travel_unchanged(data, step):
    assert [part[1] for part in read(body(*(({}, one) for one in data)), step=step)] == data


@given(st.binary(max_size=400), st.integers(min_value=1, max_value=50))
@settings(max_examples=150, deadline=None)
def test_garbage_is_refused_or_read_but_never_more(data, step):
    try:
        found = read(data, step=step)
    except MultipartBroken:
        return
    assert all(part[2] for part in found)


@given(st.data())
@settings(max_examples=150, deadline=None)
def test_a_damaged_body_is_refused_or_read_but_never_more(data):
    whole = bytearray(body(({"content-type": "application/dicom"}, b"12345"), ({}, b"\r\n--67890")))
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(whole) - 1))
        whole[at : at + data.draw(st.integers(0, 9))] = data.draw(st.binary(max_size=9))
        whole = whole or bytearray(b"\r")
    try:
        found = read(bytes(whole), step=data.draw(st.integers(1, 60)))
    except MultipartBroken:
        return
    assert sum(len(part[1]) for part in found) <= len(whole)


def test_every_cut_is_noticed():
    whole = body(({"a": "b"}, b"one"), ({}, b"two"))
    for end in range(len(whole) - 2):
        with pytest.raises(MultipartBroken):
            read(whole[:end])
    assert len(read(whole[:-2])) == 2  # the last line end may be missing


def test_blanks_after_a_delimiter_and_an_epilogue_are_passed_over():
    data = b"--b0und \t \r\na: b\r\n\r\none\r\n--b0und--\r\nepilogue\r\n--b0und\r\n\r\nno part"
    for step in (1, 5, None):
        assert read(data, step=step) == [({"a": "b"}, b"one", True)]


def test_a_short_preamble_is_passed_over_and_a_long_one_refused():
    assert len(read(body(({}, b"x"), start=b"hello\r\n"))) == 1
    with pytest.raises(MultipartBroken):
        read(body(({}, b"x"), start=b"p" * (MAXIMUM_PREAMBLE + 100) + b"\r\n"), step=4096)


@pytest.mark.parametrize("step", [100, None])
def test_headers_are_bounded(step):
    for headers in (b"a: " + b"x" * (MAXIMUM_HEADERS + 1) + b"\r\n\r\n", b"a: b\r\n" * 5000 + b"\r\n"):
        with pytest.raises(MultipartBroken):
            read(b"--b0und\r\n" + headers + b"data\r\n--b0und--", step=step)


@pytest.mark.parametrize("headers", [b"no colon\r\n\r\n", b": no name\r\n\r\n"])
def test_malformed_headers_are_refused(headers):
    with pytest.raises(MultipartBroken):
        read(b"--b0und\r\n" + headers + b"data\r\n--b0und--")


def test_a_folded_header_is_one():
    (part,) = read(b"--b0und\r\nContent-Type: application/dicom;\r\n transfer-syntax=1\r\n\r\n\r\n--b0und--")
    assert part[0] == {"content-type": "application/dicom; transfer-syntax=1"}


@pytest.mark.parametrize("boundary", ["", "x" * 201, "a\r\nb", "ranh giới"])
def test_an_impossible_boundary_is_refused(boundary):
    with pytest.raises(MultipartBroken):
        Multipart(boundary)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('multipart/related; type="application/dicom"; boundary=x',
         ("multipart/related", {"type": "application/dicom", "boundary": "x"})),
        ("Multipart/Related;Boundary=\"a b\"", ("multipart/related", {"boundary": "a b"})),
        ("a/b; type*=utf-8'\'application%2Fdicom", ("a/b", {"type": "application/dicom"})),
        ("application/json", ("application/json", {})),
        ("", ("", {})),
        ("nonsense", ("", {})),
    ],
)  # fmt: skip
def test_media_types(text, expected):
    assert media_type(text) == expected


@given(st.text(max_size=80))
@settings(max_examples=100, deadline=None)
def test_no_content_type_breaks_it(text):
    kind, parameters = media_type(text)
    assert isinstance(kind, str) and all(isinstance(value, str) for value in parameters.values())
