"""Public films and things that are no films -> arrays for training, split by patient.

Findings: `nih_cxr/labels.csv` (Wang et al., CVPR 2017), whose splits keep patients apart. The gate: the same
films turned, inverted and cut up, slices of other modalities, photographs and drawings. What the gate is
judged on (`HELD_OUT`) it never trained on. Every picture goes through `hoichan.analysis.imaging`: training
sees the pixels that the service sees.
"""

from __future__ import annotations

import csv
import gzip
import struct
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from pydicom import dcmread
from pydicom.errors import InvalidDicomError

from hoichan.analysis.films import Film
from hoichan.analysis.gate import GATE_CLASSES
from hoichan.analysis.imaging import read_film, read_picture, stretch, to_model_input
from hoichan.errors import InputOutOfDomain

Array = NDArray[np.float32]

# NIH name -> finding key of hoichan.codes.FINDINGS; the order is the order of the output vector
FINDINGS = {
    "Atelectasis": "atelectasis",
    "Cardiomegaly": "cardiomegaly",
    "Consolidation": "consolidation",
    "Edema": "edema",
    "Effusion": "pleural_effusion",
    "Emphysema": "emphysema",
    "Fibrosis": "fibrosis",
    "Hernia": "hernia",
    "Infiltration": "infiltration",
    "Mass": "mass",
    "Nodule": "nodule",
    "Pleural_Thickening": "pleural_thickening",
    "Pneumonia": "pneumonia",
    "Pneumothorax": "pneumothorax",
}
SMALL_COLLECTION = 30  # films; smaller source collections are one group, "other"

FRONTAL, NOT_UPRIGHT, INVERTED, OTHER, MIRRORED = range(len(GATE_CLASSES))
HELD_OUT_SERIES = ("FLAIR", "HCrop")  # parts of folder names of the MR study
HELD_OUT_FILES = ("RG1", "RG3", "US1", "examples_overlay", "flower")
SEEN_IN_ANOTHER_FORM = ("JPEG2000",)  # the bone scan of JPEG-LL.dcm again: neither trained on nor judged


@dataclass(frozen=True, slots=True, kw_only=True)
class Samples:
    """One split, row for row."""

    images: tuple[str, ...]  # NIH file names
    patients: NDArray[np.str_]  # (n,)
    collections: NDArray[np.str_]  # (n,) where the film was gathered: a shortcut to guard against
    labels: Array  # (n, 14) 0 or 1
    metadata: Array  # (n, 3) age in decades, sex (M = 1), view (AP = 1)
    ages: Array  # (n,) years
    paths: tuple[Path, ...]

    def __len__(self) -> int:
        return len(self.images)

    def joined(self, other: Samples) -> Samples:
        """These films and then the others."""
        return Samples(
            images=self.images + other.images,
            patients=np.concatenate([self.patients, other.patients]),
            collections=np.concatenate([self.collections, other.collections]),
            labels=np.concatenate([self.labels, other.labels]),
            metadata=np.concatenate([self.metadata, other.metadata]),
            ages=np.concatenate([self.ages, other.ages]),
            paths=self.paths + other.paths,
        )

    def head(self, count: int | None) -> Samples:
        """The first so many films; all with None."""
        return self.take(np.arange(len(self))[:count])

    def take(self, rows: NDArray[np.int64]) -> Samples:
        """The films of these rows, in this order."""
        return Samples(
            images=tuple(self.images[i] for i in rows),
            patients=self.patients[rows],
            collections=self.collections[rows],
            labels=self.labels[rows],
            metadata=self.metadata[rows],
            ages=self.ages[rows],
            paths=tuple(self.paths[i] for i in rows),
        )


def load_split(data: Path, split: str) -> Samples:
    """The films of one split of nih_cxr, or of an export of signed reviews, in the order of the table."""
    if not (data / "nih_cxr").is_dir() and (data / "labels.csv").is_file():
        return load_export(data, split)
    with (data / "nih_cxr" / "labels.csv").open(encoding="utf-8") as table:
        everything = list(csv.DictReader(table))
    rows = [row for row in everything if row["split"] == split]
    if not rows:
        raise ValueError(f"labels.csv has no split {split!r}")
    names, counts = np.unique([row["source_repo"] for row in everything], return_counts=True)
    large = set(names[counts >= SMALL_COLLECTION])
    return Samples(
        images=tuple(row["image"] for row in rows),
        patients=np.array([row["patient_id"] for row in rows]),
        collections=np.array([r["source_repo"] if r["source_repo"] in large else "other" for r in rows]),
        labels=np.array([[float(row[name]) for name in FINDINGS] for row in rows], dtype=np.float32),
        metadata=np.array(
            [[float(r["age"]) / 10, r["sex"] == "M", r["view"] == "AP"] for r in rows], dtype=np.float32
        ),
        ages=np.array([float(row["age"]) for row in rows], dtype=np.float32),
        paths=tuple(data / "nih_cxr" / "images512" / (Path(row["image"]).stem + ".jpg") for row in rows),
    )


