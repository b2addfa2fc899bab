"""The marks as a presentation state."""

from __future__ import annotations

from io import BytesIO

import pytest
from pydicom import dcmread

from hoichan.encoding.gsps import encode_gsps
from hoichan.encoding.source import document_context
from hoichan.settings import Site
from hoichan.testing import a_film, a_refused_report, a_report, a_study


def written(make=a_report, photometric="MONOCHROME2", source=True):
    film = a_film()
    film.PhotometricInterpretation = photometric
    study = a_study(film)
    context = document_context(
        study, make(study), source=film if source else None, site=Site(), software_version="1"
    )
    document = encode_gsps(context)
    if document is None:
        return None, film
    stream = BytesIO()
    document.save_as(stream, enforce_file_format=True)
    return dcmread(BytesIO(stream.getvalue())), film


def test_shapes_and_names_lie_over_the_film():
    document, film = written()
    (series,) = document.ReferencedSeriesSequence
    assert series.SeriesInstanceUID == film.SeriesInstanceUID
    assert series.ReferencedImageSequence[0].ReferencedSOPInstanceUID == film.SOPInstanceUID
    (annotation,) = document.GraphicAnnotationSequence
    banner, *labels = [text.UnformattedTextValue for text in annotation.TextObjectSequence]
    assert banner == "KẾT QUẢ AI – CHƯA ĐƯỢC BÁC SĨ XÁC NHẬN"
    assert labels == ["AI 1: Tràn dịch màng phổi – điểm AI 0,91", "AI 3: Bóng tim to – điểm AI 0,73"]
    for shape in annotation.GraphicObjectSequence:
        points = list(zip(shape.GraphicData[::2], shape.GraphicData[1::2], strict=True))
        assert points[0] == points[-1] and shape.GraphicType == "POLYLINE"
        assert all(0 <= x <= film.Columns and 0 <= y <= film.Rows for x, y in points)
    for text in annotation.TextObjectSequence:
        left, top = text.BoundingBoxTopLeftHandCorner
        right, bottom = text.BoundingBoxBottomRightHandCorner
        assert 0 <= left < right <= film.Columns and 0 <= top < bottom <= film.Rows


@pytest.mark.parametrize(("photometric", "shape"), [("MONOCHROME1", "INVERSE"), ("MONOCHROME2", "IDENTITY")])
def test_grey_values_look_as_the_film_asks_for(photometric, shape):
    document, film = written(photometric=photometric)
    assert document.PresentationLUTShape == shape
    window = document.SoftcopyVOILUTSequence[0]
    assert (window.WindowCenter, window.WindowWidth) == (film.WindowCenter, film.WindowWidth)
    assert (document.SeriesNumber, document.SeriesDescription) == (9005, "AI marks (unverified)")


def test_nothing_to_draw_gives_no_object():
    assert written(a_refused_report)[0] is None
    assert written(source=False)[0] is None
