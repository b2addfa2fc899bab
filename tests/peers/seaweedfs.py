"""A SeaweedFS server of our own for tests: an S3 store with one bucket, on the loopback, gone afterwards."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path
from shutil import which

from hoichan.settings import S3
from hoichan.testing.house import free_ports, wait_until

BUCKET = "hoichan"
ACCESS, SECRET = "AKIDHOICHAN", "a secret of the tests"
_BESIDE = Path(sys.executable).with_name("weed")
PROGRAM = str(_BESIDE) if _BESIDE.exists() else which("weed")


def is_available() -> bool:
    """Whether the server's program is installed."""
    return PROGRAM is not None


class SeaweedFS:
    """Master, volume, filer and S3 door in one process; may be stopped and started again."""

    def __init__(self, folder: Path):
        self.folder = folder
        identity = {
            "name": "test",
            "credentials": [{"accessKey": ACCESS, "secretKey": SECRET}],
            "actions": ["Admin", "Read", "Write", "List", "Tagging"],
        }
        (folder / "s3.json").write_text(json.dumps({"identities": [identity]}), encoding="utf-8")
        (folder / "data").mkdir()
        self.port, *self._ports = free_ports(8)
        self.start()
        self._make_bucket()

    @property
    def settings(self) -> S3:
        """How the bucket is reached."""
        return S3(
            endpoint=f"http://127.0.0.1:{self.port}",
            access_key_id=ACCESS,
            secret_access_key=SECRET,
            connect_timeout_seconds=2,
            timeout_seconds=20,
        )

    @property
    def environment(self) -> dict[str, str]:
        """The same as variables of a process."""
        return {
            "HOICHAN_STORAGE__S3__ENDPOINT": f"http://127.0.0.1:{self.port}",
            "HOICHAN_STORAGE__S3__ACCESS_KEY_ID": ACCESS,
            "HOICHAN_STORAGE__S3__SECRET_ACCESS_KEY": SECRET,
        }

    def start(self) -> None:
        """Start it, and return when the S3 door answers."""
        master, master_grpc, volume, volume_grpc, filer, filer_grpc, s3_grpc = self._ports
        log = (self.folder / "log").open("ab")
        with log:
            self._process = subprocess.Popen(
                [
                    PROGRAM, "server", "-ip=127.0.0.1", "-ip.bind=127.0.0.1", f"-dir={self.folder / 'data'}",
                    "-s3", f"-s3.port={self.port}", f"-s3.config={self.folder / 's3.json'}",
                    f"-s3.port.grpc={s3_grpc}", "-s3.port.iceberg=0", "-s3.port.lance=0",
                    f"-master.port={master}", f"-master.port.grpc={master_grpc}",
                    f"-volume.port={volume}", f"-volume.port.grpc={volume_grpc}", f"-filer.port={filer}",
                    f"-filer.port.grpc={filer_grpc}", "-volume.max=4", "-master.volumeSizeLimitMB=64",
                    "-master.telemetry=false",
                ],
                stdout=log, stderr=log, stdin=subprocess.DEVNULL, cwd=self.folder,
            )  # fmt: skip
        wait_until(self._answers, seconds=90, what="SeaweedFS answers")

    def stop(self) -> None:
        """End it as a crash does (it takes half a minute to go by itself); what it holds is kept."""
        self._process.kill()
        self._process.wait(20)

    def _answers(self) -> bool:
        assert self._process.poll() is None, (self.folder / "log").read_text()[-2000:]
        try:
            with socket.create_connection(("127.0.0.1", self.port), timeout=1):
                pass
            with urllib.request.urlopen(f"http://127.0.0.1:{self._ports[4]}/", timeout=5) as answer:
                return bool(answer.status == 200)
        except urllib.error.HTTPError as error:
            error.close()
            return False
        except OSError:
            return False

    def _make_bucket(self) -> None:
        """A bucket is a folder of the filer."""
        url = f"http://127.0.0.1:{self._ports[4]}/buckets/{BUCKET}/"
        with urllib.request.urlopen(urllib.request.Request(url, method="POST"), timeout=20):
            pass
