"""A page that is signed with a certificate: by whom, over what, and when it is not."""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import cache

import pytest
from cryptography.hazmat.primitives import serialization

from hoichan.adapters.encoder import DocumentEncoder
from hoichan.adapters.page_seal import PageSeal, is_sealed_page
from hoichan.encoding.signed_page_of import signed_page_of
from hoichan.errors import NotSignable
from hoichan.reporting.signed import signed_report
from hoichan.settings import Pades, Settings
from hoichan.testing import FolderOfFilms, a_film, a_report, a_study, as_bytes
from hoichan.testing.authority import SECRET, SigningAuthority
from hoichan.testing.reviews import a_review

STUDY = a_study(a_film())
REPORT = a_report(STUDY)


@cache
def the_review():
    """Signed when the first test of this file begins: a page is sealed within minutes of its signature."""
    return a_review(REPORT, STUDY, now=datetime.now(UTC))


@pytest.fixture(scope="module")
def authority():
    with SigningAuthority().running() as running:
        yield running


@pytest.fixture(scope="module")
def doctor(authority):
    return authority.issue("Lê Minh Châu")


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    return encoded(tmp_path_factory.mktemp("page"), None)[0]


@pytest.fixture(autouse=True)
def good(authority):
    authority.answers = lambda path: True
    authority.asked.clear()


def encoded(folder, pades):
    """The page as the documents of a signature carry it, and those documents."""
    (folder / "film.dcm").write_bytes(as_bytes(a_film()))
    settings = Settings(pades=pades)
    signed = signed_report(REPORT, the_review(), STUDY, time="08:32 20/11/2026")
    made = DocumentEncoder(FolderOfFilms(folder), settings).encode(STUDY, signed)
    return signed_page_of(made), made


def settings(folder, authority, issued, **changes):
    content = {
        "certificates": [
            {
                "accounts": ["bs.chau"],
                "pkcs12": issued.pkcs12(folder / "chau.p12"),
                "secret": SECRET,
            }
        ],
        "roots": [authority.root(folder / "root.crt")],
    }
    return Pades.model_validate({**content, **changes})


def refused(seal, page, review=None):
    with pytest.raises(NotSignable) as told:
        seal.sign(page, review or the_review())
    return told.value.reason


def test_a_signed_page_is_proved_by_its_certificate(tmp_path, authority, doctor, page):
    seal = PageSeal(settings(tmp_path, authority, doctor))
    signed = seal.sign(page, the_review())
    assert signed.startswith(page) and is_sealed_page(signed) and not is_sealed_page(page)
    checked = seal.check(signed, the_review())
    assert (checked.problem, len(checked.certificate_sha256), checked.timestamped) == ("", 64, False)
    assert "ocsp" in authority.asked


def test_years_later_nobody_is_asked(tmp_path, authority, doctor, page):
    seal = PageSeal(settings(tmp_path, authority, doctor))
    signed = seal.sign(page, the_review())
    authority.asked.clear()
    authority.answers = lambda path: False
    assert seal.check(signed, the_review()).problem == ""
    assert authority.asked == []


def test_every_form_carries_the_same_signed_bytes(tmp_path, authority, doctor):
    signed, _ = encoded(tmp_path, settings(tmp_path, authority, doctor))
    assert PageSeal(settings(tmp_path, authority, doctor)).check(signed, the_review()).problem == ""


def test_two_files_of_pem(tmp_path, authority, doctor, page):
    key, certificate = doctor.pem(tmp_path)
    secret = tmp_path / "secret"
    secret.write_text(f"{SECRET}\n", encoding="utf-8")
    one = {"accounts": ["*"], "key": key, "certificate": certificate, "secret_file": secret}
    seal = PageSeal(settings(tmp_path, authority, doctor, certificates=[one]))
    assert seal.check(seal.sign(page, the_review()), the_review()).problem == ""


def test_a_time_that_another_attests(tmp_path, authority, doctor, page):
    seal = PageSeal(settings(tmp_path, authority, doctor, timestamp_url=authority.address("tsa")))
    checked = seal.check(seal.sign(page, the_review()), the_review())
    assert (checked.problem, checked.timestamped) == ("", True)
    assert "tsa" in authority.asked


