"""Whom an issuer's answer lets in: real signatures, and every way in which an ID token is not for us."""

import base64
import hashlib
import hmac
import json
import time
from urllib.parse import parse_qs, urlsplit

import httpx2
import pytest
from joserfc import jwt
from joserfc.jwk import ECKey, KeySet

from hoichan.adapters.oidc_client import KEPT_SECONDS, LARGEST_ANSWER, OidcClient, challenge
from hoichan.errors import IssuerFailed
from hoichan.settings import Oidc

ISSUER, NONCE = "https://issuer.vn/realms/bv", "nonce-of-this-sign-in"
KEY, FOREIGN_KEY = (ECKey.generate_key("P-256", {"kid": "one", "alg": "ES256"}) for _ in range(2))
LEFT_OUT = object()


class Issuer:
    """Signs what it is told to sign, and keeps what it was asked."""

    def __init__(self):
        now = int(time.time())
        self.claims = {
            "iss": ISSUER,
            "aud": "hoichan",
            "sub": "person-17",
            "nonce": NONCE,
            "iat": now,
            "exp": now + 300,
            "preferred_username": "BS.Lan ",
            "name": "Nguyễn Thị Lan",
            "roles": ["bac-si-cdha"],
        }
        self.description = {
            "issuer": ISSUER,
            "authorization_endpoint": "https://issuer.vn/auth",
            "token_endpoint": "https://issuer.vn/token",
            "jwks_uri": "https://issuer.vn/keys",
        }
        self.userinfo = {}
        self.token = None  # instead of one that is signed with KEY
        self.answers = {}  # path -> what is answered instead
        self.asked = []

    def __call__(self, request):
        self.asked.append(request)
        path = urlsplit(str(request.url)).path
        if path in self.answers:
            return self.answers[path](request)
        if path.endswith("/openid-configuration"):
            return httpx2.Response(200, json=self.description)
        if path == "/token":
            return httpx2.Response(200, json={"id_token": self.token or self.signed(), "access_token": "at"})
        if path == "/keys":
            return httpx2.Response(200, json=KeySet([KEY]).as_dict(private=False))
        return httpx2.Response(200, json=self.userinfo)

    def signed(self, key=KEY, algorithm="ES256"):
        return jwt.encode({"alg": algorithm, "kid": "one"}, self.claims, key, algorithms=[algorithm])

    def change(self, **claims):
        for name, value in claims.items():
            self.claims.pop(name, None) if value is LEFT_OUT else self.claims.update({name: value})

    def client(self, **changes):
        settings = {
            "issuer": ISSUER,
            "client_id": "hoichan",
            "client_secret": "secret of the tests",
            "public_url": "https://read.vn",
            "roles": {"bac-si-cdha": "radiologist"},
            **changes,
        }
        ticks = changes.pop("ticks", time.monotonic)
        settings.pop("ticks", None)
        made = Oidc.model_validate(settings)
        return OidcClient(made, transport=httpx2.MockTransport(self), ticks=ticks)

    def redeemed(self):
        return self.client().redeem(code="code", nonce=NONCE, code_verifier="v" * 43)


@pytest.fixture
def issuer():
    return Issuer()


def refused(issuer):
    with pytest.raises(IssuerFailed) as error:
        issuer.redeemed()
    return error.value.reason


# ---------------------------------------------------------------------- who comes in
def test_a_person_is_who_the_signed_token_says(issuer):
    issuer.change(auth_time=issuer.claims["iat"] - 5)
    person = issuer.redeemed()
    assert (person.subject, person.user_name, person.display_name) == (
        "person-17",
        "bs.lan",
        "Nguyễn Thị Lan",
    )
    assert (person.roles, person.auth_time) == (("bac-si-cdha",), issuer.claims["iat"] - 5)


def test_the_code_is_redeemed_once_with_its_verifier_and_the_secret_of_the_program(issuer):
    issuer.redeemed()
    (token,) = [one for one in issuer.asked if str(one.url).endswith("/token")]
    fields = parse_qs(token.content.decode())
    assert (fields["code"], fields["code_verifier"]) == (["code"], ["v" * 43])
    assert fields["redirect_uri"] == ["https://read.vn/login/oidc/back"]
    told = base64.b64decode(token.headers["authorization"].removeprefix("Basic ")).decode()
    assert told == "hoichan:secret of the tests"
    assert "client_secret" not in fields


