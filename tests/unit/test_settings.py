"""Settings: defaults for everything, one clear sentence for every fault, no unsafe start."""

from __future__ import annotations

import re

import pytest

from hoichan.errors import ConfigurationError
from hoichan.settings import LOOPBACK_SENDERS, DicomDestination, Hl7Destination, is_loopback, load


def written(folder, text):
    file = folder / "hoichan.toml"
    file.write_text(text, encoding="utf-8")
    return file


def fault(folder, text, environment=None):
    with pytest.raises(ConfigurationError) as caught:
        load(written(folder, text), environment=environment or {})
    return str(caught.value)


def test_every_key_has_a_default():
    settings = load(environment={})
    assert (settings.listener.ae_title, settings.listener.port, settings.web.port) == ("HOICHAN", 11112, 8080)
    assert settings.listener.allowed == LOOPBACK_SENDERS
    assert settings.storage.database_url.startswith("sqlite:///")


def test_a_file_is_read(tmp_path):
    text = """
    [site]
    name = "Bệnh viện Đa khoa"
    [[listener.senders]]
    ae_title = "CR_ROOM1"
    host = "10.0.0.0/24"
    [[destinations]]
    name = "pacs"
    kind = "dicom"
    host = "127.0.0.1"
    port = 14242
    ae_title = "PACS"
    """
    settings = load(written(tmp_path, text), environment={})
    (destination,) = settings.effective_destinations
    assert isinstance(destination, DicomDestination)
    assert destination.send == ("sc", "sr")
    assert settings.site.name == "Bệnh viện Đa khoa"
    assert [sender.ae_title for sender in settings.listener.allowed] == ["CR_ROOM1"]


def test_the_environment_overrides_the_file(tmp_path):
    file = written(tmp_path, "[web]\nport = 1\n")
    settings = load(file, environment={"HOICHAN_WEB__PORT": "2", "HOICHAN_SITE__LANGUAGE": "en"})
    assert (settings.web.port, settings.site.language) == (2, "en")


def test_the_data_dir_of_the_command_line_wins(tmp_path):
    settings = load(written(tmp_path, '[storage]\ndata_dir = "elsewhere"\n'), data_dir=tmp_path)
    assert settings.storage.data_dir == tmp_path


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[listener]\nprot = 1\n", "Unknown configuration key 'listener.prot'"),
        ("[nonsense]\n", "Unknown configuration key 'nonsense'"),
        ("[web]\nport = 70000\n", "'web.port' is wrong"),
        ("[site]\ntimezone = 'Mars/Olympus'\n", "unknown time zone"),
        ("[site]\nname = 'BV A\\B'\n", "no backslash and no line break"),
        ('[site]\nname = "BV A\\nB"\n', "no backslash and no line break"),
        ("[[listener.senders]]\nae_title = 'A'\nhost = '10.0.0.300'\n", "listener.senders.0.host"),
        ("[[destinations]]\nname = 'x'\nkind = 'fax'\n", "'destinations.0' is wrong"),
        ("not toml", "is not valid TOML"),
        ("storage = 1\n", "'storage' must be a section"),
    ],
)
def test_a_fault_is_told_in_one_sentence(tmp_path, text, says):
    assert says in fault(tmp_path, text)


def test_a_missing_file_is_told(tmp_path):
    with pytest.raises(ConfigurationError, match="cannot be read"):
        load(tmp_path / "none.toml")


def test_a_door_open_to_the_network_needs_a_list_of_senders(tmp_path):
    assert "empty list of senders" in fault(tmp_path, "[listener]\nhost = '0.0.0.0'\n")


@pytest.mark.parametrize("network", ["0.0.0.0/0", "::/0"])
def test_a_sender_that_is_anybody_is_no_list(tmp_path, network):
    anybody = f"[[listener.senders]]\nae_title = '*'\nhost = '{network}'\n"
    assert "as good as no list" in fault(tmp_path, f"[listener]\nhost = '0.0.0.0'\n{anybody}")
    mutual = "plain = false\ntls = { cert = 'door.crt', ca = 'ca.crt' }\n"
    for fine in (
        f"[listener]\nhost = '0.0.0.0'\n{mutual}{anybody}",
        f"[listener]\n{anybody}",  # loopback
        f"[listener]\nhost = '0.0.0.0'\n{anybody}".replace("'*'", "'CT'"),
        f"[listener]\nhost = '0.0.0.0'\n{anybody}".replace(network, "10.0.0.0/8"),
    ):
        file = tmp_path / "fine.toml"
        file.write_text(fine)
        assert load(file).listener.senders


