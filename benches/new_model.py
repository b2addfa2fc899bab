"""Replace the model in a morning: the whole way against a house that runs, with a clock.

    .venv-train/bin/python -m benches.new_model [--data ../shared/data] [--films 200] [--out DIR]

A house answers films of NIH ChestX-ray14 with the shipped model; somebody signs each answer; then
`hoichan export-training`, `training.train`, `training.evaluate`, `training.export`, `hoichan model sign` and
`add`; the new version runs in shadow on other films, which are signed too; `report`, `promote`, a film that
the new version answers, `rollback`, and a film that the former one answers, without a restart between.

**The reviews are simulated**: a program signs what the public labels say. Account, licence number and every
signed text say so, and no doctor saw a film. So the figures say nothing of the model, and what is trained is
thrown away; what is measured is the time of each step, and that the steps fit together. The films that are
signed for training are taken out of the public ones that the recipe trains on, so that they count once; the
films of the shadow are of split `val`, by patients whom the network never saw.
"""

from __future__ import annotations

import argparse
import csv
import json
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx2 as httpx
import numpy as np
from PIL import Image
from pydicom import Dataset

from hoichan.adapters.scu import Address, send
from hoichan.errors import Unreachable
from hoichan.testing.house import RunningHouse, wait_until, write_film
from hoichan.testing.reports import a_film
from hoichan.types import Presence
from hoichan.uids import derived_uid
from service.api.caller import TOKEN_FIELD, TOKEN_HEADER
from training.dataset import FINDINGS

MODEL = "cxr-demo"
NEW = "9.9.9"  # of what is trained here and thrown away
READER, PASSWORD = "simulated.reader", "nhãn công khai, không phải bác sĩ"
TEXT = "SIMULATED from the labels of a public data set: no doctor saw this film."
ADULT, OLDEST = 18, 90
BATCH = 10  # films sent at a time
TRIES = 5  # to send them, on a machine that is busy
WAIT_SECONDS = 900.0
FIRST_FILMS, FIRST_SECONDS = 5, 60.0  # that wait for the shadow, one after the other
ROOT = Path(__file__).parents[1]


@dataclass(slots=True)
class Clock:
    """Seconds of each step, in their order."""

    steps: list[dict[str, Any]] = field(default_factory=list)

    @contextmanager
    def step(self, name: str) -> Iterator[dict[str, Any]]:
        """Time what happens inside; figures that belong to it may be added."""
        told: dict[str, Any] = {"step": name}
        began = time.monotonic()
        yield told
        told["seconds"] = round(time.monotonic() - began, 1)
        self.steps.append(told)
        print(json.dumps(told, ensure_ascii=False), flush=True)