def load_export(folder: Path, split: str, *, unknown: float = 0.0) -> Samples:
    """The films of one split of `hoichan export-training`.

    `unknown`: what a finding counts as of which the signature says nothing. Nought is the usual reading of a
    report that does not name it; NaN keeps it apart for whoever masks.
    """
    with (folder / "labels.csv").open(encoding="utf-8") as table:
        rows = [row for row in csv.DictReader(table) if row["split"] == split]
    if not rows:
        raise ValueError(f"labels.csv has no split {split!r}")

    def number(text: str, default: float) -> float:
        return float(text) if text else default

    ages = np.array([number(row["age"], np.nan) for row in rows], dtype=np.float32)
    middle = float(np.nanmedian(ages)) if np.isfinite(ages).any() else 50.0
    ages = np.where(np.isfinite(ages), ages, np.float32(middle))
    return Samples(
        images=tuple(row["image"] for row in rows),
        patients=np.array([row["patient_id"] for row in rows]),
        collections=np.array(["export"] * len(rows)),
        labels=np.array(
            [[number(row[key], unknown) for key in FINDINGS.values()] for row in rows], dtype=np.float32
        ),
        metadata=np.array(
            [[age / 10, r["sex"] == "M", r["view"] == "AP"] for age, r in zip(ages, rows, strict=True)],
            dtype=np.float32,
        ),
        ages=ages,
        paths=tuple(folder / row["image"] for row in rows),
    )


def load_films(paths: tuple[Path, ...] | list[Path], size: int) -> Array:
    """(n, 1, size, size) float32 0..1, through the service's own preprocessing."""
    films = np.empty((len(paths), 1, size, size), dtype=np.float32)
    for i, path in enumerate(paths):
        film = read_film(dcmread(path)) if path.suffix == ".dcm" else read_picture(path)
        films[i] = to_model_input(film, size)[0]
    return films


# ---------------------------------------------------------------------- what is no upright frontal chest film
def turned(film: Array, rng: np.random.Generator) -> Array:
    """A film on its side, on its head, upside down or aslant by more than 35 degrees: (size, size) -> (size,
    size).
    """
    kind = rng.integers(0, 5)
    if kind == 0:
        return np.ascontiguousarray(np.flipud(film))
    if kind < 4:
        return np.ascontiguousarray(np.rot90(film, k=int(kind)))
    picture = Image.fromarray(film).rotate(float(rng.uniform(35, 325)), Image.Resampling.BILINEAR)
    return np.asarray(picture, dtype=np.float32)


def inverted(film: Array) -> Array:
    """Air bright and bone dark, as a film whose photometric interpretation was lost."""
    return np.float32(1.0) - film


def fragment(film: Array, rng: np.random.Generator) -> Array:
    """A corner of a chest (a shoulder, a flank, a neck): 20 to 45 % of the side."""
    size = film.shape[0]
    side = int(size * rng.uniform(0.20, 0.45))
    top, left = (0 if rng.random() < 0.5 else size - side for _ in range(2))
    return film[top : top + side, left : left + side]


