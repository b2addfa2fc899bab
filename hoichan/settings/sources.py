"""Archives that are asked for what was missed, for how much there is, and for earlier studies.

A source is asked, never written to: what we have to say goes to `[[destinations]]`.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AnyHttpUrl, Field, field_validator, model_validator

from hoichan.settings.base import AeTitle, Port, Section
from hoichan.settings.destinations import Auth, not_smart
from hoichan.settings.tls import ClientTls

Modality = Annotated[str, Field(pattern=r"^[A-Z0-9_]{1,16}$")]


class _Source(Section):
    name: str = Field(min_length=1, max_length=64, pattern=r"^[A-Za-z0-9_.-]+$")
    tls: ClientTls | None = None  # None: plain DICOM, or for https the authorities that the system trusts
    timeout_seconds: float = Field(30, gt=0)  # for an answer to a question
    fetch_timeout_seconds: float = Field(300, gt=0)  # without a word while instances come
    catch_up: bool = True  # False: the source is only asked about counts and earlier studies
    modalities: tuple[Modality, ...] = ()  # a study needs one of them; empty: any
    every_seconds: float = Field(300, gt=0)  # between two questions for what is new
    # How far back the first question goes, and every later one from the last contact: a study is filed under
    # the time of its exposure, and may reach the archive hours later.
    window_hours: float = Field(24, gt=0)
    settle_seconds: float = Field(60, ge=0)  # a study that is new there may be on its way to us by itself
    instances_per_minute: int | None = Field(None, ge=1)  # fetched; for a thin line
    senders: tuple[AeTitle, ...] = ()  # whose studies are counted here before they are closed
    priors: int = Field(0, ge=0, le=20)  # so many earlier studies of the patient are fetched; 0: none
    prior_wait_seconds: float = Field(10, ge=0)  # no study waits longer for its earlier ones


class DimseSource(_Source):
    """A PACS that is asked by C-FIND."""

    kind: Literal["dimse"]
    host: str
    port: Port
    ae_title: AeTitle
    calling_ae_title: AeTitle | None = None  # None: the listener's own title
    # move: the PACS sends to our listener, so it must be one of its senders; get: on the same association
    fetch: Literal["move", "get"] = "move"
    move_to: AeTitle | None = None  # the title under which the PACS knows our listener; None: its own


class DicomwebSource(_Source):
    """A PACS that is asked by QIDO-RS."""

    kind: Literal["dicomweb"]
    url: AnyHttpUrl  # of the service, e.g. https://pacs.example/dicom-web
    auth: Auth = Auth()
    fetch: Literal["wado"] = "wado"
    ae_title: AeTitle | None = None  # stands as the sender of what is fetched; None: the source's name

    _auth = field_validator("auth")(not_smart)

    @model_validator(mode="after")
    def _no_patient_in_a_url(self) -> DicomwebSource:
        if self.priors:
            raise ValueError(
                "priors: QIDO-RS would carry the patient's number in a URL, which servers log; "
                "ask the same PACS as a source of kind dimse"
            )
        return self


class OrthancSource(_Source):
    """An Orthanc whose own REST API is asked: its list of changes misses nothing."""

    kind: Literal["orthanc"]
    url: AnyHttpUrl  # e.g. http://10.0.0.5:8042
    auth: Auth = Auth()
    fetch: Literal["wado"] = "wado"  # its files, over HTTP
    ae_title: AeTitle | None = None  # stands as the sender of what is fetched; None: the source's name

    _auth = field_validator("auth")(not_smart)


AnySource = DimseSource | DicomwebSource | OrthancSource
Source = Annotated[AnySource, Field(discriminator="kind")]


def sender_title(source: AnySource) -> str:
    """The AE title that stands as the sender of what is fetched; also whose studies it can count."""
    return source.ae_title or source.name[:16]
