"""What makes each kind of object what it is: the module of its own that a header alone does not have."""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Any

from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate

from hoichan.intake.headers import PIXEL_DATA
from hoichan.testing.datasets import COMPUTED_RADIOGRAPHY, film
from hoichan.uids import derived_uid

SIDE = 64  # pixels; smaller ones are no film
_MP4 = b"\0\0\0\x18ftypmp42\0\0\0\0mp42isom" + b"\0\0\1\xe0mdat" + bytes(range(200))  # begins like a real one
_FILES = {
    "application/pdf": b"%PDF-1.4\n1 0 obj<</Type/Catalog>>endobj\ntrailer<</Root 1 0 R>>\n%%EOF\n",
    "text/XML": b'<?xml version="1.0" encoding="UTF-8"?><ClinicalDocument xmlns="urn:hl7-org:v3"/>',
    "model/stl": b"solid".ljust(80, b" ") + struct.pack("<I12fH", 1, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0),
    "model/obj": b"v 0 0 0\nv 1 0 0\nv 0 1 0\nf 1 2 3\n",
    "model/mtl": b"newmtl lung\nKd 1 0 0\n",
}
_CORNERS = struct.pack("<9f", 0, 0, 0, 1, 0, 0, 0, 1, 0)  # of one triangle


# ---------------------------------------------------------------------------------------------------- words
def _item(**values: Any) -> Dataset:  # noqa: ANN401  of any VR
    item = Dataset()
    for keyword, value in values.items():
        setattr(item, keyword, value)
    return item


def _code(value: str, scheme: str, meaning: str) -> list[Dataset]:
    return [_item(CodeValue=value, CodingSchemeDesignator=scheme, CodeMeaning=meaning)]


def _reference() -> Dataset:
    image = film(study="referenced")
    return _item(ReferencedSOPClassUID=COMPUTED_RADIOGRAPHY, ReferencedSOPInstanceUID=image.SOPInstanceUID)


def _series_reference() -> list[Dataset]:
    image = film(study="referenced")
    uid = image.SeriesInstanceUID
    return [_item(SeriesInstanceUID=uid, ReferencedSOPSequence=[_reference()])]


