"""Signed reviews as training data: films without their person, labels, and where each label comes from.

Only reviews whose reader agreed (`may_train`) are written; the others are counted. Every identity is replaced
by the site's key, so that a patient stays one patient over all exports and nobody without the key finds out
who it is. Splits are by patient and never change for one.
"""

from __future__ import annotations

import csv
import hashlib
import json
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from pydicom import dcmread
from pydicom.errors import InvalidDicomError

from hoichan import __version__
from hoichan.adapters.evidence_sql import EvidenceSql, Signed
from hoichan.codes import FINDINGS
from hoichan.errors import NotDeidentifiable
from hoichan.guard.audit import Audited
from hoichan.guard.deidentify import deidentify
from hoichan.guard.options import Options
from hoichan.guard.pseudonyms import Pseudonyms
from hoichan.guard.reading import UNREADABLE
from service.cli_deidentify import write
from service.shell import record
from service.wiring import House

LABELS_FILE, ABOUT_FILE = "labels.csv", "export.json"
LINEAGE = ("study", "report", "judged_report", "reviewer", "models", "review_sha256")
COLUMNS = ("image", "patient_id", *FINDINGS, "age", "sex", "view", "split", *LINEAGE)
_OPTIONS = Options(keep_characteristics=True, keep_device=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class Export:
    """One export into one folder."""

    house: House
    evidence: EvidenceSql
    key: bytes
    out: Path
    accept_pixel_risk: bool = False

    def run(self, progress: Callable[[int, int], None] = lambda done, of: None) -> dict[str, Any]:
        """Write the films and `labels.csv`; what was written, and what was not and why.

        Raises RecordsUnavailable, StorageUnusable or ConfigurationError.
        """
        counts: Counter[str] = Counter()
        rows: list[dict[str, Any]] = []
        signed = self.evidence.signed()
        for number, (uid, one) in enumerate(sorted(signed.items())):
            if not one.review.may_train:
                counts["without_consent"] += 1
            else:
                found = list(self._study(uid, one, counts))
                rows += found
                if found:  # what leaves the house is on record before it is offered
                    record(self.house, Audited.EXPORTED, uid, detail="training")
            progress(number + 1, len(signed))
        self.out.mkdir(parents=True, exist_ok=True)
        with (self.out / LABELS_FILE).open("w", encoding="utf-8", newline="") as file:
            table = csv.DictWriter(file, COLUMNS, lineterminator="\n")
            table.writeheader()
            table.writerows(sorted(rows, key=lambda row: str(row["image"])))
        about = {
            "program": f"hoichan {__version__}",
            "made_at": self.house.clock.now().isoformat(timespec="seconds"),
            "signed_studies": len(signed),
            "images": len(rows),
            "patients": len({row["patient_id"] for row in rows}),
            "left_out": dict(sorted(counts.items())),
            "labels_sha256": hashlib.sha256((self.out / LABELS_FILE).read_bytes()).hexdigest(),
        }
        (self.out / ABOUT_FILE).write_text(json.dumps(about, indent=1) + "\n", encoding="utf-8")
        return about

    def _study(self, uid: str, signed: Signed, counts: Counter[str]) -> Iterator[dict[str, Any]]:
        """The rows of one study: one for each image that a model read."""
        images = self.evidence.read_images(signed.review.judged)
        if not images:
            counts["no_image"] += 1
        facts = self.evidence.facts([uid])[uid]
        names = Pseudonyms(self.key)
        for one in images:
            written = self._film(one.path, counts)
            if written is None:
                continue
            path, patient = written
            yield {
                "image": path.as_posix(),
                "patient_id": patient,
                **{key: _label(signed.truths.get(key)) for key in FINDINGS},
                "age": "" if facts.age_years is None else min(facts.age_years, 90),
                "sex": facts.sex if facts.sex in {"F", "M"} else "",
                "view": facts.view if facts.view.isascii() and facts.view.isalpha() else "",
                "split": split_of(patient),
                "study": names.uid(uid),
                "report": names.uid(signed.review.report_uid),
                "judged_report": names.uid(signed.review.judged),
                "reviewer": names.uid(f"reviewer {signed.review.reviewer}"),
                "models": ";".join(one.models),
                "review_sha256": hashlib.sha256(self.key + signed.review.content_sha256.encode()).hexdigest(),
            }

    def _film(self, place: str, counts: Counter[str]) -> tuple[PurePosixPath, str] | None:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # their texts quote values
                source = dcmread(Path(self.house.spool.file(PurePosixPath(place))))
                done = deidentify(source, key=self.key, options=_OPTIONS)
        except FileNotFoundError:
            counts["image_removed"] += 1
            return None
        except NotDeidentifiable as error:
            counts[error.code] += 1
            return None
        except (InvalidDicomError, *UNREADABLE):
            counts["unreadable"] += 1
            return None
        if done.burned_in_risk and not self.accept_pixel_risk:
            counts["burned_in_risk"] += 1
            return None
        file = write(done.data_set, self.out / "images")
        return PurePosixPath(file.relative_to(self.out)), str(done.data_set.PatientID)


def split_of(patient: str) -> str:
    """train, val or test (70, 15, 15 of a hundred), always the same for a patient."""
    number = int(hashlib.sha256(patient.encode()).hexdigest()[:8], 16) % 100
    return "train" if number < 70 else "val" if number < 85 else "test"


def _label(truth: bool | None) -> str:
    return "" if truth is None else str(int(truth))