def main() -> int:
    """The whole way once; exit code 1 where a step failed."""
    parser = argparse.ArgumentParser(prog="benches.new_model", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--films", type=int, default=200, help="signed for training")
    parser.add_argument("--watched", type=int, default=120, help="answered by both versions and signed")
    parser.add_argument("--package", type=Path, default=None, help="take this one instead of training one")
    parser.add_argument("--out", type=Path, default=None, help="folder that keeps the report and the times")
    options = parser.parse_args()
    if not (options.data / "nih_cxr" / "labels.csv").is_file():
        print(f"There are no films in {options.data}: nothing was done.", file=sys.stderr)
        return 1
    clock = Clock()
    with tempfile.TemporaryDirectory(prefix="hoichan-morning-") as name, clock.step("the whole way") as told:
        told.update(morning(Path(name), options, clock))
        if options.out is not None:
            shutil.copytree(Path(name, "report"), options.out, dirs_exist_ok=True)
    if options.out is not None:
        (options.out / "times.json").write_text(json.dumps(clock.steps, indent=1) + "\n", encoding="utf-8")
    return 0


def morning(folder: Path, options: argparse.Namespace, clock: Clock) -> dict[str, Any]:
    """Every step in turn; what came of the report and of the decisions."""
    data = options.data.resolve()
    rows = table(data)
    training, others = adults(rows, "train")[: options.films], adults(rows, "val")[: options.watched + 3]
    house = RunningHouse(folder / "house")
    with clock.step("start the house"):
        add_reader(house)
        house.start()
    try:
        with clock.step(f"{len(training)} films answered"):
            answer(house, training, data, folder)
        with Reader(house) as reader:
            with clock.step(f"{len(training)} answers signed (simulated)"):
                for row in training:
                    reader.sign(row)
            with clock.step("export-training") as told:
                out = house.run("export-training", "--out", str(folder / "export"), "--json", check=True)
                told.update({k: json.loads(out.stdout)[k] for k in ("images", "patients", "left_out")})
            package = options.package or workshop(folder, without(data, training, folder / "public"), clock)
            with clock.step("sign and add, in shadow"):
                key = str(folder / "models.key")
                signing = [sys.executable, "-m", "service", "model", "sign", str(package), "--make-key", key]
                subprocess.run(signing, check=True, cwd=ROOT, stdout=subprocess.DEVNULL)
                house.run("model", "add", str(package), check=True)
            return judge(house, reader, others, data, folder, clock)
    finally:
        house.stop()


def workshop(folder: Path, data: Path, clock: Clock) -> Path:
    """Train, evaluate and export: a package whose last blocks and gate are those of the shipped one."""
    recipe, run, package = folder / "recipe.toml", folder / "run", folder / MODEL
    text = (ROOT / "training" / "recipes" / f"{MODEL}.toml").read_text(encoding="utf-8")
    lines = [line for line in text.splitlines() if not line.startswith("version")]
    recipe.write_text("\n".join([*lines, f'version = "{NEW}"']) + "\n", encoding="utf-8")
    start = str(ROOT / "models" / MODEL)
    for name, arguments in (
        ("train", [str(recipe), "--run", str(run), "--start", start, "--also", str(folder / "export")]),
        ("evaluate", [str(run), "--gate-of", start]),
        ("export", [str(run), "--package", str(package), "--status", "shadow"]),
    ):
        with clock.step(f"training.{name}"):
            command = [sys.executable, "-m", f"training.{name}", *arguments, "--data", str(data)]
            subprocess.run(command, check=True, cwd=ROOT, stdout=subprocess.DEVNULL)
    shutil.copy(ROOT / "models" / MODEL / "LICENSE", package)
    return package


def judge(
    house: RunningHouse,
    reader: Reader,
    rows: Sequence[Mapping[str, str]],
    data: Path,
    folder: Path,
    clock: Clock,
) -> dict[str, Any]:
    """Shadow, report, promotion and the way back; the last two films are answered after each of these."""
    watched, after = rows[:-2], rows[-2:]
    with clock.step("the shadow answers its first film"):
        watched = first_seen(house, watched, data, folder)
    with clock.step(f"{len(watched)} films answered live"):
        answer(house, watched[1:], data, folder)
    with clock.step("and by the shadow") as told:
        told["outcomes"] = shadowed(house, len(watched), WAIT_SECONDS)
    with clock.step(f"{len(watched)} answers signed (simulated)"):
        for row in watched:
            reader.sign(row)
    with clock.step("report") as told:
        out = house.run("model", "report", MODEL, "--out", str(folder / "report"), "--json")
        report = json.loads(out.stdout)
        failed = [f"{g['finding']}.{g['gate']}" for g in report["gates"] if not g["held"]]
        told.update(reviewed=report["reviewed"], gates=len(report["gates"]), not_held=failed)
    with clock.step("promote") as told:
        promoted = house.run("model", "promote", MODEL, NEW)
        told["refused"] = bool(promoted.returncode)
        if promoted.returncode:  # a person takes it on, in words that are kept with the decision
            house.run("model", "promote", MODEL, NEW, "--override", f"a rehearsal; {TEXT}", check=True)
    with clock.step("the next film is answered by the new version"):
        answer(house, after[:1], data, folder)
        expect(reader, after[0], NEW)
    with clock.step("rollback"):
        house.run("model", "rollback", MODEL, "--reason", "the rehearsal is over", check=True)
    with clock.step("the next film is answered by the former version"):
        answer(house, after[1:], data, folder)
        expect(reader, after[1], report["live"]["version"])
    return {"reviewed": report["reviewed"], "gates_not_held": failed}


def shadowed(house: RunningHouse, count: int, seconds: float) -> dict[str, int]:
    """What came of asking the shadow, once it was asked so often. Raises TimeoutError."""
    rest = threading.Event()

    def outcomes() -> dict[str, int]:
        rest.wait(2)  # the command starts an interpreter: no hurry
        told = json.loads(house.run("model", "status", "--json", check=True).stdout)
        (mine,) = (one for one in told["shadow"] if (one["model"], one["version"]) == (MODEL, NEW))
        return mine["outcomes"] if sum(mine["outcomes"].values()) >= count else {}

    return wait_until(outcomes, seconds=seconds, what=f"{count} answers of the shadow")


def first_seen(
    house: RunningHouse, rows: Sequence[Mapping[str, str]], data: Path, folder: Path
) -> Sequence[Mapping[str, str]]:
    """Send film after film until the shadow answers one; that film and those behind it.

    A shadow sees what was answered after the worker found its package, which takes up to half a minute.
    """
    for number in range(FIRST_FILMS):
        answer(house, rows[number : number + 1], data, folder)
        with suppress(TimeoutError):
            shadowed(house, 1, FIRST_SECONDS)
            return rows[number:]
    raise TimeoutError(f"the shadow answered none of {FIRST_FILMS} films")


def expect(reader: Reader, row: Mapping[str, str], version: str) -> None:
    """Raises RuntimeError where another version of the model answered this film."""
    said = {one["algorithm_version"] for one in reader.reading(row)["findings"]}
    if said != {version}:
        raise RuntimeError(f"the film was answered by {sorted(said)}, not by {version}")


# -------------------------------------------------------------------------------------------------- films
def table(data: Path) -> list[dict[str, str]]:
    """The rows of labels.csv."""
    with (data / "nih_cxr" / "labels.csv").open(encoding="utf-8") as file:
        return list(csv.DictReader(file))


def adults(rows: Sequence[Mapping[str, str]], split: str) -> list[Mapping[str, str]]:
    """The films of one split whose patients the model was made for, in the table's order."""
    return [row for row in rows if row["split"] == split and ADULT <= float(row["age"]) <= OLDEST]


def without(data: Path, taken: Sequence[Mapping[str, str]], folder: Path) -> Path:
    """The data folder less the patients of these films, who come back through the export."""
    patients = {row["patient_id"] for row in taken}
    rows = [r for r in table(data) if r["split"] != "train" or r["patient_id"] not in patients]
    (folder / "nih_cxr").mkdir(parents=True)
    for place in data.iterdir():
        if place.name != "nih_cxr":
            (folder / place.name).symlink_to(place)
    (folder / "nih_cxr" / "images512").symlink_to(data / "nih_cxr" / "images512")
    with (folder / "nih_cxr" / "labels.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return folder


def as_dicom(row: Mapping[str, str], data: Path) -> Dataset:
    """A public film as the object of a CR unit, under numbers that say what it is."""
    picture = data / "nih_cxr" / "images512" / (Path(row["image"]).stem + ".jpg")
    pixels = np.asarray(Image.open(picture).convert("L"))
    film = a_film(study_of(row), rows=pixels.shape[0], columns=pixels.shape[1])
    film.PatientName, film.PatientID = "NIH^Public", f"NIH-{row['patient_id']}"
    film.PatientSex, film.PatientAge = row["sex"], f"{int(float(row['age'])):03d}Y"
    del film.PatientBirthDate
    film.ViewPosition, film.BurnedInAnnotation = row["view"], "NO"
    film.AccessionNumber = ""
    film.PixelData = (pixels.astype("<u2") << 4).tobytes()
    return film


def study_of(row: Mapping[str, str]) -> str:
    """The seed of the film's UIDs."""
    return f"morning {row['image']}"


def uid_of(row: Mapping[str, str]) -> str:
    """Study Instance UID of the film."""
    return derived_uid(study_of(row), "study")


def answer(house: RunningHouse, rows: Sequence[Mapping[str, str]], data: Path, folder: Path) -> None:
    """Send the films and wait until each has a report."""
    for first in range(0, len(rows), BATCH):
        paths = [write_film(as_dicom(row, data), folder / "films") for row in rows[first : first + BATCH]]
        deliver(paths, Address.parse(house.address))
        for path in paths:
            path.unlink()
    for row in rows:
        house.wait_for_report(uid_of(row), seconds=WAIT_SECONDS)


def deliver(paths: Sequence[Path], to: Address) -> None:
    """C-STORE, again where the association is lost, as a modality does: a duplicate is harmless."""
    for tries_left in reversed(range(TRIES)):
        try:
            answers = [one.status for one in send(paths, to)]
        except Unreachable:
            if not tries_left:
                raise
            continue
        if any(answers):
            raise RuntimeError(f"a film was answered with 0x{max(status or 0 for status in answers):04X}")
        return


# -------------------------------------------------------------------------------------------------- reviews
def add_reader(house: RunningHouse) -> None:
    """An account whose every name says that nobody stands behind it."""
    words = ["--full-name", "SIMULATED, no doctor", "--licence", "SIMULATED"]
    house.run("user", "add", READER, "--role", "radiologist", *words, check=True, told=f"{PASSWORD}\n")


class Reader:
    """Signs at the house's page, as a radiologist's browser does."""

    def __init__(self, house: RunningHouse) -> None:
        """Sign in. Raises RuntimeError where that fails."""
        self._client = httpx.Client(
            base_url=house.page, headers={"Sec-Fetch-Site": "same-origin"}, timeout=60
        )
        page = self._client.get("/login").text
        token = page.partition(f'name="{TOKEN_FIELD}" value="')[2].partition('"')[0]
        form = {TOKEN_FIELD: token, "user_name": READER, "password": PASSWORD}
        self._client.post("/login", data=form)
        home = self._client.get("/").text
        token = home.partition(f'name="{TOKEN_FIELD}" value="')[2].partition('"')[0]
        self._client.headers[TOKEN_HEADER] = token

    def __enter__(self) -> Reader:
        return self

    def __exit__(self, *_: object) -> None:
        self._client.close()

    def reading(self, row: Mapping[str, str]) -> dict[str, Any]:
        """What the reading room knows of the film."""
        return self._asked("GET", row, "reading")

    def sign(self, row: Mapping[str, str]) -> None:
        """Judge each statement by the labels, add what was missed, and give it all for training."""
        machine = self.reading(row)
        given = judgements(row, machine["findings"])
        draft = {
            "version": 0,
            "judgements": given,
            "sections": {"description": TEXT, "conclusion": TEXT},
            "report_uid": machine["report"]["report_uid"],
        }
        saved = self._asked("PUT", row, "draft", draft)
        signature = {"version": saved["version"], "password": PASSWORD, "may_train": True, "language": "en"}
        self._asked("POST", row, "sign", signature)

    def _asked(
        self, method: str, row: Mapping[str, str], verb: str, told: dict[str, Any] | None = None
    ) -> dict[str, Any]:
        answered = self._client.request(method, f"/api/v1/studies/{uid_of(row)}/{verb}", json=told)
        if answered.status_code >= 400:
            raise RuntimeError(f"{verb} was answered with {answered.status_code}: {answered.text[:300]}")
        found: dict[str, Any] = answered.json()
        return found


def judgements(row: Mapping[str, str], findings: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """What the labels say of the machine's statements, and what they add to them."""
    there = {key for name, key in FINDINGS.items() if row[name] == "1"}
    given: list[dict[str, Any]] = []
    for one in findings:
        if one["presence"] == Presence.ABSENT:
            continue
        said = (
            {"verdict": "accepted"} if one["key"] in there else {"verdict": "rejected", "reason": "not_seen"}
        )
        given.append({"finding_id": one["id"], "key": one["key"], **said})
    stated = {one["key"] for one in given}
    return given + [{"key": key, "verdict": "added"} for key in sorted(there - stated)]


if __name__ == "__main__":
    raise SystemExit(main())
