"""From the click in the list to the first picture, the room and the full depth: on the LAN and on 3G.

The page is a process of its own, the browser is Debian's chromium without a GPU, on the same machine. Each
study is one that nobody has looked at, so that nothing is kept for it; `again` keeps the app's files.

    python -m benches.reading_room --rounds 4
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath
from typing import Any
from zoneinfo import ZoneInfo

import pydicom
from playwright.sync_api import Browser, sync_playwright
from pydicom.data import get_testdata_file

from hoichan.intake.dataset import describe
from hoichan.testing.reading import a_record
from hoichan.testing.reports import as_bytes
from hoichan.types import Sha256
from hoichan.uids import derived_uid

KINDS = {
    "CR 1955x1841": "RG1_UNCR.dcm",
    "CR 1955x1841, JPEG 2000": "RG1_J2KR.dcm",
    "CT 128x128": "CT_small.dcm",
}
LINES = {"LAN": None, "3G": {"latency": 150, "downloadThroughput": 200_000, "uploadThroughput": 94_000}}
DESK = {"viewport": {"width": 1366, "height": 768}}
PHONE = {"viewport": {"width": 360, "height": 740}, "is_mobile": True, "has_touch": True}
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--disable-background-networking"]
WAIT_MS = 60_000
# Milliseconds since the click: when the first picture had come, and when the room stood.
PAINTED = """() => new Promise(done => {
  const look = () => {
    const picture = performance.getEntriesByType("resource").find(one => one.name.includes("/rendered?"));
    const ready = performance.getEntriesByName("room-ready")[0];
    const image = document.querySelector("#preview, .stage-small");
    if (picture && picture.responseEnd && ready && image && image.complete) {
      done({picture: picture.responseEnd, room: ready.startTime, bytes: picture.encodedBodySize});
    } else requestAnimationFrame(look);
  };
  look();
})"""


def fill(folder: Path, each: int) -> dict[str, list[str]]:
    """A record with studies of each kind; their UIDs."""
    record = a_record(folder)
    uids: dict[str, list[str]] = {}
    for kind, name in KINDS.items():
        for number in range(each):
            made = pydicom.dcmread(str(get_testdata_file(name, download=False)))
            for keyword in ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID"):
                setattr(made, keyword, derived_uid(kind, keyword, str(number)))
            made.file_meta.MediaStorageSOPInstanceUID = made.SOPInstanceUID
            study = describe(
                made,
                path=PurePosixPath("studies") / f"{made.SOPInstanceUID}.dcm",
                sha256=Sha256("0" * 64),
                received_at=datetime.now(UTC),
                calling_ae_title="CR1",
                zone=ZoneInfo("Asia/Ho_Chi_Minh"),
            )
            (image,) = study.instances
            record.studies.add_arrivals(study, study.instances)
            place = record.spool_root / image.path
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(as_bytes(made))
            uids.setdefault(kind, []).append(str(study.study_instance_uid))
    record.engine.dispose()
    return uids


@contextmanager
def page_of(folder: Path) -> Iterator[str]:
    """The page over this folder; its address."""
    ready = folder / "web.ready"
    command = (sys.executable, "-P", "-m", "service", "web", "--data-dir", str(folder))
    process = subprocess.Popen(
        [*command, "--ready-file", str(ready), "--stdin-lifeline"],
        env=os.environ | {"HOICHAN_WEB__PORT": "0"},
        stdin=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    try:
        deadline = time.monotonic() + 60
        while not ready.exists():
            assert process.poll() is None and time.monotonic() < deadline, "the page did not start"
            time.sleep(0.05)
        yield f"http://localhost:{json.loads(ready.read_text(encoding='utf-8'))['port']}"
    finally:
        if process.stdin is not None:
            process.stdin.close()
        process.wait(60)


def click(page: Any, base: str, uid: str) -> dict[str, float]:  # noqa: ANN401  playwright's page
    """Open the study from the list; milliseconds and bytes."""
    page.goto(base)
    page.wait_for_selector(f"[data-key='{uid}'] .name")
    sent: list[float] = []
    session = page.context.new_cdp_session(page)
    session.send("Network.enable")
    session.on("Network.loadingFinished", lambda told: sent.append(told["encodedDataLength"]))
    page.click(f"[data-key='{uid}'] .name")
    page.wait_for_url(f"**/studies/{uid}")
    found: dict[str, float] = page.evaluate(PAINTED)
    found["all_bytes"] = sum(sent)
    session.detach()
    return found


def readings(
    browser: Browser, base: str, line: str, uids: list[str]
) -> Iterator[tuple[str, dict[str, float]]]:
    """`first`: nothing kept; `again`: the app's files are kept, the study is another."""
    options = PHONE if line == "3G" else DESK
    for first, again in zip(uids[::2], uids[1::2], strict=True):
        context = browser.new_context(locale="vi-VN", **options)
        page = context.new_page()
        page.set_default_timeout(WAIT_MS)
        slow = LINES[line]
        if slow is not None:
            session = context.new_cdp_session(page)
            session.send("Network.enable")
            session.send("Network.emulateNetworkConditions", {"offline": False, **slow})
        yield "first", click(page, base, first)
        yield "again", click(page, base, again)
        context.close()


def line_of(found: list[dict[str, float]]) -> str:
    """The medians, and the worst first picture."""
    middle = {key: statistics.median(one[key] for one in found) for key in found[0]}
    worst = max(one["picture"] for one in found)
    return (
        f"first picture {middle['picture']:5.0f} ms (worst {worst:5.0f}), room {middle['room']:5.0f} ms, "
        f"picture {middle['bytes'] / 1000:5.1f} kB, in all {middle['all_bytes'] / 1000:6.1f} kB"
    )


def main() -> None:
    """Print a line a case."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3, choices=range(1, 5))  # the list shows fifty
    rounds: int = parser.parse_args().rounds
    chromium = os.environ.get("HOICHAN_TEST_CHROMIUM") or shutil.which("chromium")
    with tempfile.TemporaryDirectory() as name:
        uids = fill(Path(name), 2 * rounds * len(LINES))
        with page_of(Path(name)) as base, sync_playwright() as play:
            browser = play.chromium.launch(executable_path=chromium, headless=True, args=FLAGS)
            for kind, all_of in uids.items():
                for place, line in enumerate(LINES):
                    mine = all_of[place * 2 * rounds : (place + 1) * 2 * rounds]
                    told: dict[str, list[dict[str, float]]] = {}
                    for when, found in readings(browser, base, line, mine):
                        told.setdefault(when, []).append(found)
                    for when, every in told.items():
                        print(f"{kind:24} {line:3} {when:5} {line_of(every)}", flush=True)
            browser.close()


if __name__ == "__main__":
    main()
