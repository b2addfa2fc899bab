"""The settings of every process, read once from TOML and the environment.

`HOICHAN_SECTION__KEY` overrides a key of the file. Unknown keys are an error, and so are unsafe
values: nothing starts with a door open to the network and an empty list of senders.
"""

from __future__ import annotations

import ipaddress
import os
import tomllib
from pathlib import Path
from typing import Annotated, Any, Literal
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import (
    AnyHttpUrl,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SecretStr,
    ValidationError,
    field_validator,
    model_validator,
)

from hoichan.errors import ConfigurationError

AeTitle = Annotated[
    str, Field(min_length=1, max_length=16, pattern=r"^[\x21-\x5b\x5d-\x7e][\x20-\x5b\x5d-\x7e]*$")
]
Port = Annotated[int, Field(ge=0, le=65535)]  # 0: any free port, for tests
ENVIRONMENT_PREFIX = "HOICHAN_"


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Site(_Section):
    """Whose service this is; stands in every document we write."""

    name: str = Field("Hội Chẩn", max_length=64)  # Institution Name (0008,0080)
    facility_code: str = Field("00000", pattern=r"^\d{5}$")  # mã cơ sở khám chữa bệnh
    language: Literal["vi", "en"] = "vi"  # of texts and of the page
    timezone: str = "Asia/Ho_Chi_Minh"  # zone of study times that bring none
    identifier_base: str = (
        "https://hoichan.invalid"  # root of the identifier systems in FHIR; set your own domain
    )

    @field_validator("timezone")
    @classmethod
    def _known_zone(cls, value: str) -> str:
        try:
            ZoneInfo(value)
        except (ZoneInfoNotFoundError, ValueError) as error:
            raise ValueError(f"unknown time zone {value!r}") from error
        return value

    @property
    def zone(self) -> ZoneInfo:
        """The site's time zone."""
        return ZoneInfo(self.timezone)


class Storage(_Section):
    """Where everything is kept."""

    data_dir: Path = Path("./data")  # spool, database, documents, outbox
    database: str = ""  # SQLAlchemy URL; empty: SQLite under data_dir
    reserve_bytes: int = Field(512 * 1024**2, ge=0)  # below this much free space the door answers 0xA700

    @property
    def spool_dir(self) -> Path:
        """Accepted objects; the tie between the listener and the workers."""
        return self.data_dir / "spool"

    @property
    def outbox_dir(self) -> Path:
        """Where reports land while no destination is configured."""
        return self.data_dir / "outbox"

    @property
    def models_dir(self) -> Path:
        """The site's own model packages."""
        return self.data_dir / "models"

    @property
    def database_url(self) -> str:
        """The application database."""
        return self.database or f"sqlite:///{(self.data_dir / 'hoichan.sqlite').absolute()}"

    @property
    def engine_url(self) -> str:
        """The work engine's own database."""
        if self.database and not self.database.startswith("sqlite"):
            return self.database
        return f"sqlite:///{(self.data_dir / 'engine.sqlite').absolute()}"


class ClientTls(_Section):
    """TLS towards a receiver: its certificate is always checked, ours is shown where it asks."""

    ca: Path | None = None  # PEM of who may sign the receiver's certificate; None: those the system trusts
    cert: Path | None = None  # PEM of our own certificate, for mutual TLS
    key: Path | None = None  # PEM of its private key; None: it is in `cert`

    @model_validator(mode="after")
    def _paired(self) -> ClientTls:
        if self.key is not None and self.cert is None:
            raise ValueError("tls.key without tls.cert")
        return self


class ServerTls(_Section):
    """TLS at our door, 1.2 or later (PS3.15 B.12, BCP 195)."""

    cert: Path  # PEM of our own certificate, with the chain up to the authority
    key: Path | None = None  # PEM of its private key, without a password; None: it is in `cert`
    ca: Path | None = None  # PEM of who may sign a sender's certificate; None: senders show none


def _fingerprint(value: str) -> str:
    return value.replace(":", "").lower()


Fingerprint = Annotated[str, BeforeValidator(_fingerprint), Field(pattern=r"^[0-9a-f]{64}$")]


