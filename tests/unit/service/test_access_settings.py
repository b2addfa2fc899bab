"""Facilities and the hospital's own sign-in in the configuration: what is refused before anything starts."""

from typing import get_args

import pytest

from hoichan.errors import ConfigurationError
from hoichan.guard.roles import ASSIGNABLE
from hoichan.settings import load
from hoichan.settings.access import RoleName

OIDC = """
[oidc]
issuer = "https://sso.hospital.vn"
client_id = "hoichan"
public_url = "https://read.hospital.vn/"
[oidc.roles]
doctors = "radiologist"
"""


def loaded(tmp_path, text):
    file = tmp_path / "hoichan.toml"
    file.write_text(text, encoding="utf-8")
    return load(file, environment={})


def test_the_roles_of_the_settings_are_those_of_accounts():
    assert set(get_args(RoleName)) == {role.value for role in ASSIGNABLE}


def test_the_issuer_is_named_as_its_tokens_name_it(tmp_path):
    oidc = loaded(tmp_path, OIDC).oidc
    assert oidc.issuer_name == "https://sso.hospital.vn"
    assert oidc.redirect_uri == "https://read.hospital.vn/login/oidc/back"
    realm = loaded(tmp_path, OIDC.replace("sso.hospital.vn", "sso.hospital.vn/realms/bv")).oidc
    assert realm.issuer_name == "https://sso.hospital.vn/realms/bv"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (OIDC.replace("https://sso", "http://sso"), "issuer must be https"),
        (OIDC.replace("https://read", "http://read"), "public_url must be https"),
        (OIDC.replace('"radiologist"', '"local"'), "roles"),
        (OIDC.replace('client_id = "hoichan"', 'client_id = "hoichan"\nscopes = ["profile"]'), "openid"),
        ('[access]\nsecond_factor = ["everybody"]', "second_factor"),
        ('[[facilities]]\ncode = "A"\nsenders = ["X"]\n' * 2, "same code"),
        (
            '[[facilities]]\ncode = "A"\nsenders = ["X"]\n[[facilities]]\ncode = "B"\nsenders = ["X"]',
            "belongs to two",
        ),
    ],
)
def test_what_would_be_unsafe_or_unclear_is_refused(tmp_path, text, says):
    with pytest.raises(ConfigurationError, match=says):
        loaded(tmp_path, text)
