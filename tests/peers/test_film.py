"""A digitised film before a judge that nobody of us wrote."""

import shutil
import subprocess
import sys
from datetime import date
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from hoichan.encoding.film import FilmEntry, digitised_film
from hoichan.privacy import Phi

pytestmark = pytest.mark.peers
JUDGE = shutil.which("dciodvfy") or shutil.which("dciodvfy", path=str(Path(sys.executable).parent))
GREY = np.linspace(0, 255, 80 * 100).reshape(80, 100).astype(np.uint8)
DEEP = (np.arange(80 * 100).reshape(80, 100) * 8).astype(np.uint16)

ENTRY = {
    "patient_id": Phi("BN0001"),
    "patient_name": Phi("Nguyễn Văn An"),
    "patient_birth_date": Phi(date(1970, 1, 31)),
    "patient_sex": "M",
    "study_date": date(2026, 11, 20),
    "view_position": "PA",
}
BARE = {"patient_birth_date": None, "patient_sex": None, "view_position": None}
CASES = {
    "png": (GREY, "PNG", {}),
    "sixteen_bits": (DEEP, "PNG", {}),
    "jpeg": (GREY, "JPEG", {}),
    "negative": (GREY, "PNG", {"inverted": True}),
    "bare": (GREY, "PNG", BARE),
    "hand": (GREY, "JPEG", {"body_part_examined": "HAND"}),
    "conventional": (GREY, "PNG", {"modality": "RG", "accession_number": Phi("A1")}),
}


@pytest.mark.skipif(JUDGE is None, reason="dciodvfy is not installed")
@pytest.mark.parametrize("case", CASES)
def test_dciodvfy_finds_no_error(case, tmp_path):
    pixels, kind, changes = CASES[case]
    picture = BytesIO()
    Image.fromarray(pixels).save(picture, kind)
    file = tmp_path / "film.dcm"
    file.write_bytes(digitised_film(picture.getvalue(), FilmEntry(**{**ENTRY, **changes})))
    judged = subprocess.run([JUDGE, "-new", str(file)], capture_output=True, text=True, check=False)
    said = judged.stdout + judged.stderr
    assert [line for line in said.splitlines() if line.startswith("Error")] == []
    assert "SCImage" in said
