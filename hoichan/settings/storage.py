"""Whose service this is, and where everything is kept."""

from __future__ import annotations

from pathlib import Path
from typing import Literal
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import Field, field_validator

from hoichan.settings.base import Section


class Site(Section):
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


class Storage(Section):
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