def test_a_session_ends_when_it_is_not_used_and_after_a_shift(tmp_path):
    web = load(written(tmp_path, "[web]\nsign_in = 'always'\n"), environment={}).web
    assert (web.sign_in, web.session_idle_seconds, web.session_seconds) == ("always", 1800, 43200)
    assert "web.sign_in" in fault(tmp_path, "[web]\nsign_in = 'never'\n")


def test_two_destinations_cannot_share_a_name(tmp_path):
    one = "[[destinations]]\nname = 'a'\nkind = 'folder'\npath = 'x'\n"
    assert "same name" in fault(tmp_path, one + one)


def test_a_secret_is_not_in_the_text_of_the_settings(tmp_path):
    text = """
    [[destinations]]
    name = "emr"
    kind = "fhir"
    url = "http://127.0.0.1/fhir"
    auth = {kind = "basic", username = "ai", password = "MARKER"}
    """
    assert "MARKER" not in repr(load(written(tmp_path, text), environment={}))


def test_a_wrong_value_is_not_quoted(tmp_path):
    assert "MARKER" not in fault(tmp_path, "[web]\nport = 'MARKER'\n")


HL7 = "[[destinations]]\nname = 'ris'\nkind = 'hl7v2'\nhost = 'ris'\nport = 2575\n"


def test_an_hl7_receiver_needs_little(tmp_path):
    (destination,) = load(written(tmp_path, HL7), environment={}).effective_destinations
    assert isinstance(destination, Hl7Destination)
    assert (destination.unread_status, destination.version, destination.charset) == ("R", "2.5.1", "utf-8")
    assert (destination.sending_application, destination.tls) == ("HOICHAN", None)


@pytest.mark.parametrize(
    ("line", "key"),
    [
        ("unread_status = 'F'", "unread_status"),
        ("receiving_facility = 'A|B'", "receiving_facility"),
        ("sending_application = 'a name of more than 20'", "sending_application"),
        ("viewer_url = 'https://pacs/viewer'", "viewer_url"),
        ("viewer_url = 'javascript:{study_instance_uid}'", "viewer_url"),
        ("tls = {key = 'ours.key'}", "tls"),
        ("charset = 'latin-1'", "charset"),
    ],
)
def test_a_wrong_key_of_an_hl7_receiver_is_named(tmp_path, line, key):
    assert f"destinations.0.hl7v2.{key}' is wrong" in fault(tmp_path, HL7 + line + "\n")


@pytest.mark.parametrize(
    ("host", "is_local"),
    [
        ("127.0.0.1", True),
        ("::1", True),
        ("localhost", True),
        ("0.0.0.0", False),
        ("10.0.0.1", False),
        ("pacs", False),
    ],
)
def test_loopback_is_recognised(host, is_local):
    assert is_loopback(host) is is_local


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("[listener]\nplain = false", "no port would be open"),
        ('[listener]\nport = 2762\ntls = { cert = "a.pem" }', "are the same"),
        (
            '[[listener.senders]]\nae_title = "CT"\nhost = "10.0.0.1"\ncertificate_cn = "ct"',
            "no tls.ca to check it with",
        ),
        (
            '[listener]\ntls = { cert = "a.pem", ca = "b.pem" }\n'
            '[[listener.senders]]\nae_title = "CT"\nhost = "10.0.0.1"\ncertificate_cn = "ct"',
            "plain = false",
        ),
        (
            '[listener]\nplain = false\ntls = { cert = "a.pem", ca = "b.pem" }\n'
            '[[listener.senders]]\nae_title = "CT"\nhost = "10.0.0.1"\ncertificate_sha256 = ["short"]',
            "certificate_sha256",
        ),
    ],
)
def test_an_unsafe_door_does_not_open(tmp_path, text, sentence):
    assert sentence in fault(tmp_path, text)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ('[storage]\nobjects = "/srv/objects"', "file:///folder or s3://bucket/prefix"),
        ('[storage]\nobjects = "s3://"', "file:///folder or s3://bucket/prefix"),
        ('[storage]\nobjects = "s3://me:MARKER@bucket"', "credentials belong into storage.s3"),
        ('[storage.s3]\nendpoint = "http://store.example:9000"', "without TLS beyond this machine"),
        ('[storage.s3]\naccess_key_id = "MARKER"', "go together"),
    ],
)
def test_an_object_store_that_cannot_be_or_is_unsafe_is_told(tmp_path, text, sentence):
    told = fault(tmp_path, text)
    assert sentence in told and "MARKER" not in told


