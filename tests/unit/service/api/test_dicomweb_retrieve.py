"""WADO-RS: objects as they are kept or asked for, metadata, frames, pictures, bulk data."""

import io
from email.parser import BytesParser

import numpy as np
import pytest
from PIL import Image
from pydicom import Dataset, dcmread
from pydicom.uid import (
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGLSLossless,
    RLELossless,
)

from hoichan.intake.headers import DEFLATED, EXPLICIT_BIG, EXPLICIT_LITTLE, IMPLICIT_LITTLE
from hoichan.intake.part10 import split
from hoichan.testing.datasets import encode, film
from hoichan.testing.files import as_file
from tests.unit.service.api.dicomweb_site import DicomwebSite, address, sample

ANY = 'multipart/related; type="application/dicom"; transfer-syntax=*'
DICOM = 'multipart/related; type="application/dicom"'
OCTETS = 'multipart/related; type="application/octet-stream"'


def parts(answer):
    """Content types and bytes of the parts of an answer."""
    assert answer.status_code == 200, answer.text
    kind = answer.headers["content-type"].encode()
    whole = BytesParser().parsebytes(b"Content-Type: " + kind + b"\r\n\r\n" + answer.content)
    boundary = whole.get_boundary().encode()
    found = []
    for piece in answer.content.split(b"--" + boundary)[1:-1]:
        head, _, body = piece.partition(b"\r\n\r\n")
        found.append((head.decode().split("Content-Type: ")[1].split("\r\n")[0], body[:-2]))
    assert answer.content.endswith(b"--" + boundary + b"--\r\n")
    return found


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    site = DicomwebSite(tmp_path_factory.mktemp("wado"))
    yield site
    site.close()


@pytest.fixture(scope="module")
def three(site):
    """One study, three objects, three transfer syntaxes."""
    kept = {
        syntax: as_file(film(study="three", instance=syntax), syntax)
        for syntax in (EXPLICIT_LITTLE, IMPLICIT_LITTLE, DEFLATED)
    }
    site.store(*kept.values())
    return {film(study="three", instance=syntax).SOPInstanceUID: syntax for syntax in kept}


def test_a_study_travels_as_it_is_kept(site, three):
    found = parts(site.get(f"/studies/{film(study='three').StudyInstanceUID}", ANY))
    assert len(found) == 3
    for kind, content in found:
        uid = str(dcmread(io.BytesIO(content)).SOPInstanceUID)
        assert kind == f"application/dicom; transfer-syntax={three[uid]}"
        assert split(content).data_set == encode(film(study="three", instance=three[uid]), three[uid])


def test_without_a_word_about_it_everything_comes_in_explicit_little_endian(site, three):
    found = parts(site.get(f"/studies/{film(study='three').StudyInstanceUID}"))
    assert {kind for kind, _ in found} == {f"application/dicom; transfer-syntax={EXPLICIT_LITTLE}"}
    for _, content in found:
        read = dcmread(io.BytesIO(content))
        assert read.file_meta.TransferSyntaxUID == EXPLICIT_LITTLE
        assert read.PixelData == film().PixelData and str(read.PatientName) == "Nguyễn^An^Văn"


def test_big_endian_pixels_are_turned(site):
    made = film(study="big")
    site.store(as_file(made, EXPLICIT_BIG))
    ((_, content),) = parts(site.get(address(made), DICOM))
    kept = dcmread(io.BytesIO(as_file(made, EXPLICIT_BIG)))
    assert np.array_equal(dcmread(io.BytesIO(content)).pixel_array, kept.pixel_array)
    ((_, frame),) = parts(site.get(f"{address(made)}/frames/1", OCTETS))
    assert np.array_equal(np.frombuffer(frame, "<u2").reshape(8, 8), kept.pixel_array)


@pytest.mark.parametrize("target", [JPEG2000Lossless, JPEGLSLossless, RLELossless, ImplicitVRLittleEndian])
def test_an_object_is_packed_without_loss_where_that_is_asked_for(site, target):
    made = film(study="packed", instance=target, pixels=np.arange(4096, dtype="<u2").tobytes())
    made.Rows = made.Columns = 64
    site.store(as_file(made))
    ((kind, content),) = parts(site.get(address(made), f"{DICOM}; transfer-syntax={target}"))
    read = dcmread(io.BytesIO(content))
    assert kind.endswith(target) and read.file_meta.TransferSyntaxUID == target
    assert read.SOPInstanceUID == made.SOPInstanceUID
    assert read.pixel_array.tobytes() == made.PixelData


def test_no_loss_is_made_and_nothing_else_is_promised(site, three):
    made = film(study="three", instance=EXPLICIT_LITTLE)
    answer = site.get(address(made), f"{DICOM}; transfer-syntax={JPEGBaseline8Bit}")
    assert (answer.status_code, answer.json()["code"]) == (406, "dicomweb.not_acceptable")
    assert site.get(address(made), "image/tiff").status_code == 406


