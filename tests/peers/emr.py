"""PyPI's sekmet-fhir as the EMR of a test: a FHIR R4 server that nobody of us wrote, on a free port."""

from __future__ import annotations

import json
import os
import subprocess
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path
from typing import Any

from hoichan.testing.house import free_ports, wait_until

ROOT = Path(__file__).parents[2]
PROGRAM = Path(os.environ.get("HOICHAN_EMR", ROOT / ".venv-emr" / "bin" / "sekmet"))
START_SECONDS = 60
STOP_SECONDS = 20
SETTINGS = """
host: 127.0.0.1
port: {port}
base_url: http://127.0.0.1:{port}/fhir
data_dir: {folder}/data
validation: {{inbound: strict}}
simulator: {{enabled: false}}
server_auth: {{{auth}}}
"""


def is_available() -> bool:
    """Whether the program is installed (make .venv-emr/.emr)."""
    return PROGRAM.exists()


class Emr:
    """One FHIR server with an empty store."""

    def __init__(self, folder: Path, *, auth: str = "types: [none]") -> None:
        """`auth`: its `server_auth`, as YAML without the braces."""
        (folder / "data").mkdir(parents=True, exist_ok=True)
        self.folder = folder
        (self.port,) = free_ports(1)
        self.url = f"http://127.0.0.1:{self.port}/fhir"
        self._process: subprocess.Popen[bytes] | None = None
        settings = SETTINGS.format(port=self.port, folder=folder, auth=auth)
        (folder / "settings.yaml").write_text(settings, encoding="utf-8")

    def start(self) -> None:
        """Start, and return when it answers."""
        with (self.folder / "emr.log").open("ab") as log:
            self._process = subprocess.Popen(
                [PROGRAM, "serve", "-c", self.folder / "settings.yaml"],
                cwd=self.folder,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        wait_until(self._answers, seconds=START_SECONDS, what="the EMR answers")

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

    def __enter__(self) -> Emr:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def destination(self, **changes: object) -> str:
        """This EMR as a `[[destinations]]` of hoichan.toml."""
        values = {"name": "emr", "kind": "fhir", "url": self.url}
        lines = [f"{key} = {json.dumps(value)}" for key, value in {**values, **changes}.items()]
        return "\n".join(["[[destinations]]", *lines, ""])

    def create_patient(self, system: str, value: str, family: str = "Người bệnh") -> None:
        """A patient whom the EMR knows by this identifier."""
        patient = {
            "resourceType": "Patient",
            "identifier": [{"system": system, "value": value}],
            "name": [{"family": family}],
        }
        request = urllib.request.Request(
            f"{self.url}/Patient",
            data=json.dumps(patient).encode(),
            headers={"Content-Type": "application/fhir+json"},
            method="POST",
        )
        urllib.request.urlopen(request, timeout=30).close()

    def search(self, kind: str, **match: str) -> list[dict[str, Any]]:
        """The resources of a kind that match."""
        query = urllib.parse.urlencode({"_count": "200", **match})
        with urllib.request.urlopen(f"{self.url}/{kind}?{query}", timeout=30) as answer:
            bundle = json.loads(answer.read())
        return [entry["resource"] for entry in bundle.get("entry", [])]

    def _answers(self) -> bool:
        if self._process is None or self._process.poll() is not None:
            raise RuntimeError(f"the EMR ended: {(self.folder / 'emr.log').read_text()[-2000:]}")
        try:
            urllib.request.urlopen(f"{self.url}/metadata", timeout=30).close()
        except OSError:
            return False
        return True