def test_objects_lie_in_a_folder_or_in_a_bucket(tmp_path):
    storage = load(data_dir=tmp_path, environment={}).storage
    assert storage.objects_dir == tmp_path / "objects" and not storage.shares_instances
    storage = load(written(tmp_path, '[storage]\nobjects = "file:///srv/ob%20jects"'), environment={}).storage
    assert str(storage.objects_dir) == "/srv/ob jects" and not storage.shares_instances
    storage = load(
        written(tmp_path, '[storage]\nobjects = "s3://films/site/1"'),
        environment={
            "HOICHAN_STORAGE__S3__ACCESS_KEY_ID": "AKID",
            "HOICHAN_STORAGE__S3__SECRET_ACCESS_KEY": "MARKER",
        },
    ).storage
    assert storage.bucket == ("films", "site/1")
    assert storage.objects_dir is None and storage.shares_instances
    assert storage.s3.secret_access_key.get_secret_value() == "MARKER" and "MARKER" not in repr(storage)


@pytest.mark.parametrize("uid", ["1.2.840.10008.5.1.4.1.1.2", "1", "1..2", "1.02", "a.b", "1." * 32 + "1"])
def test_a_private_sop_class_must_be_a_private_uid(tmp_path, uid):
    assert "private_sop_classes" in fault(tmp_path, f'[listener]\nprivate_sop_classes = ["{uid}"]\n')
    good = load(
        written(tmp_path, '[listener]\nprivate_sop_classes = ["1.3.12.2.1107.5.9.1"]\n'), environment={}
    )
    assert good.listener.private_sop_classes == ("1.3.12.2.1107.5.9.1",)


RECEIVERS = """
[[destinations]]
name = "pacs"
kind = "dicom"
host = "127.0.0.1"
port = 104
ae_title = "PACS"
[[destinations]]
name = "research"
kind = "dicomweb"
url = "https://research.example.vn/dicom-web"
send = []
[[destinations]]
name = "emr"
kind = "fhir"
url = "http://127.0.0.1/fhir"
"""


@pytest.mark.parametrize(
    ("rules", "words"),
    [
        ('[[forward]]\nname="a"\nto=["nobody"]', "no destination of dicom"),
        ('[[forward]]\nname="a"\nto=["emr"]', "no destination of dicom"),
        ('[[forward]]\nname="a"\nto=[]', "forward.0.to"),
        ('[[forward]]\nname="a"\nto=["pacs"]\n[[forward]]\nname="a"\nto=["pacs"]', "the same name"),
        ('[[forward]]\nname="a"\nto=["pacs"]\ndeidentify={}', "set send = []"),
        (
            '[[forward]]\nname="a"\nto=["research"]\ndeidentify={}\n[[forward]]\nname="b"\nto=["research"]',
            "no rule without deidentify",
        ),
        ('[[forward]]\nname="a"\nto=["research"]\ndeidentify={shift_times=true}', "needs keep_dates"),
        ('[[forward]]\nname="a"\nto=["pacs"]\nmodality=["CR"]', "Unknown configuration key"),
    ],
)
def test_a_rule_that_cannot_be_followed_stops_the_start(tmp_path, rules, words):
    file = tmp_path / "hoichan.toml"
    file.write_text(RECEIVERS + rules, encoding="utf-8")
    with pytest.raises(ConfigurationError, match=re.escape(words)):
        load(file, environment={})


def test_rules_that_can_be_followed(tmp_path):
    file = tmp_path / "hoichan.toml"
    rules = """
[[forward]]
name = "archive"
to = ["pacs"]
[[forward]]
name = "study"
to = ["research"]
tiers = ["critical"]
deidentify = { keep_dates = true }
"""
    file.write_text(RECEIVERS + rules, encoding="utf-8")
    archive, study = load(file, environment={}).forward
    assert not archive.needs_answer and archive.deidentify is None
    assert study.needs_answer and study.deidentify.keep_dates and not study.deidentify.allow_pixel_risk