class Sender(_Section):
    """Somebody who may store. AE title and network must both fit; the first entry that fits decides."""

    ae_title: str = Field(min_length=1, max_length=16)  # "*": any title from that network
    host: str  # address or network, e.g. 10.0.0.0/24
    quiet_seconds: float | None = Field(None, ge=0)  # overrides the modality's quiet time
    certificate_sha256: tuple[Fingerprint, ...] = ()  # must show one of these; two while one is renewed
    certificate_cn: str | None = Field(None, min_length=1)  # must show a certificate with this common name
    maximum_associations: int | None = Field(None, ge=1)  # at a time, of all callers of this entry
    commitment_host: str | None = None  # where it hears storage commitment reports; None: where it asked from
    commitment_port: Port | None = None  # None: reports go through an association that it has open
    commitment_tls: ClientTls | None = None  # None: reports go in plain DICOM
    instances_per_minute: int | None = Field(None, ge=1)  # of all callers of this entry; more get 0xA700

    @model_validator(mode="after")
    def _reachable(self) -> Sender:
        if self.commitment_port is None and (self.commitment_host or self.commitment_tls):
            raise ValueError("commitment_host or commitment_tls without commitment_port")
        return self

    @property
    def needs_certificate(self) -> bool:
        """Whether this sender is only known by its certificate, so never on the plain port."""
        return bool(self.certificate_sha256) or self.certificate_cn is not None

    @field_validator("host")
    @classmethod
    def _network(cls, value: str) -> str:
        ipaddress.ip_network(value, strict=False)
        return value


LOOPBACK_SENDERS = (Sender(ae_title="*", host="127.0.0.0/8"), Sender(ae_title="*", host="::1/128"))


class Listener(_Section):
    """The DICOM door."""

    ae_title: AeTitle = "HOICHAN"
    host: str = "127.0.0.1"  # loopback until somebody opens it on purpose
    port: Port = 11112
    plain: bool = True  # False: only the TLS port is open
    tls: ServerTls | None = None  # None: the TLS port is closed
    tls_port: Port = 2762  # registered for DICOM over TLS (PS3.8 9.1.1)
    senders: tuple[Sender, ...] = ()
    # False, as most receivers in the field: a wrong title is a slip, and films would be lost for it
    require_called_ae_title: bool = False
    maximum_associations: int = Field(25, ge=1)
    maximum_pdu_size: int = Field(0, ge=0)  # bytes; 0: no limit
    commitment_retry_seconds: float = Field(5, gt=0)  # first pause; it doubles up to an hour, for a week
    network_timeout_seconds: float = Field(60, gt=0)  # an idle association is closed after this

    @property
    def allowed(self) -> tuple[Sender, ...]:
        """The configured senders; this machine itself when the door is on loopback and the list is empty."""
        return self.senders or (LOOPBACK_SENDERS if is_loopback(self.host) else ())

    @model_validator(mode="after")
    def _safe(self) -> Listener:
        known = [sender.needs_certificate for sender in self.senders]
        if any(known) and (self.tls is None or self.tls.ca is None):
            raise ValueError("a sender must show a certificate, but there is no tls.ca to check it with")
        if not self.plain and self.tls is None:
            raise ValueError("plain = false without tls: no port would be open")
        if self.plain and known and all(known):
            raise ValueError(
                "every sender must show a certificate, so the plain port is of no use: plain = false"
            )
        if self.plain and self.tls is not None and self.port == self.tls_port != 0:
            raise ValueError("port and tls_port are the same")
        return self


class Web(_Section):
    """The page and the API."""

    host: str = "127.0.0.1"
    port: Port = 8080
    public_names: tuple[str, ...] = ()  # host names under which a proxy reaches the page; others are refused
    stow: bool = False  # STOW-RS at /dicom-web/studies: no sign-in yet, so for programs on this machine only
    stow_maximum_bytes: int = Field(2 * 1024**3, ge=1024**2)  # of one request; a CT of 2,000 slices is 1 GiB
    # Whether the page works without an account: only at this machine, and only until the first one is added.
    sign_in: Literal["with_first_user", "always"] = "with_first_user"
    session_idle_seconds: float = Field(1800, ge=60)  # an unused session ends: workstations are shared
    session_seconds: float = Field(43200, ge=60)  # whatever is done: a shift is twelve hours
    tls: ServerTls | None = None  # None: plain HTTP, for this machine or behind a proxy with TLS
    # Whose X-Forwarded-For and -Proto are believed: a proxy on this machine.
    trusted_proxies: tuple[str, ...] = ("127.0.0.1", "::1")

    @model_validator(mode="after")
    def _stow_stays_here(self) -> Web:
        if self.stow and not is_loopback(self.host):
            raise ValueError("stow = true with a host that the network reaches: STOW-RS has no sign-in yet")
        return self


