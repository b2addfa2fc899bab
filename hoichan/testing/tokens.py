"""An EMR whose door is behind SMART Backend Services: it checks assertions with our public key, for tests.

The cryptography is real: an assertion with another key, audience or client, one that is too old or was shown
before, gets no token (RFC 7523 section 3).
"""

from __future__ import annotations

import json
import threading
import time
import uuid
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import Any
from urllib.parse import parse_qs

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from joserfc import jwk, jwt
from joserfc.errors import JoseError

ALGORITHMS = ["RS384", "ES384"]
ASSERTION_TYPE = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"


def private_key(folder: Path, kind: str = "RSA") -> Path:
    """A new private key in PEM: RSA, or EC on P-384."""
    made: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey
    if kind == "RSA":
        made = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    else:
        made = ec.generate_private_key(ec.SECP384R1())
    path = folder / f"{kind.lower()}.pem"
    path.write_bytes(
        made.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
    )
    path.chmod(0o600)
    return path


class TokenEmr:
    """A FHIR base that takes a POST with a token, and the server that gives them; on a free port."""

    def __init__(self, key: Path, client_id: str = "hoichan", *, expires_in: int | None = 300) -> None:
        self.client_id, self.expires_in = client_id, expires_in
        content = key.read_bytes()
        self._key = jwk.import_key(content, "RSA" if key.stem == "rsa" else "EC")
        self._lock = threading.Lock()
        self._shown: set[str] = set()
        self._good: set[str] = set()
        self.given = 0  # tokens
        self.posted: list[bytes] = []
        self.scopes: list[str] = []
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}/fhir"
        self.token_url = f"http://127.0.0.1:{self.server.server_address[1]}/token"
        self._thread = threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True)

    def __enter__(self) -> TokenEmr:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.server.shutdown()
        self.server.server_close()
        self._thread.join(60)

    def forget(self) -> None:
        """Every token given so far is worth nothing from now on."""
        with self._lock:
            self._good.clear()

    def _token(self, fields: dict[str, list[str]]) -> tuple[int, dict[str, Any]]:
        if fields.get("grant_type") != ["client_credentials"]:
            return 400, {"error": "unsupported_grant_type"}
        if fields.get("client_assertion_type") != [ASSERTION_TYPE]:
            return 400, {"error": "invalid_request"}
        try:
            token = jwt.decode(fields["client_assertion"][0], self._key, algorithms=ALGORITHMS)
            jwt.JWTClaimsRegistry(
                iss={"essential": True, "value": self.client_id},
                sub={"essential": True, "value": self.client_id},
                aud={"essential": True, "value": self.token_url},
                exp={"essential": True},
                jti={"essential": True},
            ).validate(token.claims)
        except (JoseError, KeyError, ValueError):
            return 401, {"error": "invalid_client"}
        with self._lock:
            if token.claims["jti"] in self._shown or token.claims["exp"] > time.time() + 300:
                return 401, {"error": "invalid_client"}
            self._shown.add(token.claims["jti"])
            made = uuid.uuid4().hex
            self._good.add(made)
            self.given += 1
            self.scopes += fields.get("scope", [])
        life = {} if self.expires_in is None else {"expires_in": self.expires_in}
        return 200, {"access_token": made, "token_type": "bearer", **life}

    def _fhir(self, header: str, body: bytes) -> tuple[int, dict[str, Any]]:
        with self._lock:
            if header.removeprefix("Bearer ") not in self._good:
                return 401, {"resourceType": "OperationOutcome", "issue": [{"code": "login"}]}
            self.posted.append(body)
        return 200, {"resourceType": "Bundle", "type": "transaction-response"}

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        emr = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                if self.path == "/fhir/.well-known/smart-configuration":
                    self._say(200, {"token_endpoint": emr.token_url})
                else:
                    self._say(404, {})

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length", "0")))
                if self.path == "/token":
                    self._say(*emr._token(parse_qs(body.decode("ascii"))))
                else:
                    self._say(*emr._fhir(self.headers.get("Authorization", ""), body))

            def _say(self, status: int, content: dict[str, Any]) -> None:
                said = json.dumps(content).encode()
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(said)))
                self.end_headers()
                self.wfile.write(said)

            def log_message(self, *arguments: object) -> None:
                """Nothing."""

        return Handler