@pytest.mark.parametrize("aud", ["hoichan", ["hoichan"], ["hoichan", "another"]])
def test_a_token_for_several_is_for_us_where_it_was_given_to_us(issuer, aud):
    issuer.change(aud=aud, azp="hoichan")
    assert issuer.redeemed().subject == "person-17"


# ---------------------------------------------------------------------- who does not
@pytest.mark.parametrize(
    "claims",
    [
        {"iss": "https://issuer.vn/realms/other"},
        {"iss": LEFT_OUT},
        {"aud": "another"},
        {"aud": ["another"]},
        {"aud": LEFT_OUT},
        {"aud": ["hoichan", "another"]},  # given to whom?
        {"aud": ["hoichan", "another"], "azp": "another"},
        {"azp": "another"},
        {"nonce": "of another sign-in"},
        {"nonce": LEFT_OUT},
        {"sub": LEFT_OUT},
        {"sub": ""},
        {"sub": ["person-17"]},
        {"sub": None},
        {"exp": LEFT_OUT},
        {"exp": 1},
        {"exp": "tomorrow"},
        {"iat": LEFT_OUT},
    ],
)
def test_a_token_that_is_not_for_this_sign_in(issuer, claims):
    issuer.change(**claims)
    assert refused(issuer) == "id_token"


def test_a_key_of_another(issuer):
    issuer.token = issuer.signed(FOREIGN_KEY)
    assert refused(issuer) == "id_token"


def test_the_public_key_is_no_secret_to_sign_with(issuer):
    head = base64.urlsafe_b64encode(b'{"alg":"HS256","kid":"one"}').decode().rstrip("=")
    body = issuer.signed().split(".")[1]
    for secret in (KEY.as_pem(private=False), json.dumps(KEY.as_dict(private=False)).encode()):
        made = hmac.digest(secret, f"{head}.{body}".encode(), "sha256")
        issuer.token = f"{head}.{body}.{base64.urlsafe_b64encode(made).decode().rstrip('=')}"
        assert refused(issuer) == "id_token"


def test_a_token_without_a_signature(issuer):
    head, body, _ = issuer.signed().split(".")
    unsigned = base64.urlsafe_b64encode(json.dumps({"alg": "none"}).encode()).decode().rstrip("=")
    for issuer.token in (f"{unsigned}.{body}.", f"{head}.{body}.", f"{head}.{body}", "x"):
        assert refused(issuer) == "id_token"


def test_a_body_that_was_changed_after_signing(issuer):
    head, body, signature = issuer.signed().split(".")
    said = json.loads(base64.urlsafe_b64decode(body + "=="))
    other = base64.urlsafe_b64encode(json.dumps({**said, "sub": "person-18"}).encode()).decode().rstrip("=")
    issuer.token = f"{head}.{other}.{signature}"
    assert refused(issuer) == "id_token"


# ---------------------------------------------------------------------- what it says besides
def test_what_the_token_leaves_out_is_asked_of_the_same_person(issuer):
    issuer.description["userinfo_endpoint"] = "https://issuer.vn/userinfo"
    issuer.change(roles=LEFT_OUT, name=LEFT_OUT)
    issuer.userinfo = {"sub": "person-17", "roles": "bac-si-cdha truong-khoa", "name": "Lan", "nonce": "x"}
    person = issuer.redeemed()
    assert (person.roles, person.display_name) == (("bac-si-cdha", "truong-khoa"), "Lan")
    assert issuer.asked[-1].headers["authorization"] == "Bearer at"


def test_the_signed_token_outweighs_the_userinfo(issuer):
    issuer.description["userinfo_endpoint"] = "https://issuer.vn/userinfo"
    issuer.change(name=LEFT_OUT)
    issuer.userinfo = {"sub": "person-17", "roles": ["quan-tri"], "preferred_username": "bs.an"}
    person = issuer.redeemed()
    assert (person.user_name, person.roles) == ("bs.lan", ("bac-si-cdha",))


@pytest.mark.parametrize("sub", ["person-18", None, ["person-17"]])
def test_the_userinfo_of_another_person(issuer, sub):
    issuer.description["userinfo_endpoint"] = "https://issuer.vn/userinfo"
    issuer.change(roles=LEFT_OUT)
    issuer.userinfo = {"sub": sub, "roles": ["bac-si-cdha"]}
    assert refused(issuer) == "subject"