def drawing(kind: str, size: int, rng: np.random.Generator) -> Array:
    """A made-up picture of one of `DRAWINGS` or `HELD_OUT_DRAWINGS`: (size, size) float32 0..1."""
    y, x = np.mgrid[0:size, 0:size].astype(np.float32) / size
    made: dict[str, Callable[[], NDArray[np.float32]]] = {
        "noise": lambda: rng.random((size, size), dtype=np.float32),
        "clouds": lambda: _clouds(size, rng),
        "gradient": lambda: x * rng.uniform(-1, 1) + y * rng.uniform(-1, 1) + rng.normal(0, 0.01, x.shape),
        "text": lambda: _text(size, rng),
        "shapes": lambda: _shapes(size, rng),
        "limb": lambda: _limb(x, y, rng),
        "skull": lambda: _skull(x, y, rng),
        "stripes": lambda: np.sin(x * rng.uniform(10, 90) + y * rng.uniform(-40, 40)),
        "checkers": lambda: ((x * 8).astype(int) + (y * 8).astype(int)) % 2 * np.float32(1.0),
        "rings": lambda: np.sin(60 * np.hypot(x - 0.5, y - 0.5)),
        "hand": lambda: _hand(x, y, rng),
    }
    return stretch(np.asarray(made[kind](), dtype=np.float32))


DRAWINGS = ("noise", "clouds", "gradient", "text", "shapes", "limb", "skull", "stripes")
HELD_OUT_DRAWINGS = ("checkers", "rings", "hand")


def _clouds(size: int, rng: np.random.Generator) -> Array:
    total = np.zeros((size, size), dtype=np.float32)
    for octave in (2, 4, 8, 16, 32):
        grid = rng.normal(0, 1 / octave, (octave, octave)).astype(np.float32)
        total += np.asarray(Image.fromarray(grid).resize((size, size), Image.Resampling.BICUBIC))
    return total


def _text(size: int, rng: np.random.Generator) -> Array:
    light = rng.random() < 0.5
    page = Image.new("L", (size, size), 255 if light else 0)
    pen = ImageDraw.Draw(page)
    for line in range(4, size - 12, int(rng.integers(12, 24))):
        letters = "".join(chr(int(c)) for c in rng.integers(65, 123, int(rng.integers(5, 40))))
        pen.text((int(rng.integers(2, 30)), line), letters, fill=0 if light else 255)
    return np.asarray(page, dtype=np.float32)