def test_one_object_alone(site, three):
    made = film(study="three", instance=EXPLICIT_LITTLE)
    answer = site.get(address(made), "application/dicom; transfer-syntax=*")
    assert split(answer.content).data_set == encode(made)


@pytest.mark.parametrize(
    "path",
    [
        "/studies/1.2.3",
        "/studies/1.2.3/metadata",
        "/studies/1.2.3/series/1.2.4",
        "/studies/1.2.3/series/1.2.4/instances/1.2.5",
        "/studies/1.2.3/series/1.2.4/instances/1.2.5/frames/1",
        "/studies/1.2.3/series/1.2.4/instances/1.2.5/rendered",
        "/studies/1.2.3/series/1.2.4/instances/1.2.5/bulkdata/7FE00010",
    ],
)
def test_what_is_not_here(site, path):
    answer = site.get(path)
    assert (answer.status_code, answer.json()["code"]) == (404, "dicomweb.not_held")


@pytest.mark.parametrize("path", ["/studies/x", "/studies/1.2/series/1.3/instances/1.4/frames/0x1"])
def test_what_is_no_address(site, path):
    assert site.get(path).status_code == 422


def test_metadata_is_the_object_without_its_pixels(site, three):
    answer = site.get(f"/studies/{film(study='three').StudyInstanceUID}/metadata")
    assert answer.headers["content-type"] == "application/dicom+json"
    documents = answer.json()
    assert len(documents) == 3
    for document in documents:
        uri = document["7FE00010"]["BulkDataURI"]
        read = Dataset.from_json(document, bulk_data_uri_handler=lambda *_: b"")
        made = film(study="three", instance=three[str(read.SOPInstanceUID)])
        assert str(read.PatientName) == "Nguyễn^An^Văn" and read.Rows == 8
        pixels = site.client.get(uri, headers={"Accept": OCTETS})
        assert parts(pixels)[0][1] == made.PixelData


def test_results_are_retrieved_as_they_were_sent(site):
    study = site.store(as_file(film(study="result")))
    made = site.report(study)
    kept = {one.uid: one for one in site.record.reading.documents(study.study_instance_uid)}
    for one in made:
        ((_, content),) = parts(site.get(address(one), ANY))
        assert content == site.record.reading.content(kept[one.SOPInstanceUID])
    (structured,) = [one for one in made if one.Modality == "SR"]
    (document,) = site.get(f"{address(structured)}/metadata").json()
    assert document["0040A491"]["Value"] == ["COMPLETE"] and "7FE00010" not in document
    assert site.get(f"{address(structured)}/rendered").status_code == 406
    assert site.get(f"{address(structured)}/frames/1").status_code == 406


# ---------------------------------------------------------------------- frames
def stored(site, name):
    site.store(sample(name))
    return dcmread(io.BytesIO(sample(name)))


def test_frames_of_a_native_object(site):
    made = stored(site, "emri_small.dcm")
    answer = site.get(f"{address(made)}/frames/2,1", OCTETS)
    found = [np.frombuffer(content, "<u2").reshape(made.Rows, made.Columns) for _, content in parts(answer)]
    assert np.array_equal(found[0], made.pixel_array[1]) and np.array_equal(found[1], made.pixel_array[0])
    assert site.get(f"{address(made)}/frames/11", OCTETS).status_code == 404


def test_frames_of_a_compressed_object_as_kept_and_unpacked(site):
    made = stored(site, "emri_small_jpeg_2k_lossless.dcm")
    plain = dcmread(io.BytesIO(sample("emri_small.dcm"))).pixel_array[2]
    for accept in (
        'multipart/related; type="image/jp2"',
        f'multipart/related; type="application/octet-stream"; transfer-syntax={JPEG2000Lossless}',
        'multipart/related; type="application/octet-stream"; transfer-syntax=*',
    ):
        ((kind, content),) = parts(site.get(f"{address(made)}/frames/3", accept))
        assert JPEG2000Lossless in kind and content.startswith(b"\xff\x4f\xff\x51")
    ((kind, content),) = parts(site.get(f"{address(made)}/frames/3", OCTETS))
    assert ExplicitVRLittleEndian in kind
    assert np.array_equal(np.frombuffer(content, "<u2").reshape(plain.shape), plain)
    single = site.get(f"{address(made)}/frames/3", "application/octet-stream")
    assert single.content == content
    assert site.get(f"{address(made)}/frames/3", 'multipart/related; type="image/jpeg"').status_code == 406


def test_every_frame_as_bulk_data(site):
    made = stored(site, "emri_small_jpeg_2k_lossless.dcm")
    (document,) = site.get(f"{address(made)}/metadata").json()
    assert len(parts(site.client.get(document["7FE00010"]["BulkDataURI"]))) == 10


