"""Outlined parts over the slices they were found in: the right voxel at the right place of the patient."""

from __future__ import annotations

import itertools
from datetime import UTC, datetime, timedelta, timezone
from io import BytesIO

import highdicom as hd
import numpy as np
import pytest
from pydicom import Dataset, dcmread

from hoichan.analysis.volumes import read_volume
from hoichan.encoding.seg import encode_seg
from hoichan.testing.volumes import a_volume_manifest, an_mr_series

AXES = [
    (r, c) for r, c in itertools.product(np.vstack([np.eye(3), -np.eye(3)]), repeat=2) if abs(r @ c) < 0.5
]
HANOI = timezone(timedelta(hours=7))
HEADER = (
    "PatientName", "PatientID", "PatientBirthDate", "PatientSex", "StudyInstanceUID", "StudyDate",
    "StudyTime", "StudyID", "AccessionNumber", "ReferringPhysicianName",
)  # fmt: skip


def encoded(slices, values):
    header = Dataset()
    for keyword in HEADER:
        header[keyword] = slices[0][keyword]
    return encode_seg(
        header,
        slices,
        values,
        a_volume_manifest(),
        created_at=datetime(2026, 1, 2, 20, 30, tzinfo=UTC),
        zone=HANOI,
        software_version="1",
        facility_code="01001",
        institution_name="Bệnh viện A",
    )


def as_file(document):
    stream = BytesIO()
    document.save_as(stream, enforce_file_format=True)
    return stream.getvalue()


def read_back(document):
    return hd.seg.segread(BytesIO(as_file(document)))


def some_labels(shape=(6, 5, 4)):
    labels = np.zeros(shape, dtype=np.uint8)
    labels[1:3, 2:4, 1:3] = 1
    labels[4, 3, 1] = 4
    return labels


@pytest.mark.parametrize(("row", "column"), AXES)
def test_every_voxel_lies_where_it_was_found(row, column):
    slices, labels = an_mr_series(tuple(row), tuple(column)), some_labels()
    volume = read_back(encoded(slices, labels)).get_volume(combine_segments=True, relabel=False)
    found = {}
    for index in np.argwhere(np.asarray(volume.array) > 0):
        place = volume.map_indices_to_reference(index[None])[0]
        found[tuple(np.round(place, 3).tolist())] = int(volume.array[tuple(index)])
    wanted = {}
    for k, r, c in np.argwhere(labels):
        # PS3.3 C.7.6.2.1.1, equation C.7.6.2.1-1
        place = np.array(slices[k].ImagePositionPatient, float) + row * 1.5 * c + column * 2.0 * r
        wanted[tuple(np.round(place, 3).tolist())] = {1: 1, 4: 2}[int(labels[k, r, c])]
    assert found == wanted


def test_each_frame_points_to_the_slice_it_lies_on():
    slices, labels = an_mr_series((0, 1, 0), (0, 0, -1)), some_labels()
    document = read_back(encoded(slices, labels))
    drawn = {}
    for frame, pixels in zip(document.PerFrameFunctionalGroupsSequence, document.pixel_array, strict=True):
        (image,) = frame.DerivationImageSequence[0].SourceImageSequence
        number = frame.SegmentIdentificationSequence[0].ReferencedSegmentNumber
        drawn[(str(image.ReferencedSOPInstanceUID), number)] = pixels
    uids = [str(one.SOPInstanceUID) for one in slices]
    assert set(drawn) == {(uids[1], 1), (uids[2], 1), (uids[4], 2)}
    np.testing.assert_array_equal(drawn[(uids[1], 1)], labels[1] == 1)
    np.testing.assert_array_equal(drawn[(uids[4], 2)], labels[4] == 4)


@pytest.mark.parametrize(("row", "column"), AXES[::5])
def test_labels_of_a_network_come_back_to_their_slices(row, column):
    """From slices in any order through RAS and back: the road that the runner takes."""
    by_uid = {str(one.SOPInstanceUID): one for one in an_mr_series(tuple(row), tuple(column))}
    volume = read_volume([by_uid[uid] for uid in sorted(by_uid, reverse=True)])
    bright = volume.voxels > 800
    slices = [by_uid[uid] for uid in volume.sop_instance_uids]
    document = read_back(encoded(slices, volume.to_slices(bright.astype(np.uint8))))
    for frame, pixels in zip(document.PerFrameFunctionalGroupsSequence, document.pixel_array, strict=True):
        (image,) = frame.DerivationImageSequence[0].SourceImageSequence
        np.testing.assert_array_equal(pixels, by_uid[str(image.ReferencedSOPInstanceUID)].pixel_array > 800)