def test_no_timestamp_no_signature(tmp_path, authority, doctor, page):
    seal = PageSeal(settings(tmp_path, authority, doctor, timestamp_url=authority.address("tsa")))
    authority.answers = lambda path: path != "tsa"
    assert refused(seal, page) == "certificate_refused"


def test_the_revocation_list_where_nobody_answers_ocsp(tmp_path, authority, doctor, page):
    authority.answers = lambda path: path == "crl"
    seal = PageSeal(settings(tmp_path, authority, doctor))
    assert seal.check(seal.sign(page, the_review()), the_review()).problem == ""
    assert "crl" in authority.asked


def test_a_list_that_somebody_brought(tmp_path, authority, page):
    lonely = authority.issue("Lê Minh Châu", status=())
    brought = tmp_path / "list.crl"
    brought.write_bytes(authority.crl())
    with_list = PageSeal(settings(tmp_path, authority, lonely, crls=[brought], fetch_status=False))
    assert with_list.check(with_list.sign(page, the_review()), the_review()).problem == ""
    assert refused(PageSeal(settings(tmp_path, authority, lonely)), page) == "certificate_refused"


def test_a_status_that_nobody_tells_is_a_bad_one(tmp_path, authority, doctor, page):
    authority.answers = lambda path: False
    assert refused(PageSeal(settings(tmp_path, authority, doctor)), page) == "certificate_refused"


@pytest.mark.parametrize("status", ["ocsp", "crl"])
def test_a_revoked_certificate(tmp_path, authority, page, status):
    gone = authority.issue("Lê Minh Châu", status=(status,))
    seal = PageSeal(settings(tmp_path, authority, gone))
    signed = seal.sign(page, the_review())
    authority.revoke(gone)
    assert refused(seal, page) == "certificate_refused"
    assert seal.check(signed, the_review()).problem == ""  # it was good then


@pytest.mark.parametrize("begins", [timedelta(days=-9), timedelta(days=9)])
def test_a_certificate_of_another_time(tmp_path, authority, page, begins):
    late = authority.issue("Lê Minh Châu", begins=begins, days=5)
    assert refused(PageSeal(settings(tmp_path, authority, late)), page) == "certificate_refused"


def test_an_authority_that_nobody_knows(tmp_path, authority, page):
    with SigningAuthority("Kẻ lạ").running() as stranger:
        issued = stranger.issue("Lê Minh Châu")
        assert refused(PageSeal(settings(tmp_path, authority, issued)), page) == "certificate_refused"
        seal = PageSeal(settings(tmp_path, stranger, issued))
        signed = seal.sign(page, the_review())
    assert PageSeal(settings(tmp_path, authority, issued)).check(signed, the_review()).problem == "untrusted"


def test_an_account_without_a_certificate(tmp_path, authority, doctor, page):
    seal = PageSeal(settings(tmp_path, authority, doctor))
    assert refused(seal, page, replace(the_review(), reviewer="bs.an")) == "no_certificate"


@pytest.mark.parametrize("change", [{"secret": "sai"}, {"pkcs12": "/nowhere.p12"}])
def test_a_key_that_does_not_open(tmp_path, authority, doctor, page, change):
    given = settings(tmp_path, authority, doctor)
    (one,) = given.certificates
    broken = [{**one.model_dump(exclude_defaults=True), "secret": SECRET, **change}]
    seal = PageSeal(settings(tmp_path, authority, doctor, certificates=broken))
    assert refused(seal, page) == "certificate_unusable"


def test_what_was_changed_or_lent_is_seen(tmp_path, authority, doctor, page):
    seal = PageSeal(settings(tmp_path, authority, doctor))
    signed = seal.sign(page, the_review())
    assert seal.check(page, the_review()).problem == "unsigned"
    assert seal.check(b"%PDF-1.4 nothing", the_review()).problem == "changed"
    at = page.index(b"stream") + 20
    broken = signed[:at] + bytes([signed[at] ^ 1]) + signed[at + 1 :]
    assert seal.check(broken, the_review()).problem == "changed"
    assert seal.check(signed + b"\n% more\n", the_review()).problem != ""
    assert seal.check(signed, replace(the_review(), content_sha256="0" * 64)).problem == "other_review"
    assert seal.check(
        signed, replace(the_review(), signed_at=the_review().signed_at - timedelta(days=1))
    ).problem == ("other_time")


