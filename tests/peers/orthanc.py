"""Debian's Orthanc as the PACS of a test: loopback, free ports, a folder of its own, stopped by its pid.

It can push by itself what it has received, as a PACS with routing rules does: `images` sends on the films
of a study that has come to rest, `everything` sends on what an AI wrote, too.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

from hoichan.testing.house import free_ports, wait_until

PLUGINS = [
    path
    for folder in ("/usr/share/orthanc/plugins", "/usr/lib/orthanc/plugins")
    for path in sorted(Path(folder).glob("libOrthancDicomWeb.so"))
][:1]
START_SECONDS = 60
STOP_SECONDS = 30

# What has arrived by our own title is what an AI wrote; a rule of this kind keeps most sites out of a loop.
ROUTE = """
local IMAGES = { CR = true, DX = true, MG = true }
local MODE = '@MODE@'
function OnStableStudy(study, tags, metadata)
  local resources = {}
  for _, series in ipairs(ParseJson(RestApiGet('/studies/' .. study .. '/series'))) do
    if MODE == 'everything' or IMAGES[series['MainDicomTags']['Modality']] then
      table.insert(resources, series['ID'])
    end
  end
  if #resources > 0 then
    local order = { Resources = resources, Synchronous = false }
    RestApiPost('/modalities/HOICHAN/store', DumpJson(order))
  end
end
"""


def is_available() -> bool:
    """Whether Orthanc and its DICOMweb plug-in are installed."""
    return shutil.which("Orthanc") is not None and bool(PLUGINS)


class Orthanc:
    """One PACS. `start` and `stop` as often as a test likes: ports and contents stay."""

    def __init__(
        self, folder: Path, *, push_to: int | None = None, push: str = "images", move_to: int | None = None
    ) -> None:
        """`push_to`: the port of the DICOM door that gets studies by itself; `move_to`: only when asked."""
        (folder / "storage").mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.port, self.http_port = free_ports(2)
        self._process: subprocess.Popen[bytes] | None = None
        scripts = []
        if push_to is not None:
            (folder / "route.lua").write_text(ROUTE.replace("@MODE@", push), encoding="utf-8")
            scripts = [str(folder / "route.lua")]
        settings = {
            "Name": "Test PACS",
            "StorageDirectory": str(folder / "storage"),
            "IndexDirectory": str(folder / "storage"),
            "Plugins": [str(path) for path in PLUGINS],
            "LuaScripts": scripts,
            "HttpPort": self.http_port,
            "RemoteAccessAllowed": False,
            "AuthenticationEnabled": False,
            "DicomAet": "PACS",
            "DicomPort": self.port,
            "DicomCheckCalledAet": True,
            "DicomAlwaysAllowStore": True,
            "DicomModalities": {"HOICHAN": ["HOICHAN", "127.0.0.1", push_to or move_to or 11112]},
            "DefaultEncoding": "Utf8",
            "StableAge": 1,
            "OverwriteInstances": False,
            "MaximumPduLength": 131072,
            "DicomWeb": {"Enable": True, "Root": "/dicom-web/"},
        }
        (folder / "orthanc.json").write_text(json.dumps(settings), encoding="utf-8")

    def start(self) -> None:
        """Start, and return when it answers."""
        with (self.folder / "orthanc.log").open("ab") as log:
            self._process = subprocess.Popen(
                ["Orthanc", self.folder / "orthanc.json"], stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )
        wait_until(self._answers, seconds=START_SECONDS, what="Orthanc answers")

    def stop(self) -> None:
        """End it; a second time does nothing."""
        process, self._process = self._process, None
        if process is None:
            return
        process.terminate()
        try:
            process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def __enter__(self) -> Orthanc:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def destination(self, **changes: object) -> str:
        """This PACS as a `[[destinations]]` of hoichan.toml."""
        values = {"name": "pacs", "kind": "dicom", "host": "127.0.0.1", "port": self.port, "ae_title": "PACS"}
        values["wait_for_images_seconds"] = 0  # in most tests it has no films
        lines = [f"{key} = {json.dumps(value)}" for key, value in {**values, **changes}.items()]
        return "\n".join(["[[destinations]]", *lines, ""])

    def get(self, path: str) -> bytes:
        """What its HTTP server answers."""
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.http_port}/{path}", headers={"Accept": "application/json, */*"}
        )
        with urllib.request.urlopen(request, timeout=30) as answer:
            content: bytes = answer.read()
            return content

    def upload(self, film: Path) -> None:
        """Put a file in, as a modality would."""
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.http_port}/instances", data=film.read_bytes(), method="POST"
        )
        urllib.request.urlopen(request, timeout=30).close()

    def qido(self, study: str, **match: str) -> list[dict[str, Any]]:
        """QIDO-RS: the study's instances that match, e.g. Modality="SR" (PS3.18 10.6)."""
        query = "&".join(f"{key}={value}" for key, value in match.items())
        path = f"dicom-web/studies/{study}/instances?{query}&includefield=00080060"
        try:
            found: list[dict[str, Any]] = json.loads(self.get(path) or b"[]")
        except urllib.error.HTTPError as error:
            error.close()
            if error.code != 404:  # the study is not there
                raise
            return []
        return found

    def uids(self, study: str, modality: str) -> list[str]:
        """The SOP Instance UIDs of the study's instances of one modality, found by QIDO-RS."""
        return sorted(one["00080018"]["Value"][0] for one in self.qido(study, Modality=modality))

    def file(self, sop_instance_uid: str) -> bytes:
        """The DICOM file of one instance."""
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.http_port}/tools/lookup", data=sop_instance_uid.encode(), method="POST"
        )
        with urllib.request.urlopen(request, timeout=30) as answer:
            (found,) = json.loads(answer.read())
        return self.get(f"instances/{found['ID']}/file")

    def count(self) -> int:
        """All instances it holds."""
        number: int = json.loads(self.get("statistics"))["CountInstances"]
        return number

    def _answers(self) -> bool:
        if self._process is None or self._process.poll() is not None:
            raise RuntimeError(f"Orthanc ended: {(self.folder / 'orthanc.log').read_text()[-2000:]}")
        try:
            return bool(self.get("system"))
        except OSError:
            return False