def test_probabilities_are_kept_to_a_255th():
    slices = an_mr_series()
    values = np.random.default_rng(0).random((6, 5, 4, 2), dtype=np.float32)
    document = read_back(encoded(slices, values))
    assert (document.SegmentationType, document.SegmentationFractionalType) == ("FRACTIONAL", "PROBABILITY")
    got = document.get_pixels_by_source_instance(
        [one.SOPInstanceUID for one in slices], rescale_fractional=True
    )
    np.testing.assert_allclose(got, values, atol=0.5 / 255 + 1e-6)


def test_it_says_who_made_it_and_of_what():
    slices = an_mr_series()
    document = dcmread(BytesIO(as_file(encoded(slices, some_labels()))))
    assert document.FrameOfReferenceUID == slices[0].FrameOfReferenceUID
    assert document.StudyInstanceUID == slices[0].StudyInstanceUID
    assert (document.PatientName, document.InstitutionName) == ("Lê^Thị Ổn", "Bệnh viện A")
    assert (document.SeriesNumber, document.SeriesDescription) == (9003, "AI segments (unverified)")
    assert (document.ContentDate, document.ContentTime) == ("20260103", "033000.000000")
    assert document.TimezoneOffsetFromUTC == "+0700"
    first, second = document.SegmentSequence
    assert (first.SegmentNumber, second.SegmentNumber) == (1, 2)
    assert first.SegmentLabel == "Front part (AI)"
    assert first.SegmentedPropertyTypeCodeSequence[0].CodingSchemeDesignator == "99HOICHAN"
    assert first.SegmentedPropertyCategoryCodeSequence[0].CodeValue == "91723000"
    assert first.AnatomicRegionSequence[0].CodeValue == "5366008"
    assert first.SegmentAlgorithmType == "AUTOMATIC"
    assert list(first.RecommendedDisplayCIELabValue) == [46273, 37131, 52089]  # orange; the next: sky blue
    assert list(second.RecommendedDisplayCIELabValue) == [45761, 29808, 23959]
    algorithm = first.SegmentationAlgorithmIdentificationSequence[0]
    assert (algorithm.AlgorithmName, algorithm.AlgorithmVersion) == ("Parts", "1.0.0")
    assert document.ContributingEquipmentSequence[0].DeviceUID
    assert {one.CodingSchemeDesignator for one in document.CodingSchemeIdentificationSequence} == {
        "99IHE",
        "99HOICHAN",
    }
    measures = document.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence[0]
    assert (measures.SpacingBetweenSlices, list(measures.PixelSpacing)) == (3.0, [2.0, 1.5])


def test_the_same_inputs_give_the_same_bytes_and_others_another_object():
    slices, labels = an_mr_series(), some_labels()
    once = encoded(slices, labels)
    assert as_file(encoded(an_mr_series(), labels.copy())) == as_file(once)
    labels[0, 0, 0] = 4
    other = encoded(slices, labels)
    assert other.SOPInstanceUID != once.SOPInstanceUID
    assert other.SeriesInstanceUID != once.SeriesInstanceUID


def test_nothing_outlined_gives_no_object():
    assert encoded(an_mr_series(), np.zeros((6, 5, 4), dtype=np.uint8)) is None


def test_what_would_lie_wrong_is_not_made():
    slices = an_mr_series()
    with pytest.raises(ValueError, match="shape"):
        encoded(slices, some_labels((5, 6, 4)))
    with pytest.raises(ValueError, match="no segment"):
        encoded(slices, np.full((6, 5, 4), 2, dtype=np.uint8))
    with pytest.raises(ValueError, match="outside"):
        encoded(slices, np.full((6, 5, 4, 2), 1.5, dtype=np.float32))
    slices[2].FrameOfReferenceUID = "1.2.3"
    with pytest.raises(ValueError, match="Frame of Reference"):
        encoded(slices, some_labels())