def _shapes(size: int, rng: np.random.Generator) -> Array:
    page = Image.new("L", (size, size), int(rng.integers(0, 255)))
    pen = ImageDraw.Draw(page)
    for _ in range(int(rng.integers(2, 12))):
        left, top, wide, high = (int(v) for v in rng.integers(0, size // 2, 4))
        draw = pen.ellipse if rng.random() < 0.5 else pen.rectangle
        draw((left, top, left + wide + 4, top + high + 4), fill=int(rng.integers(0, 255)))
    return np.asarray(page, dtype=np.float32)


def _tube(distance: Array, radius: float) -> Array:
    """How much of a cylinder a ray crosses at this distance from its axis."""
    return np.sqrt(np.clip(radius**2 - distance**2, 0, None))


def _limb(x: Array, y: Array, rng: np.random.Generator) -> Array:
    """Soft tissue with one or two hollow bones, mostly upright, sometimes between white shutters."""
    slant, centre, radius = rng.normal(0, 0.15), rng.uniform(0.35, 0.65), rng.uniform(0.10, 0.28)
    across = (x - centre - slant * (y - 0.5)) * (1 + rng.normal(0, 0.3) * (y - 0.5))
    film = 0.5 * _tube(across, radius)
    for offset in (0.0,) if rng.random() < 0.5 else (-0.4 * radius, 0.4 * radius):
        bone = radius * rng.uniform(0.15, 0.4)
        film += 2.5 * (_tube(across - offset, bone) - 0.7 * _tube(across - offset, 0.6 * bone))
    if rng.random() < 0.4:
        film[np.abs(x - centre) > radius * rng.uniform(1.2, 1.8)] = film.max()
    return film + rng.normal(0, 0.005, x.shape).astype(np.float32)


def _skull(x: Array, y: Array, rng: np.random.Generator) -> Array:
    """A bright shell with two dark hollows."""
    wide, high = rng.uniform(0.25, 0.4), rng.uniform(0.3, 0.45)
    r = np.hypot((x - 0.5) / wide, (y - 0.45) / high)
    film = _tube(r, 1.0) + 1.5 * (_tube(r, 1.0) - _tube(r, 0.9))
    for side in (-1, 1):
        film -= 0.6 * _tube(np.hypot(x - 0.5 - side * 0.4 * wide, y - 0.55) / 0.08, 1.0)
    return film + rng.normal(0, 0.01, x.shape).astype(np.float32)


def _hand(x: Array, y: Array, rng: np.random.Generator) -> Array:
    """Five thin limbs on a palm."""
    film = 0.4 * _tube(np.hypot((x - 0.5) / 0.25, (y - 0.75) / 0.22), 1.0)
    for i, slant in enumerate((-0.6, -0.3, 0.0, 0.25, 0.5)):
        across = x - (0.32 + 0.09 * i) - slant * 0.3 * (0.7 - y)
        film += np.where((y < 0.75) & (y > 0.12 + 0.05 * abs(i - 2)), 6 * _tube(across, 0.028), 0)
    return film + rng.normal(0, 0.005, x.shape).astype(np.float32)


def _is_held_out(path: Path) -> bool:
    return path.name.startswith(HELD_OUT_FILES) or any(part in path.parent.name for part in HELD_OUT_SERIES)


def foreign_films(data: Path, *, held_out: bool) -> Iterator[tuple[str, Film]]:
    """(name, film) of real pictures that are no chest film: MR, CT, NM, US of public test sets, photographs,
    a leg.

    Names are of the public files. What cannot be decoded is left out: it would never reach the gate.
    """
    import data_store  # type: ignore[import-untyped]  # the folder that pydicom-data installs
    import pydicom.data
    import sklearn.datasets

    folders = [Path(pydicom.data.__file__).parent / "test_files"]
    folders += [Path(p) / "data" for p in data_store.__path__]
    folders += [data / "dicom" / "mr_brain_study3"]
    for path in sorted(p for folder in folders for p in folder.rglob("*.dcm")):
        if _is_held_out(path) != held_out or path.name.startswith(("RG1", *SEEN_IN_ANOTHER_FORM)):
            continue
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                yield path.name, read_film(dcmread(path))
        except (InputOutOfDomain, InvalidDicomError, EOFError, AttributeError, NotImplementedError):
            continue
    for path in sorted((Path(sklearn.datasets.__file__).parent / "images").glob("*.jpg")):
        if _is_held_out(path) == held_out:
            yield path.name, read_picture(path)


def hippocampus_slices(data: Path, count: int) -> Iterator[Film]:
    """The middle slice of each of so many volumes of msd_hippocampus: a kind that no training has seen."""
    for path in sorted((data / "msd_hippocampus" / "images").glob("*.nii.gz"))[:count]:
        raw = gzip.decompress(path.read_bytes())
        columns, rows, slices = struct.unpack_from("<3h", raw, 42)  # NIfTI-1 header: dim
        kind = {2: np.uint8, 4: np.int16, 8: np.int32, 16: np.float32, 64: np.float64, 512: np.uint16}[
            struct.unpack_from("<h", raw, 70)[0]  # datatype
        ]
        start = int(struct.unpack_from("<f", raw, 108)[0])  # vox_offset
        volume = np.frombuffer(raw, dtype=kind, offset=start, count=columns * rows * slices)
        middle = volume.reshape(slices, rows, columns)[slices // 2]
        yield Film(grey=stretch(middle.astype(np.float32)), spacing_mm=None)


def gate_negatives(films: Array, data: Path, *, count: int, seed: int) -> tuple[Array, NDArray[np.int64]]:
    """Training pictures for the gate that it must refuse, and their classes.

    `films` are (n, 1, size, size) chest films of the train split. Gives (m, 1, size, size) and (m,) with
    about `count` of each class.
    """
    rng = np.random.default_rng(seed)
    size = films.shape[-1]
    foreign = [film for _, film in foreign_films(data, held_out=False)]
    pictures: list[Array] = []
    classes: list[int] = []
    for kind in (NOT_UPRIGHT, INVERTED, OTHER):
        for i in range(count):
            film = films[int(rng.integers(len(films))), 0]
            if kind == NOT_UPRIGHT:
                picture = turned(film, rng)
            elif kind == INVERTED:
                picture = inverted(film)
            elif i % 3 == 0:
                picture = drawing(DRAWINGS[(i // 3) % len(DRAWINGS)], size, rng)
            elif i % 3 == 1:
                picture = fragment(film, rng)
            else:
                chosen = foreign[int(rng.integers(len(foreign)))].pixels
                picture = np.rot90(chosen, k=int(rng.integers(0, 4)))
            pictures.append(
                to_model_input(Film(grey=np.ascontiguousarray(picture), spacing_mm=None), size)[0]
            )
            classes.append(kind)
    return np.stack(pictures), np.array(classes, dtype=np.int64)