def test_no_name_of_a_certificate_is_logged(tmp_path, authority, doctor, page, capsys):
    authority.revoke(one := authority.issue("Bí Mật"))
    refused(PageSeal(settings(tmp_path, authority, one)), page)
    told = capsys.readouterr()
    assert "Bí Mật" not in told.out + told.err and SECRET not in told.out + told.err


@pytest.mark.skipif(shutil.which("pdfsig") is None, reason="needs pdfsig (poppler-utils)")
def test_a_tool_of_others_says_the_same(tmp_path, authority, doctor, page):
    seal = PageSeal(settings(tmp_path, authority, doctor))
    file = tmp_path / "signed.pdf"
    file.write_bytes(seal.sign(page, the_review()))
    told = subprocess.run(
        ["pdfsig", "-nocert", file], capture_output=True, text=True, timeout=60, check=False
    ).stdout
    assert "Signature is Valid." in told and "Total document signed" in told, told
    assert "ETSI.CAdES.detached" in told and "Lê Minh Châu" in told


SOFTHSM = "/usr/lib/softhsm/libsofthsm2.so"
TOKEN = {"accounts": ["bs.chau"], "module": SOFTHSM, "token": "hoichan", "label": "chau", "secret": "1234"}


@pytest.mark.skipif(shutil.which("softhsm2-util") is None, reason="needs softhsm2")
def test_a_key_that_never_leaves_its_token(tmp_path, authority, doctor, page, monkeypatch):
    import pkcs11

    (tmp_path / "tokens").mkdir()
    config = tmp_path / "softhsm2.conf"
    config.write_text(f"directories.tokendir = {tmp_path}/tokens\n", encoding="ascii")
    monkeypatch.setenv("SOFTHSM2_CONF", str(config))
    run = [
        "softhsm2-util",
        "--init-token",
        "--free",
        "--label",
        "hoichan",
        "--pin",
        "1234",
        "--so-pin",
        "5678",
    ]
    subprocess.run(run, check=True, capture_output=True, timeout=60)
    library = pkcs11.lib(SOFTHSM)
    library.reinitialize()
    with library.get_token(token_label="hoichan").open(user_pin="1234", rw=True) as session:
        _into(session, doctor)
    seal = PageSeal(settings(tmp_path, authority, doctor, certificates=[TOKEN]))
    assert seal.check(seal.sign(page, the_review()), the_review()).problem == ""
    wrong = PageSeal(settings(tmp_path, authority, doctor, certificates=[{**TOKEN, "secret": "9999"}]))
    assert refused(wrong, page) == "certificate_unusable"
    other = PageSeal(settings(tmp_path, authority, doctor, certificates=[{**TOKEN, "label": "an"}]))
    assert refused(other, page) == "certificate_unusable"


def _into(session, issued):
    from pkcs11 import Attribute, KeyType, ObjectClass
    from pkcs11.util.rsa import decode_rsa_private_key

    der = serialization.Encoding.DER
    key = issued.key.private_bytes(
        der, serialization.PrivateFormat.TraditionalOpenSSL, serialization.NoEncryption()
    )
    session.create_object(
        {
            **decode_rsa_private_key(key),
            Attribute.LABEL: "chau",
            Attribute.ID: b"1",
            Attribute.TOKEN: True,
            Attribute.SENSITIVE: True,
            Attribute.EXTRACTABLE: False,
            Attribute.KEY_TYPE: KeyType.RSA,
        }
    )
    session.create_object(
        {
            Attribute.CLASS: ObjectClass.CERTIFICATE,
            Attribute.CERTIFICATE_TYPE: 0,
            Attribute.TOKEN: True,
            Attribute.LABEL: "chau",
            Attribute.ID: b"1",
            Attribute.SUBJECT: issued.certificate.subject.public_bytes(),
            Attribute.VALUE: issued.certificate.public_bytes(der),
        }
    )