@pytest.mark.parametrize("value", [None, 7, True, ["bs.an"], {"vi": "bs.an"}])
def test_a_name_that_is_no_text_is_no_name(issuer, value):
    issuer.change(preferred_username=value, name=value)
    person = issuer.redeemed()
    assert (person.user_name, person.display_name) == ("", "")  # "none" would be an account


@pytest.mark.parametrize(
    ("said", "roles"),
    [("a  b", ("a", "b")), (["a", 7, None, "b"], ("a", "b")), (None, ()), (7, ()), ({"a": "b"}, ())],
)
def test_roles_are_texts(issuer, said, roles):
    issuer.change(roles=said)
    assert issuer.redeemed().roles == roles


@pytest.mark.parametrize("said", [None, True, "1795000000", 0, -1, 2**40, LEFT_OUT])
def test_a_time_of_signing_in_that_is_none(issuer, said):
    issuer.change(auth_time=said)
    assert issuer.redeemed().auth_time is None


# ---------------------------------------------------------------------- an issuer that is not well
@pytest.mark.parametrize("path", ["/realms/bv/.well-known/openid-configuration", "/token", "/keys"])
@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (lambda _: httpx2.Response(500, json={}), "http_500"),
        (lambda _: httpx2.Response(200, content=b"no JSON"), "answer"),
        (lambda _: httpx2.Response(200, json=[]), "answer"),
        (lambda _: httpx2.Response(200, content=b"[" * 100_000), "answer"),
        (lambda _: httpx2.Response(200, content=b" " * (LARGEST_ANSWER + 1)), "http_200"),
        (lambda _: httpx2.Response(302, headers={"location": "https://elsewhere.vn"}), "http_302"),
    ],
)
def test_an_answer_that_is_none(issuer, path, answer, reason):
    issuer.answers[path] = answer
    assert refused(issuer) == reason


@pytest.mark.parametrize("path", ["/realms/bv/.well-known/openid-configuration", "/token", "/keys"])
def test_nobody_answers(issuer, path):
    def gone(request):
        raise httpx2.ConnectError("PATIENT", request=request)

    issuer.answers[path] = gone
    assert refused(issuer) == "unreachable"


@pytest.mark.parametrize(
    "change",
    [
        {"issuer": "https://issuer.vn/realms/other"},
        {"token_endpoint": "http://issuer.vn/token"},
        {"jwks_uri": "file:///etc/passwd"},
        {"authorization_endpoint": "javascript:alert(1)"},
        {"jwks_uri": None},
    ],
)
def test_a_description_of_another_or_of_places_that_are_not_safe(issuer, change):
    issuer.description |= change
    assert refused(issuer) == "description"
    assert len(issuer.asked) == 1  # nothing went there


# ---------------------------------------------------------------------- where a browser is sent
def test_the_browser_carries_the_challenge_and_never_the_verifier(issuer):
    issuer.description["authorization_endpoint"] += "?ui=vi"
    address = issuer.client().address(state="s", nonce="n", code_verifier="v" * 43)
    assert address.startswith("https://issuer.vn/auth?ui=vi&")
    asked = {name: one for name, (one,) in parse_qs(urlsplit(address).query).items()}
    digest = hashlib.sha256(b"v" * 43).digest()
    assert base64.urlsafe_b64decode(asked["code_challenge"] + "=") == digest
    assert (asked["code_challenge_method"], asked["state"], asked["nonce"]) == ("S256", "s", "n")
    assert "v" * 43 not in address and "secret" not in address
    assert "prompt" not in asked
    assert "prompt=login&max_age=0" in issuer.client().address(
        state="s", nonce="n", code_verifier="v", anew=True
    )


def test_the_challenge_of_the_standard():
    verifier = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk"  # RFC 7636 appendix B
    assert challenge(verifier) == "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM"


@pytest.mark.parametrize("place", [None, 7, "http://issuer.vn/out", "javascript:alert(1)"])
def test_a_way_out_that_is_not_safe_is_none(issuer, place):
    issuer.description["end_session_endpoint"] = place
    assert issuer.client().end_session_address() is None


def test_the_description_is_kept_for_a_time(issuer):
    now = [0.0]
    client = issuer.client(ticks=lambda: now[0])
    for at in (0.0, KEPT_SECONDS - 1):
        now[0] = at
        client.address(state="s", nonce="n", code_verifier="v")
    assert len(issuer.asked) == 1
    now[0] = KEPT_SECONDS
    client.address(state="s", nonce="n", code_verifier="v")
    assert len(issuer.asked) == 2
