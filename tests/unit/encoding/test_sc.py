"""The picture as a DICOM object."""

from __future__ import annotations

from io import BytesIO

import numpy as np
import pytest
from PIL import Image
from pydicom import dcmread
from pydicom.uid import ExplicitVRLittleEndian, JPEGBaseline8Bit

from hoichan.encoding.images import SC_IMAGE_STORAGE, picture_uid
from hoichan.encoding.picture import picture_png, uncompressed
from hoichan.encoding.sc import encode_sc
from hoichan.encoding.source import document_context
from hoichan.settings import Site
from hoichan.testing import a_film, a_refused_report, a_report, a_study

SMOOTH = np.stack(np.broadcast_arrays(*np.ogrid[40:100, 100:180], 90), axis=-1).astype(np.uint8)


def content(make=a_report, **changes) -> bytes:
    film = a_film()
    for keyword, value in changes.items():
        if value is None:
            delattr(film, keyword)
        else:
            setattr(film, keyword, value)
    study = a_study(film)
    context = document_context(study, make(study), source=film, site=Site(), software_version="1")
    stream = BytesIO()
    encode_sc(context, SMOOTH).save_as(stream, enforce_file_format=True)
    return stream.getvalue()


def written(make=a_report, **changes):
    return dcmread(BytesIO(content(make, **changes)))


def test_it_is_a_derived_colour_picture_of_the_study():
    sc = written()
    assert sc.SOPClassUID == SC_IMAGE_STORAGE
    assert sc.SOPInstanceUID == picture_uid(a_report())
    assert sc.ImageType == ["DERIVED", "SECONDARY"]
    assert (sc.PhotometricInterpretation, sc.SamplesPerPixel, sc.BitsStored) == ("YBR_FULL_422", 3, 8)
    assert (sc.SeriesNumber, sc.SeriesDescription) == (9002, "AI picture (unverified)")
    assert (sc.BurnedInAnnotation, sc.ConversionType) == ("YES", "WSD")
    assert str(sc.PatientName) == "Nguyễn^Thị Hồng^Ổn"
    assert str(sc.ReferringPhysicianName) == "Trần^Thị^Bình"
    assert "PixelSpacing" not in sc  # nobody may measure on it


def test_pixels_come_back_nearly():
    with Image.open(BytesIO(picture_png(content()))) as image:
        assert image.size == (SMOOTH.shape[1], SMOOTH.shape[0])
        assert np.abs(np.asarray(image).astype(int) - SMOOTH).max() <= 12


def test_it_says_that_it_was_compressed_and_how_much():
    sc = written()
    assert sc.file_meta.TransferSyntaxUID == JPEGBaseline8Bit
    assert (sc.LossyImageCompression, sc.LossyImageCompressionMethod) == ("01", "ISO_10918_1")
    assert float(sc.LossyImageCompressionRatio) == pytest.approx(SMOOTH.nbytes / len(sc.PixelData), rel=0.1)


def test_uncompressed_it_is_the_same_object_and_still_says_so():
    sc, laid_open = written(), dcmread(BytesIO(uncompressed(content())))
    assert laid_open.file_meta.TransferSyntaxUID == ExplicitVRLittleEndian
    assert laid_open.file_meta.MediaStorageSOPInstanceUID == laid_open.SOPInstanceUID == sc.SOPInstanceUID
    assert (laid_open.PhotometricInterpretation, laid_open.PlanarConfiguration) == ("RGB", 0)
    assert (laid_open.LossyImageCompression, laid_open.ImageType) == ("01", ["DERIVED", "SECONDARY"])
    assert np.array_equal(laid_open.pixel_array, sc.pixel_array)
    assert uncompressed(uncompressed(content())) == uncompressed(content())


def test_it_points_to_the_film():
    (source,) = written().SourceImageSequence
    assert source.ReferencedSOPInstanceUID == a_film().SOPInstanceUID
    assert source.PurposeOfReferenceCodeSequence[0].CodeValue == "121322"


def test_not_analysed_is_told_in_the_series():
    assert written(a_refused_report).SeriesDescription == "AI NOT ANALYSED (unverified)"


@pytest.mark.parametrize(
    ("changes", "body_part", "laterality"),
    [
        ({}, "CHEST", None),
        ({"BodyPartExamined": "LEG", "ImageLaterality": "R"}, "LEG", "R"),
        ({"BodyPartExamined": "LEG"}, "LEG", ""),
        ({"BodyPartExamined": None}, None, ""),
    ],
)
def test_laterality_is_there_unless_the_part_is_not_paired(changes, body_part, laterality):
    sc = written(**changes)
    assert sc.get("BodyPartExamined") == body_part
    assert sc.get("Laterality") == laterality


def test_an_unknown_orientation_is_left_empty():
    assert written().PatientOrientation == ["L", "F"]
    assert not written(PatientOrientation=None).PatientOrientation


def test_same_picture_same_bytes():
    assert content() == content()
