"""Signatures of model packages: Ed25519 (RFC 8032), keys as files, a list of keys that a site trusts.

The signature lies beside the manifest (`signature.json`) and is over name, version and package digest. A key
that signs stays with whoever builds models; a site only has the public halves (`[models] trusted_keys`).
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
import os
from collections.abc import Sequence
from pathlib import Path

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
    load_pem_public_key,
)

from hoichan.analysis.versions import SIGNATURE_FILE, Version, signed_text
from hoichan.errors import ConfigurationError, ManifestInvalid

_ALGORITHM = "ed25519"


def make_key(private: Path, public: Path) -> None:
    """A new pair of keys as PEM files; the private one is for its owner only. Never writes over a file.

    Raises ConfigurationError.
    """
    key = Ed25519PrivateKey.generate()
    secret = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    shown = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    for path, content, mode in ((private, secret, 0o600), (public, shown, 0o644)):
        try:
            with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as file:  # noqa: PTH123
                file.write(content)
        except FileExistsError as error:
            raise ConfigurationError(f"{path} exists already: a key is never written over.") from error
        except OSError as error:
            raise ConfigurationError(f"{path} cannot be written ({error.strerror}).") from error


def sign(version: Version, private: Path) -> Path:
    """Write the signature into the package; its path. Raises ConfigurationError for a key that is none."""
    try:
        key = load_pem_private_key(private.read_bytes(), password=None)
    except (OSError, ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise ConfigurationError(f"{private} is no private key without a password, as PEM.") from error
    if not isinstance(key, Ed25519PrivateKey):
        raise ConfigurationError(f"{private} is no Ed25519 key.")
    manifest = version.manifest
    signature = key.sign(signed_text(manifest.name, manifest.algorithm_version, version.digest))
    content = {
        "algorithm": _ALGORITHM,
        "key_id": key_id(key.public_key()),
        "digest": version.digest,
        "signature": base64.b64encode(signature).decode("ascii"),
    }
    path = Path(manifest.root, SIGNATURE_FILE)
    try:
        part = path.with_name(f".{SIGNATURE_FILE}.part")
        part.write_text(json.dumps(content, indent=1) + "\n", encoding="ascii")
        part.replace(path)
    except OSError as error:
        raise ConfigurationError(f"{path} cannot be written ({error.strerror}).") from error
    return path


def key_id(key: Ed25519PublicKey) -> str:
    """The name of a key: the first 16 hexadecimal digits of the SHA-256 of its 32 bytes."""
    return hashlib.sha256(key.public_bytes(Encoding.Raw, PublicFormat.Raw)).hexdigest()[:16]


class TrustedKeys:
    """The public keys of a site."""

    def __init__(self, files: Sequence[Path]) -> None:
        """Raises ConfigurationError for a file that is no Ed25519 public key."""
        self._keys: dict[str, Ed25519PublicKey] = {}
        for file in files:
            try:
                key = load_pem_public_key(file.read_bytes())
            except (OSError, ValueError, UnsupportedAlgorithm) as error:
                raise ConfigurationError(f"models.trusted_keys: {file} is no public key as PEM.") from error
            if not isinstance(key, Ed25519PublicKey):
                raise ConfigurationError(f"models.trusted_keys: {file} is no Ed25519 key.")
            self._keys[key_id(key)] = key

    def check(self, version: Version) -> str:
        """The id of the trusted key that signed it. Raises ManifestInvalid, with what is wrong."""
        name = version.name
        try:
            content = json.loads(Path(version.manifest.root, SIGNATURE_FILE).read_bytes())
            found = (content["algorithm"], content["digest"])
            identifier = str(content["key_id"])
            signature = base64.b64decode(content["signature"], validate=True)
        except FileNotFoundError as error:
            raise ManifestInvalid(f"Model package {name} is not signed (hoichan model sign).") from error
        except (OSError, ValueError, KeyError, TypeError, binascii.Error) as error:
            raise ManifestInvalid(f"Model package {name}: {SIGNATURE_FILE} cannot be read.") from error
        key = self._keys.get(identifier)
        if key is None:
            raise ManifestInvalid(
                f"Model package {name} is signed by {identifier[:16]!r}, a key that this site does not trust."
            )
        if found != (_ALGORITHM, version.digest):
            raise ManifestInvalid(f"Model package {name} was changed after it was signed.")
        try:
            key.verify(signature, signed_text(name, version.version, version.digest))
        except InvalidSignature as error:
            raise ManifestInvalid(f"Model package {name}: its signature is not right.") from error
        return identifier
