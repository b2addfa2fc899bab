"""Training data: only what readers gave, without persons, with the way each label came."""

from __future__ import annotations

import csv
import json

import numpy as np
import pytest
from pydicom import dcmread
from typer.testing import CliRunner

from hoichan.adapters.audit_sql import Wanted
from hoichan.guard.audit import Audited
from hoichan.testing import a_film, as_bytes
from hoichan.uids import derived_uid
from service.cli import app
from service.training_export import split_of
from tests.unit.service.governance_site import Site


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    site = Site(tmp_path_factory.mktemp("site"))
    site.fill(6)
    site.fill(3, prefix="no", may_train=False)
    folder = site.house.settings.storage.spool_dir / "studies"
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(5):  # the image of the sixth went by the retention rules
        film = a_film(rows=160, columns=120)
        film.StudyInstanceUID = derived_uid("gov", f"s{number}")
        film.SOPInstanceUID = derived_uid("gov", f"s{number}", "image")
        film.PatientID = f"BN-{number // 2}"
        film.BurnedInAnnotation = "NO"
        (folder / f"s{number}.dcm").write_bytes(as_bytes(film))
    yield site
    site.close()


def export(site, out):
    asked = ["export-training", "--out", str(out), "--data-dir", str(site.folder), "--json"]
    return CliRunner().invoke(app, asked)


@pytest.fixture(scope="module")
def done(site, tmp_path_factory):
    out = tmp_path_factory.mktemp("out") / "training"
    found = export(site, out)
    assert found.exit_code == 0, found.output
    with (out / "labels.csv").open(encoding="utf-8") as table:
        return out, json.loads(found.stdout), list(csv.DictReader(table))


def test_consent_is_asked_for_and_what_is_missing_is_told(done):
    _, about, rows = done
    assert about["left_out"] == {"image_removed": 1, "without_consent": 3}
    assert about["images"] == len(rows) == 5
    assert about["patients"] == 3
    assert len({row["study"] for row in rows}) == 5


def test_labels_are_what_was_signed(done):
    _, _, rows = done
    assert sorted(row["pleural_effusion"] for row in rows) == ["0", "0", "0", "1", "1"]
    assert {row["pneumothorax"] for row in rows} == {"0"}
    assert {row["mass"] for row in rows} == {""}  # the machine makes no statement of it, and nobody added one
    assert {row["models"] for row in rows} == {"Tiny 1.0.0"}
    assert {row["split"] for row in rows} <= {"train", "val", "test"}
    assert all(row["split"] == split_of(row["patient_id"]) for row in rows)


def test_nobody_is_named(done, site):
    out, _, rows = done
    texts = "".join(path.read_text() for path in (out / "labels.csv", out / "export.json"))
    secrets = ["BN-", "bs.lan", "BS Lan", "Nguy"]
    secrets += [derived_uid("gov", f"s{number}", *more) for number in range(6) for more in ((), ("report",))]
    for secret in secrets:
        assert secret not in texts
    for row in rows:
        film = dcmread(out / row["image"])
        assert film.PatientID == film.PatientName == row["patient_id"]
        assert film.PatientIdentityRemoved == "YES"
    assert len({row["reviewer"] for row in rows}) == 1


def test_what_left_the_house_is_in_the_audit_log(done, site):
    total, lines = site.house.audit.search(Wanted(what=Audited.EXPORTED), limit=20)
    assert total >= 5
    assert {one.record.detail for one in lines} == {"training"}


def test_the_workshop_reads_it(done):
    """The road begins with `training.dataset`; torch is not needed to read."""
    from training.dataset import FINDINGS, load_export, load_films, load_split

    out, _, rows = done
    seen = 0
    for split in {row["split"] for row in rows}:
        samples = load_split(out, split)
        films = load_films(samples.paths, 32)
        assert films.shape == (len(samples), 1, 32, 32) and 0.0 <= films.min() < films.max() <= 1.0
        assert set(samples.patients) == {row["patient_id"] for row in rows if row["split"] == split}
        effusion = list(FINDINGS.values()).index("pleural_effusion")
        mine = [row for row in rows if row["split"] == split]
        assert [str(int(x)) for x in samples.labels[:, effusion]] == [row["pleural_effusion"] for row in mine]
        unknown = load_export(out, split, unknown=np.nan).labels[:, list(FINDINGS.values()).index("mass")]
        assert np.isnan(unknown).all()
        seen += len(samples)
    assert seen == len(rows)
    with pytest.raises(ValueError, match="no split"):
        load_split(out, "none")


def test_an_export_of_the_same_is_the_same(done, site, tmp_path):
    out, _, _ = done
    export(site, tmp_path / "again")
    assert (tmp_path / "again" / "labels.csv").read_bytes() == (out / "labels.csv").read_bytes()


def test_a_folder_that_is_used_is_left_alone(done, site):
    out, _, _ = done
    assert export(site, out).exit_code == 2


def test_without_any_consent_nothing_is_written(tmp_path):
    site = Site(tmp_path / "site")
    try:
        site.fill(2, may_train=False)
        found = export(site, tmp_path / "out")
        assert found.exit_code == 1
        assert not (tmp_path / "out" / "images").exists()
    finally:
        site.close()


def test_splits_are_of_about_the_right_size():
    found = [split_of(f"P{number}") for number in range(2000)]
    assert found.count("train") == pytest.approx(1400, abs=80)
    assert found.count("test") == pytest.approx(300, abs=60)
