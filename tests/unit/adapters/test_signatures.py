"""Signatures: right only for the package, the version and a trusted key."""

import json
import shutil

import pytest

from hoichan.adapters.signatures import TrustedKeys, make_key, sign
from hoichan.analysis.versions import read
from hoichan.errors import ConfigurationError, ManifestInvalid
from tests.unit.analysis.test_versions import make_package


@pytest.fixture
def keys(tmp_path):
    make_key(tmp_path / "site.key", tmp_path / "site.pub")
    return tmp_path / "site.key", tmp_path / "site.pub"


@pytest.fixture
def package(tmp_path):
    return make_package(tmp_path / "cxr-small")


def test_a_signed_package_is_trusted(package, keys):
    sign(read(package), keys[0])
    identifier = TrustedKeys([keys[1]]).check(read(package))
    assert len(identifier) == 16
    assert (keys[0].stat().st_mode & 0o077) == 0


def test_an_unsigned_package_is_not(package, keys):
    with pytest.raises(ManifestInvalid, match="not signed"):
        TrustedKeys([keys[1]]).check(read(package))


@pytest.mark.parametrize("file", ["card.md", "manifest.toml"])
def test_any_change_after_signing_is_seen(package, keys, file):
    sign(read(package), keys[0])
    with (package / file).open("a") as opened:
        opened.write("\n# more\n")
    with pytest.raises(ManifestInvalid, match="changed after"):
        TrustedKeys([keys[1]]).check(read(package))


def test_a_key_that_the_site_does_not_trust(package, keys, tmp_path):
    make_key(tmp_path / "other.key", tmp_path / "other.pub")
    sign(read(package), tmp_path / "other.key")
    with pytest.raises(ManifestInvalid, match="does not trust"):
        TrustedKeys([keys[1]]).check(read(package))


def test_a_signature_does_not_fit_another_package_with_a_forged_digest(package, keys, tmp_path):
    """Somebody copies a right signature and writes the new digest into it."""
    sign(read(package), keys[0])
    other = make_package(tmp_path / "more" / "cxr-small", version="1.1.0")
    shutil.copy(package / "signature.json", other)
    content = json.loads((other / "signature.json").read_text())
    (other / "signature.json").write_text(json.dumps({**content, "digest": read(other).digest}))
    with pytest.raises(ManifestInvalid, match="not right"):
        TrustedKeys([keys[1]]).check(read(other))


@pytest.mark.parametrize("text", ["", "[]", '{"algorithm": "ed25519"}', '{"key_id": 1, "signature": "é"}'])
def test_a_signature_that_is_none(package, keys, text):
    (package / "signature.json").write_text(text)
    with pytest.raises(ManifestInvalid, match="cannot be read"):
        TrustedKeys([keys[1]]).check(read(package))


def test_keys_that_are_none(package, tmp_path, keys):
    (tmp_path / "text").write_text("no key")
    with pytest.raises(ConfigurationError):
        TrustedKeys([tmp_path / "text"])
    with pytest.raises(ConfigurationError):
        TrustedKeys([tmp_path / "absent"])
    for wrong in (tmp_path / "text", keys[1], tmp_path / "absent"):
        with pytest.raises(ConfigurationError):
            sign(read(package), wrong)
    with pytest.raises(ConfigurationError, match="never written over"):
        make_key(*keys)