class Folder(_Section):
    """A folder whose files are taken in: a gateway, a CR console or a person copies them there."""

    path: Path
    sender: AeTitle = "FOLDER"  # stands for the calling AE title, also in [[listener.senders]] quiet times
    after: Literal["keep", "delete", "move"] = "keep"  # what becomes of a file that is safe in the spool
    settled_seconds: float = Field(2, ge=0)  # unchanged for so long: whoever writes it has finished
    maximum_bytes: int = Field(4 * 1024**3, ge=1)  # of a file, and of what a ZIP archive unpacks to


class Assembly(_Section):
    """When a study counts as complete."""

    quiet_seconds: float = Field(5, ge=0)  # single films: CR, DX, MG, and anything not named below
    quiet_seconds_volume: float = Field(60, ge=0)  # CT, MR, PT, NM: many images, often several associations
    cap_seconds: float = Field(900, gt=0)  # after this an open association no longer holds a study back


class Work(_Section):
    """The workers."""

    poll_seconds: float = Field(0.25, gt=0)  # how often queues and the spool are looked at
    analyse_concurrency: int = Field(0, ge=0)  # 0: one less than the cores, at least one
    first_retry_seconds: float = Field(5, gt=0)  # first pause after a receiver did not answer
    longest_retry_seconds: float = Field(3600, gt=0)  # the pause doubles up to this

    @property
    def concurrency(self) -> int:
        """Studies analysed at the same time."""
        return self.analyse_concurrency or max(1, (os.cpu_count() or 2) - 1)


class Auth(_Section):
    """How we show who we are to a receiver."""

    kind: Literal["none", "basic", "bearer"] = "none"
    username: str = ""
    password: SecretStr = SecretStr("")
    token: SecretStr = SecretStr("")


class _Destination(_Section):
    name: str = Field(min_length=1, max_length=64, pattern=r"^[A-Za-z0-9_.-]+$")
    timeout_seconds: float = Field(30, gt=0)


class DicomDestination(_Destination):
    """A PACS that takes C-STORE."""

    kind: Literal["dicom"]
    host: str
    port: Port
    ae_title: AeTitle
    calling_ae_title: AeTitle | None = None  # None: the listener's own title
    tls: ClientTls | None = None  # None: plain DICOM
    send: tuple[Literal["sr", "sc"], ...] = ("sc", "sr")  # the picture first: the SR points to it


class FhirDestination(_Destination):
    """An EMR that takes FHIR R4 transactions."""

    kind: Literal["fhir"]
    url: AnyHttpUrl  # base URL, without a trailing Bundle
    auth: Auth = Auth()
    unread_status: Literal["partial", "preliminary"] = "partial"  # of a report that nobody has read
    patient_identifier_system: str | None = None  # None: IssuerOfPatientID, or the site's own


Hl7Name = Annotated[str, Field(max_length=20, pattern=r"^[^|^~\\&\s]*$")]  # HD.1, a namespace id


class Hl7Destination(_Destination):
    """An EMR or RIS that takes HL7 v2 ORU^R01 over MLLP."""

    kind: Literal["hl7v2"]
    host: str
    port: Port
    unread_status: Literal["R", "P"] = "R"  # OBR-25 of a report that nobody has read (table 0123)
    version: Literal["2.5.1", "2.5"] = "2.5.1"  # MSH-12
    tls: ClientTls | None = None  # None: plain MLLP
    charset: Literal["utf-8", "ascii"] = "utf-8"  # ascii: for receivers that damage Vietnamese letters
    sending_application: Hl7Name = "HOICHAN"  # MSH-3
    sending_facility: Hl7Name = ""  # MSH-4; empty: the site's facility code
    receiving_application: Hl7Name = ""  # MSH-5
    receiving_facility: Hl7Name = ""  # MSH-6
    # Link to the images, sent in OBX; `{study_instance_uid}` is filled in. Empty: none.
    viewer_url: str = Field("", pattern=r"^(https?://[^\s{}]*\{study_instance_uid\}[^\s{}]*)?$")