def test_bits_stay_bits(site):
    made = stored(site, "liver.dcm")
    answer = site.get(f"{address(made)}/frames/1", OCTETS)
    ((_, content),) = parts(answer)
    bits = np.unpackbits(np.frombuffer(content, "u1"), bitorder="little")
    assert np.array_equal(
        bits[: made.Rows * made.Columns].reshape(made.Rows, made.Columns), made.pixel_array[0]
    )


# ---------------------------------------------------------------------- pictures
def picture(answer):
    assert answer.status_code == 200, answer.text
    return Image.open(io.BytesIO(answer.content))


def test_a_film_is_rendered(site):
    made = film(study="ramp", pixels=np.arange(64, dtype="<u2").tobytes())
    site.store(as_file(made))
    shown = np.asarray(picture(site.get(f"{address(made)}/rendered", "image/png")))
    assert shown.shape == (8, 8) and (shown[0, 0], shown[-1, -1]) == (0, 255)
    windowed = picture(site.get(f"{address(made)}/rendered", "image/png", window="10,4,linear-exact"))
    assert set(np.asarray(windowed).ravel()[:8]) == {0} and np.asarray(windowed).ravel()[13] == 255
    assert picture(site.get(f"{address(made)}/rendered")).format == "JPEG"
    assert picture(site.get(f"{address(made)}/rendered", "image/png", viewport="4,4")).size == (4, 4)


def test_the_other_grey_is_turned(site):
    made = film(study="negative", pixels=np.arange(64, dtype="<u2").tobytes())
    made.PhotometricInterpretation = "MONOCHROME1"
    site.store(as_file(made))
    shown = np.asarray(picture(site.get(f"{address(made)}/rendered", "image/png")))
    assert (shown[0, 0], shown[-1, -1]) == (255, 0)


@pytest.mark.parametrize(
    ("name", "mode"),
    [
        ("CT_small.dcm", "L"),
        ("emri_small_jpeg_2k_lossless.dcm", "L"),
        ("SC_rgb_jpeg_dcmtk.dcm", "RGB"),
        ("SC_rgb_rle.dcm", "RGB"),
        ("examples_palette.dcm", "RGB"),
        ("mlut_18.dcm", "L"),
    ],
)
def test_many_kinds_are_rendered(site, name, mode):
    made = stored(site, name)
    shown = picture(site.get(f"{address(made)}/frames/1/rendered", "image/png"))
    assert shown.mode == mode and shown.size == (made.Columns, made.Rows)
    small = picture(site.get(f"{address(made)}/thumbnail"))
    assert small.format == "JPEG" and max(small.size) <= 128


@pytest.mark.parametrize(
    "parameters",
    [
        *({"window": "10"}, {"window": "10,0"}, {"window": "a,b"}),
        *({"viewport": "0,4"}, {"viewport": "4"}, {"quality": "0"}, {"quality": "101"}),
    ],
)
def test_a_picture_that_cannot_be_asked_for(site, three, parameters):
    made = film(study="three", instance=EXPLICIT_LITTLE)
    assert site.get(f"{address(made)}/rendered", **parameters).status_code == 400


# ---------------------------------------------------------------------- other objects
@pytest.mark.parametrize("name", ["waveform_ecg.dcm", "rtplan.dcm", "test-SR.dcm", "rtdose.dcm"])
def test_objects_of_any_kind_are_given_out(site, name):
    made = stored(site, name)
    ((_, content),) = parts(site.get(address(made), ANY))
    assert split(content).data_set == split(sample(name)).data_set
    (document,) = site.get(f"{address(made)}/metadata").json()
    assert document["00080018"]["Value"] == [made.SOPInstanceUID]


def test_a_damaged_header_stops_nobody(site):
    made = film(study="odd")
    made.PatientAge, made.XRayTubeCurrent = "036Y", 7777
    site.store(
        as_file(made).replace(b"036Y", b"abcd").replace(b"7777", b"1.x "),
        as_file(film(study="odd", instance="good")),
    )
    documents = site.get(f"/studies/{made.StudyInstanceUID}/metadata").json()
    assert len(documents) == 2
    assert len(parts(site.get(f"/studies/{made.StudyInstanceUID}"))) == 2


def test_removed_images_are_not_held_any_more(site):
    made, left = film(study="removed"), film(study="removed", instance="left")
    study = site.store(as_file(made), as_file(left))
    (gone,) = [one for one in study.instances if one.sop_instance_uid == made.SOPInstanceUID]
    site.spool.file(gone.path).unlink()
    for rest in ("", "/frames/1", "/rendered", "/bulkdata/7FE00010"):
        assert site.get(address(made) + rest).status_code == 404
    ((_, content),) = parts(site.get(f"/studies/{made.StudyInstanceUID}", ANY))
    assert dcmread(io.BytesIO(content)).SOPInstanceUID == left.SOPInstanceUID
    assert len(site.get(f"/studies/{made.StudyInstanceUID}/metadata").json()) == 1
    assert site.get("/studies", StudyInstanceUID=made.StudyInstanceUID).status_code == 200
