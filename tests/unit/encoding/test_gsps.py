"""The marks as a presentation state."""

from __future__ import annotations

from io import BytesIO

import numpy as np
import pytest
from pydicom import Dataset, config, dcmread

from hoichan.encoding.gsps import encode_gsps
from hoichan.encoding.source import document_context
from hoichan.settings import Site
from hoichan.testing import a_film, a_refused_report, a_report, a_study


def written(make=a_report, photometric="MONOCHROME2", source=True, **values):
    film = a_film()
    film.PhotometricInterpretation = photometric
    for keyword, value in values.items():
        if value is None:
            delattr(film, keyword)
        else:
            setattr(film, keyword, value)
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


def a_lut(vr="US"):
    lut = Dataset()
    lut.LUTDescriptor, lut.LUTExplanation = [4, 0, 16], "NORMAL"
    values = [0, 700, 3000, 4095]
    lut.add_new("LUTData", vr, values if vr == "US" else np.array(values, "<u2").tobytes())
    return [lut]


@pytest.mark.parametrize(
    ("values", "window"),
    [
        ({"VOILUTSequence": a_lut()}, (2048, 4096)),  # both, as most digital films have them
        ({"WindowCenter": [2048, 900], "WindowWidth": [4096, 0]}, (2048, 4096)),
        ({"WindowCenterWidthExplanation": "NORMAL"}, (2048, 4096)),
        ({"WindowCenterWidthExplanation": ["A", "B", "C"]}, (2048, 4096)),
        ({"VOILUTFunction": "LOG"}, (2048, 4096)),
        ({"WindowCenter": "", "WindowWidth": ""}, None),
        ({"WindowWidth": 0}, None),
        ({"WindowWidth": None}, None),
        ({"WindowCenter": [1, 2], "WindowWidth": [3]}, None),
        ({"RescaleSlope": None}, (2048, 4096)),
        ({"RescaleSlope": 0}, (2048, 4096)),
        ({"RescaleType": ""}, (2048, 4096)),
        ({"RescaleType": "X" * 65}, (2048, 4096)),
        ({"VOILUTFunction": ["LINEAR", "SIGMOID"]}, (2048, 4096)),
    ],
)
def test_odd_grey_values_stop_no_object(values, window):
    with config.disable_value_validation():
        document, _ = written(**values)
    found = [(one.WindowCenter, one.WindowWidth) for one in document.get("SoftcopyVOILUTSequence", ())]
    assert found == ([window] if window else [])
    assert document.get("RescaleSlope", 1) == 1


@pytest.mark.parametrize("vr", ["US", "OW"])
def test_a_film_with_nothing_but_a_table_is_shown_through_it(vr):
    document, _ = written(WindowCenter=None, WindowWidth=None, VOILUTSequence=a_lut(vr))
    (shown,) = document.SoftcopyVOILUTSequence
    values = shown.VOILUTSequence[0].LUTData
    assert (list(values) if vr == "US" else np.frombuffer(values, "<u2").tolist()) == [0, 700, 3000, 4095]
    assert "WindowCenter" not in shown


def test_a_broken_table_is_left_out():
    broken = a_lut()
    broken[0].LUTDescriptor = [4, 0]
    document, _ = written(WindowCenter=None, WindowWidth=None, VOILUTSequence=broken)
    assert "SoftcopyVOILUTSequence" not in document


def test_nothing_to_draw_gives_no_object():
    assert written(a_refused_report)[0] is None
    assert written(source=False)[0] is None
