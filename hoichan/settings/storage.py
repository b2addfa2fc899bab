"""Whose service this is, and where everything is kept."""

from __future__ import annotations

from pathlib import Path
from typing import Literal
from urllib.parse import unquote, urlsplit
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import AnyHttpUrl, Field, SecretStr, field_validator, model_validator

from hoichan.settings.base import Section, is_loopback


class Site(Section):
    """Whose service this is; stands in every document we write."""

    name: str = Field("Hội Chẩn", max_length=64)  # Institution Name (0008,0080)
    facility_code: str = Field("00000", pattern=r"^\d{5}$")  # mã cơ sở khám chữa bệnh
    language: Literal["vi", "en"] = "vi"  # of texts and of the page
    timezone: str = "Asia/Ho_Chi_Minh"  # zone of study times that bring none
    identifier_base: str = (
        "https://hoichan.invalid"  # root of the identifier systems in FHIR; set your own domain
    )

    @field_validator("name")
    @classmethod
    def _fits_dicom(cls, value: str) -> str:
        if any(letter == "\\" or letter < " " for letter in value):  # PS3.5 6.2, LO: no report can be written
            raise ValueError("the name of the site has no backslash and no line break in DICOM")
        return value

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


class S3(Section):
    """How the bucket of `storage.objects` is reached."""

    endpoint: AnyHttpUrl | None = None  # None: Amazon's own for the region
    region: str = "us-east-1"  # stores of one's own take any
    access_key_id: str = ""  # empty: the usual places, e.g. AWS_ACCESS_KEY_ID
    secret_access_key: SecretStr = SecretStr("")  # by HOICHAN_STORAGE__S3__SECRET_ACCESS_KEY, not in a file
    virtual_hosted_style: bool = False  # the bucket in the host name; stores of one's own have it in the path
    allow_http: bool = False  # films in the clear over the network: only where it is a tunnel
    connect_timeout_seconds: float = Field(5, gt=0)
    timeout_seconds: float = Field(120, gt=0)  # of one request: a CT of one file has gigabytes

    @model_validator(mode="after")
    def _safe(self) -> S3:
        url = self.endpoint
        if (
            url is not None
            and url.scheme == "http"
            and not self.allow_http
            and not is_loopback(url.host or "")
        ):
            raise ValueError("endpoint without TLS beyond this machine: use https, or say allow_http")
        if bool(self.access_key_id) != bool(self.secret_access_key.get_secret_value()):
            raise ValueError("access_key_id and secret_access_key go together")
        return self


class Storage(Section):
    """Where everything is kept."""

    data_dir: Path = Path("./data")  # spool, database, documents, outbox
    database: str = ""  # SQLAlchemy URL; empty: SQLite under data_dir
    objects: str = ""  # file:///folder or s3://bucket/prefix; empty: a folder under data_dir
    s3: S3 = S3()
    # Whether received objects are copied to `objects`, so that workers of other machines can read them.
    # None: where `objects` is a bucket. Not needed where all machines share the data folder.
    share_instances: bool | None = None
    cache_bytes: int = Field(4 * 1024**3, ge=0)  # of objects that other machines received, kept for a while
    reserve_bytes: int = Field(512 * 1024**2, ge=0)  # below this much free space the door answers 0xA700

    @field_validator("objects")
    @classmethod
    def _known_kind(cls, value: str) -> str:
        parts = urlsplit(value)
        if parts.query or parts.fragment or parts.username or parts.password:
            raise ValueError("an address without user, password or query: credentials belong into storage.s3")
        is_folder = parts.scheme == "file" and not parts.netloc and parts.path.startswith("/")
        if value and not is_folder and not (parts.scheme == "s3" and parts.netloc):
            raise ValueError("file:///folder or s3://bucket/prefix")
        return value

    @property
    def objects_dir(self) -> Path | None:
        """The folder of the object store; None where it is a bucket."""
        if not self.objects:
            return self.data_dir / "objects"
        parts = urlsplit(self.objects)
        return Path(unquote(parts.path)) if parts.scheme == "file" else None

    @property
    def bucket(self) -> tuple[str, str]:
        """The bucket of the object store and the prefix inside it. Raises ValueError where it is a folder."""
        parts = urlsplit(self.objects)
        if parts.scheme != "s3":
            raise ValueError("storage.objects is no bucket")
        return parts.netloc, parts.path.strip("/")

    @property
    def shares_instances(self) -> bool:
        """Whether received objects go to the object store as well."""
        return self.objects.startswith("s3://") if self.share_instances is None else self.share_instances

    @property
    def moved_file(self) -> Path:
        """Says that the SQLite database of this folder was moved away, and where to."""
        return self.data_dir / "moved.json"

    @property
    def cache_dir(self) -> Path:
        """Copies of what other machines received; may be emptied at any time."""
        return self.data_dir / "cache"

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