# ------------------------------------------------------------------------------------------------- pictures
def picture(
    *, frames: int = 0, bits: int = 16, colour: bool = False, groups: bool = False, **values: str
) -> Callable[[Dataset], None]:
    """`frames` 0: an object of one frame that does not say so. `groups`: with functional groups."""

    def make(made: Dataset) -> None:
        made.SamplesPerPixel = samples = 3 if colour else 1
        made.PhotometricInterpretation = "RGB" if colour else "MONOCHROME2"
        made.Rows = made.Columns = SIDE
        made.BitsAllocated = made.BitsStored = bits
        made.HighBit, made.PixelRepresentation = bits - 1, 0
        if colour:
            made.PlanarConfiguration = 0
        if frames:
            made.NumberOfFrames = frames
        if groups:
            _functional_groups(made, frames)
        for keyword, value in values.items():
            setattr(made, keyword, value)
        size = SIDE * SIDE * samples * max(1, frames) * bits // 8
        pixels = (bytes(range(0, 250, 2)) * (size // 125 + 1))[:size]
        made.add_new(PIXEL_DATA, "OW" if bits == 16 else "OB", pixels)

    return make


def _functional_groups(made: Dataset, frames: int) -> None:
    """Where each frame lies (PS3.3 C.7.6.16)."""
    measures = _item(PixelSpacing=[0.5, 0.5], SliceThickness=1.0)
    orientation = _item(ImageOrientationPatient=[1, 0, 0, 0, 1, 0])
    made.SharedFunctionalGroupsSequence = [
        _item(PixelMeasuresSequence=[measures], PlaneOrientationSequence=[orientation])
    ]
    made.PerFrameFunctionalGroupsSequence = [
        _item(
            FrameContentSequence=[_item(DimensionIndexValues=[1, number + 1])],
            PlanePositionSequence=[_item(ImagePositionPatient=[0, 0, number])],
        )
        for number in range(frames)
    ]
    made.DimensionOrganizationSequence = [_item(DimensionOrganizationUID=derived_uid("test", "dimensions"))]
    made.FrameOfReferenceUID = derived_uid("test", "frame of reference")


def video(made: Dataset) -> None:
    """25 frames in one fragment, as MPEG-4 (PS3.5 8.2.7)."""
    picture(frames=25, bits=8, colour=True)(made)
    made.PhotometricInterpretation, made.FrameTime = "YBR_PARTIAL_420", 40
    made.add_new(PIXEL_DATA, "OB", encapsulate([_MP4], has_bot=False))
    made["PixelData"].is_undefined_length = True


def floats(made: Dataset) -> None:
    """Two frames of 32 bits (PS3.3 C.7.6.24)."""
    picture(frames=2, groups=True)(made)
    for keyword in ("PixelData", "BitsStored", "HighBit", "PixelRepresentation"):
        delattr(made, keyword)
    made.BitsAllocated = 32
    made.FloatPixelData = struct.pack(f"<{2 * SIDE * SIDE}f", *range(2 * SIDE * SIDE))


def dose(made: Dataset) -> None:
    """Two planes of a dose grid (PS3.3 C.8.8.3)."""
    picture(frames=2)(made)
    made.DoseUnits, made.DoseType, made.DoseSummationType = "GY", "PHYSICAL", "PLAN"
    made.DoseGridScaling, made.GridFrameOffsetVector = "0.001", [0, 3]


def segments(made: Dataset) -> None:
    """One segment on two frames (PS3.3 C.8.20)."""
    picture(frames=2, bits=8, groups=True)(made)
    made.SegmentationType, made.SegmentationFractionalType = "FRACTIONAL", "PROBABILITY"
    made.MaximumFractionalValue = 255
    made.SegmentSequence = [
        _item(
            SegmentNumber=1,
            SegmentLabel="Lung",
            SegmentAlgorithmType="MANUAL",
            SegmentedPropertyTypeCodeSequence=_code("39607008", "SCT", "Lung"),
        )
    ]


def slide(made: Dataset) -> None:
    """Four tiles (PS3.3 C.8.12.4)."""
    picture(frames=4, bits=8, colour=True)(made)
    made.ImageType = ["ORIGINAL", "PRIMARY", "VOLUME", "NONE"]
    made.TotalPixelMatrixRows = made.TotalPixelMatrixColumns = 2 * SIDE
    made.DimensionOrganizationType, made.ContainerIdentifier = "TILED_FULL", "S-1"


# ------------------------------------------------------------------------------------ signals and documents
def waveform(made: Dataset) -> None:
    """Two channels of 100 samples (PS3.3 C.10.9)."""
    channels = [
        _item(
            WaveformBitsStored=16,
            ChannelSourceSequence=_code(f"2:{number}", "MDC", "Lead"),
            ChannelSensitivity="1.0",
        )
        for number in (1, 2)
    ]
    group = _item(
        MultiplexGroupTimeOffset="0",
        WaveformOriginality="ORIGINAL",
        NumberOfWaveformChannels=2,
        NumberOfWaveformSamples=100,
        SamplingFrequency="500",
        ChannelDefinitionSequence=channels,
        WaveformBitsAllocated=16,
        WaveformSampleInterpretation="SS",
    )
    group.add_new(0x54001010, "OW", struct.pack("<200h", *range(-100, 100)))  # Waveform Data
    made.WaveformSequence = [group]


def spectra(made: Dataset) -> None:
    """One voxel of 64 points (PS3.3 C.8.14.4)."""
    made.Rows = made.Columns = made.NumberOfFrames = 1
    made.DataPointRows, made.DataPointColumns, made.DataRepresentation = 1, 64, "COMPLEX"
    made.SpectroscopyData = struct.pack("<128f", *range(128))


def document(mime_type: str) -> Callable[[Dataset], None]:
    """A file in a data set (PS3.3 C.24.2)."""
    content = _FILES[mime_type]

    def make(made: Dataset) -> None:
        made.MIMETypeOfEncapsulatedDocument, made.DocumentTitle = mime_type, "Phiếu"
        made.EncapsulatedDocumentLength = len(content)
        made.EncapsulatedDocument = content + b"\0" * (len(content) % 2)

    return make


def report(made: Dataset) -> None:
    """A container with a text, a number and an image (PS3.3 C.17.3)."""
    value = _item(MeasurementUnitsCodeSequence=_code("mm", "UCUM", "mm"), NumericValue="12.5")
    made.ValueType, made.ContinuityOfContent = "CONTAINER", "SEPARATE"
    made.ConceptNameCodeSequence = _code("18748-4", "LN", "Diagnostic imaging report")
    made.CompletionFlag, made.VerificationFlag = "COMPLETE", "UNVERIFIED"
    said = {"RelationshipType": "CONTAINS"}
    made.ContentSequence = [
        _item(
            **said,
            ValueType="TEXT",
            ConceptNameCodeSequence=_code("121071", "DCM", "Finding"),
            TextValue="Bóng tim không to",
        ),
        _item(
            **said,
            ValueType="NUM",
            ConceptNameCodeSequence=_code("410668003", "SCT", "Length"),
            MeasuredValueSequence=[value],
        ),
        _item(**said, ValueType="IMAGE", ReferencedSOPSequence=[_reference()]),
    ]


def key_objects(made: Dataset) -> None:
    """Of interest, so nothing is rejected (CID 7010)."""
    image = film(study="referenced")
    made.ValueType, made.ContinuityOfContent = "CONTAINER", "SEPARATE"
    made.ConceptNameCodeSequence = _code("113000", "DCM", "Of Interest")
    made.ContentSequence = [
        _item(RelationshipType="CONTAINS", ValueType="IMAGE", ReferencedSOPSequence=[_reference()])
    ]
    made.CurrentRequestedProcedureEvidenceSequence = [
        _item(StudyInstanceUID=image.StudyInstanceUID, ReferencedSeriesSequence=_series_reference())
    ]


def presentation(made: Dataset) -> None:
    """How one referenced image is shown (PS3.3 C.11.10 and C.10.4)."""
    made.ContentLabel, made.ContentCreatorName = "SHOWN", "Lê^Thị^Cúc"
    made.PresentationLUTShape = "IDENTITY"
    made.ReferencedSeriesSequence = _series_reference()
    made.DisplayedAreaSelectionSequence = [
        _item(
            DisplayedAreaTopLeftHandCorner=[1, 1],
            DisplayedAreaBottomRightHandCorner=[SIDE, SIDE],
            PresentationSizeMode="SCALE TO FIT",
        )
    ]


# ---------------------------------------------------------------------------------- radiotherapy and places
def plan(made: Dataset) -> None:
    """One beam (PS3.3 C.8.8.14)."""
    made.RTPlanLabel, made.RTPlanGeometry = "PLAN", "PATIENT"
    made.FractionGroupSequence = [_item(FractionGroupNumber=1, NumberOfBeams=1)]
    made.BeamSequence = [
        _item(BeamNumber=1, BeamType="STATIC", RadiationType="PHOTON", ControlPointSequence=[])
    ]


def contours(made: Dataset) -> None:
    """One region, a triangle (PS3.3 C.8.8.5 and C.8.8.6)."""
    made.StructureSetLabel = "LUNGS"
    made.StructureSetROISequence = [_item(ROINumber=1, ROIName="Lung", ROIGenerationAlgorithm="MANUAL")]
    contour = _item(
        ContourGeometricType="CLOSED_PLANAR",
        NumberOfContourPoints=3,
        ContourData=[0, 0, 0, 10, 0, 0, 0, 10, 0],
    )
    made.ROIContourSequence = [_item(ReferencedROINumber=1, ContourSequence=[contour])]
    made.RTROIObservationsSequence = [
        _item(ObservationNumber=1, ReferencedROINumber=1, RTROIInterpretedType="ORGAN")
    ]


def treatment(made: Dataset) -> None:
    """One session (PS3.3 C.8.8.21)."""
    made.TreatmentDate, made.NumberOfFractionsPlanned = "20261120", 25
    made.TreatmentSessionBeamSequence = [
        _item(CurrentFractionNumber=1, TreatmentTerminationStatus="NORMAL", RadiationType="PHOTON")
    ]


def radiation(made: Dataset) -> None:
    """Of the second generation (PS3.3 C.36)."""
    made.UserContentLabel, made.UserContentLongLabel = "SET", "Set"
    made.ContentDate, made.ContentTime = "20261120", "081530"
    made.ConceptualVolumeSequence = [_item(ConceptualVolumeUID=derived_uid("test", "volume"))]


def registration(made: Dataset) -> None:
    """The same place in two frames of reference (PS3.3 C.20.2)."""
    matrix = _item(
        FrameOfReferenceTransformationMatrixType="RIGID",
        FrameOfReferenceTransformationMatrix=[1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1],
    )
    made.FrameOfReferenceUID = uid = derived_uid("test", "frame of reference")
    made.RegistrationSequence = [
        _item(FrameOfReferenceUID=uid, MatrixRegistrationSequence=[_item(MatrixSequence=[matrix])])
    ]


def deformation(made: Dataset) -> None:
    """A grid of eight vectors (PS3.3 C.20.3)."""
    grid = _item(GridDimensions=[2, 2, 2], GridResolution=[1, 1, 1], ImagePositionPatient=[0, 0, 0])
    grid.VectorGridData = bytes(2 * 2 * 2 * 3 * 4)
    made.DeformableRegistrationSequence = [_item(DeformableRegistrationGridSequence=[grid])]


def fiducials(made: Dataset) -> None:
    """One point (PS3.3 C.21.2)."""
    one = _item(FiducialIdentifier="1", ShapeType="POINT")
    one.GraphicCoordinatesDataSequence = [_item(GraphicData=[1.0, 2.0])]
    made.FiducialSetSequence = [_item(FiducialSequence=[one])]


def surface(made: Dataset) -> None:
    """One triangle (PS3.3 C.27.1)."""
    points = _item(NumberOfSurfacePoints=3, PointCoordinatesData=_CORNERS)
    triangles = _item(LongTrianglePointIndexList=struct.pack("<3I", 1, 2, 3))
    made.NumberOfSurfaces = 1
    made.SurfaceSequence = [
        _item(SurfaceNumber=1, SurfacePointsSequence=[points], SurfaceMeshPrimitivesSequence=[triangles])
    ]


def tracks(made: Dataset) -> None:
    """One track of three points (PS3.3 C.8.33.2)."""
    track = _item(PointCoordinatesData=_CORNERS)
    made.TrackSetSequence = [_item(TrackSetNumber=1, TrackSetLabel="CST", TrackSequence=[track])]


def real_world(made: Dataset) -> None:
    """A line from stored to real values (PS3.3 C.7.6.16.2.11)."""
    mapping = _item(RealWorldValueIntercept=0.0, RealWorldValueSlope=2.0, LUTLabel="HU")
    made.ReferencedImageRealWorldValueMappingSequence = [
        _item(ReferencedSOPSequence=[_reference()], RealWorldValueMappingSequence=[mapping])
    ]


# --------------------------------------------------------------------------------- measurements and the rest
def eye(made: Dataset) -> None:
    """A refraction of the right eye (PS3.3 C.8.25)."""
    made.MeasurementLaterality = "R"
    made.RefractiveParametersUsedOnPatientSequence = [_item(SpherePower=-1.5)]


def stereo(made: Dataset) -> None:
    """A pair of images (PS3.3 C.8.18.2)."""
    made.StereoPairsSequence = [_item(LeftImageSequence=[_reference()], RightImageSequence=[_reference()])]


def assessment(made: Dataset) -> None:
    """One object that was looked at (PS3.3 C.33)."""
    made.AssessmentLabel = "GOOD"
    made.AssessedSOPInstanceSequence = [_reference()]


def slide_marks(made: Dataset) -> None:
    """Two points on a slide (PS3.3 C.37.1)."""
    made.AnnotationCoordinateType = "2D"
    made.AnnotationGroupSequence = [
        _item(
            AnnotationGroupNumber=1,
            AnnotationGroupLabel="Cells",
            GraphicType="POINT",
            NumberOfAnnotations=2,
            PointCoordinatesData=struct.pack("<4f", 1, 2, 3, 4),
        )
    ]


def display(made: Dataset) -> None:
    """One box on one screen (PS3.3 C.11.16)."""
    made.NumberOfScreens, made.PresentationSizeMode = 1, "SCALE TO FIT"
    made.StructuredDisplayImageBoxSequence = [_item(ImageBoxNumber=1, ReferencedImageSequence=[_reference()])]


def protocol(made: Dataset) -> None:
    """What was performed (PS3.3 C.34)."""
    made.ProtocolName, made.PotentialScheduledProtocolCodeSequence = "Chest", _code("1", "99TEST", "Chest")


def raw(made: Dataset) -> None:
    """What only its maker can read, in private attributes (PS3.3 C.19.1)."""
    made.CreatorVersionUID = derived_uid("test", "creator")
    block = made.private_block(0x0043, "ACME RAW", create=True)
    block.add_new(0x01, "OB", bytes(range(256)))