class FolderDestination(_Destination):
    """A folder that gets one subfolder a report."""

    kind: Literal["folder"]
    path: Path


AnyDestination = DicomDestination | FhirDestination | Hl7Destination | FolderDestination
Destination = Annotated[AnyDestination, Field(discriminator="kind")]


class Settings(_Section):
    """Everything a process needs to know before it starts."""

    site: Site = Site()
    storage: Storage = Storage()
    listener: Listener = Listener()
    web: Web = Web()
    assembly: Assembly = Assembly()
    work: Work = Work()
    destinations: tuple[Destination, ...] = ()
    folders: tuple[Folder, ...] = ()

    @model_validator(mode="after")
    def _folders_apart(self) -> Settings:
        places = [self.storage.data_dir.absolute(), *(folder.path.absolute() for folder in self.folders)]
        for number, place in enumerate(places):
            for other in places[number + 1 :]:
                if place == other or place in other.parents or other in place.parents:
                    raise ValueError("folders: one lies in another, or in storage.data_dir, or around it")
        return self

    @model_validator(mode="after")
    def _safe(self) -> Settings:
        if not is_loopback(self.listener.host) and not self.listener.senders:
            raise ValueError(
                "listener: open to the network with an empty list of senders; add [[listener.senders]]"
            )
        names = [destination.name for destination in self.destinations]
        if len(names) != len(set(names)):
            raise ValueError("destinations: two of them have the same name")
        return self

    @property
    def effective_destinations(self) -> tuple[AnyDestination, ...]:
        """The configured destinations; without any, the outbox folder."""
        return self.destinations or (
            FolderDestination(name="outbox", kind="folder", path=self.storage.outbox_dir),
        )


def is_loopback(host: str) -> bool:
    """Whether a host name or address reaches this machine only."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def load(
    config: Path | None = None, *, data_dir: Path | None = None, environment: dict[str, str] | None = None
) -> Settings:
    """Settings from a TOML file, then the environment, then `data_dir`.

    Raises ConfigurationError with one sentence a line that says which key is wrong and why.
    """
    values: dict[str, Any] = {}
    if config is not None:
        try:
            values = tomllib.loads(config.read_text(encoding="utf-8"))
        except OSError as error:
            reason = error.strerror
            raise ConfigurationError(f"The configuration {config} cannot be read: {reason}.") from error
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise ConfigurationError(f"The configuration {config} is not valid TOML: {error}.") from error
    _overlay(values, os.environ if environment is None else environment)
    if data_dir is not None:
        _section(values, "storage")["data_dir"] = str(data_dir)
    try:
        return Settings.model_validate(values)
    except ValidationError as error:
        raise ConfigurationError(_explain(error)) from error


def _section(values: dict[str, Any], name: str) -> dict[str, Any]:
    section = values.setdefault(name, {})
    if not isinstance(section, dict):
        raise ConfigurationError(f"Configuration key {name!r} must be a section.")
    return section


def _overlay(values: dict[str, Any], environment: os._Environ[str] | dict[str, str]) -> None:
    for variable, text in environment.items():
        if not variable.startswith(ENVIRONMENT_PREFIX) or "__" not in variable:
            continue
        *path, key = variable[len(ENVIRONMENT_PREFIX) :].lower().split("__")
        target = values
        for part in path:
            target = _section(target, part)
        target[key] = text


def _explain(error: ValidationError) -> str:
    """One sentence a fault; the value itself is left out, it may be a secret."""
    sentences = []
    for fault in error.errors(include_url=False, include_input=False, include_context=False):
        key = ".".join(str(part) for part in fault["loc"]) or "configuration"
        if fault["type"] == "extra_forbidden":
            sentences.append(f"Unknown configuration key {key!r}: remove it or correct its spelling.")
        else:
            message = fault["msg"].removeprefix("Value error, ")
            sentences.append(f"Configuration key {key!r} is wrong: {message}.")
    return " ".join(sentences)
