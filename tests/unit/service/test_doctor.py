import shutil

import pytest

from hoichan.adapters.heartbeats_sql import HeartbeatsSql
from hoichan.settings import Folder, Settings, Storage
from hoichan.testing.certificates import Authority
from hoichan.testing.reading import a_record, add_user
from service import doctor
from service.doctor import examine


@pytest.mark.parametrize(
    ("made", "passed", "says"), [(True, True, "after = 'move'"), (False, False, "is not there")]
)
def test_a_watched_folder_must_be_there(tmp_path, made, passed, says):
    if made:
        (tmp_path / "in").mkdir()
    settings = Settings(
        storage=Storage(data_dir=tmp_path / "data", reserve_bytes=0),
        folders=(Folder(path=tmp_path / "in", sender="GATEWAY", after="move"),),
    )
    (check,) = [one for one in examine(settings) if one.name == "folder of GATEWAY"]
    assert check.passed is passed and says in check.detail


def page_check(folder, **web):
    settings = Settings.model_validate({"storage": {"data_dir": folder, "reserve_bytes": 0}, "web": web})
    (check,) = [one for one in examine(settings) if one.name == "page"]
    return check


def test_an_open_page_needs_accounts_and_tls(tmp_path):
    assert page_check(tmp_path).detail == "no account yet"
    record = a_record(tmp_path)
    assert page_check(tmp_path).passed
    assert "hoichan user add" in page_check(tmp_path, host="0.0.0.0").detail
    add_user(record, "bs.an")
    assert page_check(tmp_path).detail == "1 accounts"
    plain = page_check(tmp_path, host="0.0.0.0")
    assert not plain.passed and "web.tls" in plain.detail
    assert page_check(tmp_path, host="0.0.0.0", tls={"cert": "page.pem"}).passed
    assert not (tmp_path / "audit.key").exists()
    record.engine.dispose()


def test_a_key_of_the_audit_log_that_others_can_read_is_told(tmp_path):
    record = a_record(tmp_path)
    record.audit.check()
    (tmp_path / "audit.key").chmod(0o644)
    assert "chmod 600" in page_check(tmp_path).detail
    record.engine.dispose()


def processes(folder, **settings):
    chosen = Settings.model_validate({"storage": {"data_dir": folder, "reserve_bytes": 0}, **settings})
    return {one.name: one for one in examine(chosen) if one.name.startswith(("running", "processes"))}


def test_a_folder_on_which_nothing_runs_is_no_fault(tmp_path):
    assert processes(tmp_path)["processes"].passed
    record = a_record(tmp_path)
    assert list(processes(tmp_path)) == ["processes"]
    record.engine.dispose()


def test_the_doctor_says_what_readyz_says(tmp_path):
    record = a_record(tmp_path)
    HeartbeatsSql(record.engine).beat("station")
    found = processes(tmp_path)
    assert found["running: database"].passed and found["running: worker"].passed
    assert not found["running: listener"].passed
    assert "hoichan listen" in found["running: listener"].detail
    record.engine.dispose()


@pytest.mark.skipif(shutil.which("openssl") is None, reason="the openssl program is missing")
def test_certificates_and_revocation_lists_that_end_soon_are_told_while_nothing_runs(tmp_path):
    authority = Authority(tmp_path)
    cert, key = authority.issue("door")  # for thirty days
    tls = {"cert": cert, "key": key, "ca": authority.certificate}
    assert doctor._certificates(Settings(listener={"tls": tls})).passed
    told = doctor._certificates(Settings(listener={"tls": {**tls, "crl": authority.revoke()}}))
    assert not told.passed and "listener crl ends in 1 days" in told.detail
    pacs = {
        "name": "pacs",
        "kind": "dimse",
        "host": "h",
        "port": 104,
        "ae_title": "P",
        "tls": {"cert": key},
    }
    told = doctor._certificates(Settings(sources=[pacs]))
    assert not told.passed and "source pacs cannot be read" in told.detail
