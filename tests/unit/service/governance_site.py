"""A site with two versions of a model, and studies answered and signed, in rows as they are written.

The reviews are made up from a rule; nobody in them is real.
"""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import numpy as np

from hoichan.adapters.evidence_sql import EvidenceSql
from hoichan.adapters.governance_sql import GovernanceSql
from hoichan.adapters.schema import instances, reports, results, revisions, series, studies
from hoichan.adapters.schema_governance import input_statistics, shadow_results
from hoichan.adapters.schema_reviews import reviews
from hoichan.analysis.findings import probability
from hoichan.analysis.versions import read
from hoichan.settings import Settings
from hoichan.testing.database import prepared
from hoichan.testing.shelf import write_version
from hoichan.uids import derived_uid
from service import wiring
from service.governance import Office

PLAIN = Path(__file__).parents[2] / "golden" / "models" / "plain.onnx"


class Site:
    """A data folder of its own."""

    def __init__(self, folder: Path, *, gates: str = "", models: dict | None = None) -> None:
        values = {"storage": {"data_dir": folder, "reserve_bytes": 0}, "models": models or {}}
        self.folder = folder
        self.live = read(write_version(folder / "models", PLAIN))
        self.shadow = read(
            write_version(
                folder / "models", PLAIN, version="1.1.0", status="shadow", intercept=0.25, more=gates
            )
        )
        self.house = wiring.open_house(prepared(Settings.model_validate(values)))
        self.engine = self.house.engine
        self.office = Office(
            house=self.house,
            governance=GovernanceSql(self.engine),
            evidence=EvidenceSql(self.engine),
            who="uid:0",
        )

    def close(self) -> None:
        self.engine.dispose()

    def fill(self, count=120, *, shift=0.0, days=0.0, prefix="s", may_train=True, sender="CR1", signed=True):
        """Studies with an effusion in every third; the shadow tells them apart better."""
        rng = np.random.default_rng(11)
        rows = {
            table: []
            for table in (
                studies,
                revisions,
                series,
                instances,
                reports,
                results,
                shadow_results,
                reviews,
                input_statistics,
            )
        }
        at = self.house.clock.now() - timedelta(days=days)
        for number in range(count):
            there = number % 3 == 0
            live = float(rng.normal(0.8 if there else -0.8, 1.0)) + shift
            shadow = float(rng.normal(1.5 if there else -2.0, 0.7)) + shift
            self._study(rows, f"{prefix}{number}", number, at, there, live, shadow, may_train, sender, signed)
        with self.engine.begin() as connection:
            for table, values in rows.items():
                if values:
                    connection.execute(table.insert(), values)

    def _study(self, rows, name, number, at, there, live, shadow, may_train, sender, signed):
        uid, report = derived_uid("gov", name), derived_uid("gov", name, "report")
        image, of = derived_uid("gov", name, "image"), derived_uid("gov", name, "series")
        patient = {"patient_id": f"BN{name}", "patient_name": "Nguyễn^An", "patient_sex": "FM"[number % 2]}
        studies_row = {
            "state": "signed",
            "last_revision": 1,
            "calling_ae_title": sender,
            "patient_age_years": 30 + number % 50,
            "first_received_at": at,
            "last_received_at": at,
            "modalities": "CR",
        }
        rows[studies].append({"study_instance_uid": uid, **studies_row, **patient})
        rows[revisions].append(
            {
                "study_instance_uid": uid,
                "revision": 1,
                "state": "reported",
                "closed_by": "quiet_time",
                "assembled_at": at,
            }
        )
        rows[series].append(
            {
                "study_instance_uid": uid,
                "series_instance_uid": of,
                "modality": "CR",
                "view_position": "PA",
                "manufacturer": "Maker <1>",
            }
        )
        rows[instances].append(
            {
                "study_instance_uid": uid,
                "sop_instance_uid": image,
                "series_instance_uid": of,
                "revision": 1,
                "sop_class_uid": "1.2.840.10008.5.1.4.1.1.1",
                "transfer_syntax_uid": "1.2.840.10008.1.2.1",
                "number_of_frames": 1,
                "image_type": ["ORIGINAL", "PRIMARY"],
                "path": f"studies/{name}.dcm",
                "sha256": "0" * 64,
                "received_at": at,
            }
        )
        effusion, other = self.live.manifest.outputs[1], self.live.manifest.outputs[0]
        present = probability(live, effusion.calibration) >= effusion.operating_point
        rows[reports].append(
            {
                "report_uid": report,
                "study_instance_uid": uid,
                "revision": 1,
                "status": "unverified",
                "outcome": "with_findings",
                "refusals": [],
                "conclusion": {},
                "disclaimer": {},
                "predecessor": None,
                "created_at": at,
                "algorithms": [{"algorithm_name": "Tiny", "algorithm_version": "1.0.0"}],
                "findings": [
                    {"key": "pleural_effusion", "presence": "present" if present else "absent"},
                    {"key": "pneumothorax", "presence": "absent"},
                ],
            }
        )
        numbers = {
            "weights_sha256": self.live.manifest.weights_sha256,
            "gate": 1.0,
            "provider": "CPU",
            "warnings": [],
            "started_at": at,
            "ended_at": at,
        }
        rows[results].append(
            {
                "report_uid": report,
                "sop_instance_uid": image,
                "algorithm_name": "Tiny",
                "algorithm_version": "1.0.0",
                "logits": {effusion.name: live, other.name: -3.0},
                **numbers,
            }
        )
        rows[shadow_results].append(
            {
                "report_uid": report,
                "sop_instance_uid": image,
                "digest": self.shadow.digest,
                "model": "tiny",
                "version": "1.1.0",
                "outcome": "answered",
                "gate": 1.0,
                "started_at": at,
                "logits": {effusion.name: shadow, other.name: -3.0},
                "ended_at": at,
            }
        )
        rows[input_statistics].append(
            {
                "report_uid": report,
                "sop_instance_uid": image,
                "at": at,
                "figures": {"brightness": 0.5 + live / 10},
            }
        )
        if not signed:
            return
        verdict = ("accepted" if there else "rejected") if present else "added" if there else None
        judgement = {
            "finding_id": None if verdict == "added" else "f",
            "key": "pleural_effusion",
            "verdict": verdict,
            "reason": "",
            "laterality": None,
            "site": "",
            "size_mm": None,
            "text": "",
            "boxes": [],
        }
        rows[reviews].append(
            {
                "report_uid": derived_uid("gov", name, "review"),
                "study_instance_uid": uid,
                "number": 1,
                "judged": report,
                "predecessor": report,
                "known_as": report,
                "revision": 1,
                "kind": "final",
                "reviewer": "bs.lan",
                "reviewer_name": "BS Lan",
                "licence_number": "001",
                "language": "vi",
                "reason": "",
                "signed_at": at + timedelta(hours=2),
                "judgements": [judgement] if verdict else [],
                "sections": {"description": "", "conclusion": "", "recommendation": "", "comparison": ""},
                "may_train": may_train,
                "seconds_spent": 60,
                "content_sha256": "0" * 64,
            }
        )
