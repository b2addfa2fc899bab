"""Who gets the results, and in which dialect."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import AnyHttpUrl, Field, SecretStr, field_validator, model_validator

from hoichan.settings.base import AeTitle, Port, Section
from hoichan.settings.tls import ClientTls


class Auth(Section):
    """How we show who we are to a receiver."""

    kind: Literal["none", "basic", "bearer", "smart"] = "none"
    username: str = ""
    password: SecretStr = SecretStr("")
    token: SecretStr = SecretStr("")
    # smart: SMART Backend Services, of FHIR servers
    client_id: str = ""  # as the EMR registered us
    private_key: Path | None = None  # PEM, RSA or P-384
    key_id: str = ""  # `kid`; empty: the thumbprint of the key (RFC 7638)
    token_url: AnyHttpUrl | None = None  # None: what the server's .well-known/smart-configuration says
    scope: str = "system/*.cruds"

    @model_validator(mode="after")
    def _whole(self) -> Auth:
        if self.kind == "smart" and (not self.client_id or self.private_key is None):
            raise ValueError("smart needs client_id and private_key")
        return self


def not_smart(auth: Auth) -> Auth:
    """Raises ValueError where no FHIR server stands that could say where tokens come from."""
    if auth.kind == "smart":
        raise ValueError("smart is for FHIR servers")
    return auth


class _Destination(Section):
    name: str = Field(min_length=1, max_length=64, pattern=r"^[A-Za-z0-9_.-]+$")
    timeout_seconds: float = Field(30, gt=0)
    # Deliveries at a time, of different studies; those of one study always go one after the other.
    at_a_time: int = Field(1, ge=1, le=4)
    # False: gets nothing new. What it is owed and corrections of what it has still go there.
    active: bool = True


class DicomDestination(_Destination):
    """A PACS that takes C-STORE."""

    kind: Literal["dicom"]
    host: str
    port: Port
    ae_title: AeTitle
    calling_ae_title: AeTitle | None = None  # None: the listener's own title
    tls: ClientTls | None = None  # None: plain DICOM
    send: tuple[Literal["sr", "sc", "seg", "gsps", "pdf", "kos"], ...] = ("sc", "sr")
    # how outlines of volumes are written: yes or no for each voxel, or probabilities
    seg_form: Literal["binary", "fractional"] = "binary"
    # auto: the newest that it accepts; one of the three: that one only
    sr_class: Literal["auto", "comprehensive_3d", "comprehensive", "enhanced"] = "auto"
    # Results wait so long until the images they speak of are known to be there: by C-FIND, by what we stored
    # there or what came from there, by storage commitment. Then they are dead letters, until that is known.
    wait_for_images_seconds: float = Field(300, ge=0)  # 0: as `assume`
    # assume: for a PACS that can say nothing; results go at once, and the trail says so
    images: Literal["known", "assume"] = "known"
    commitment: bool = False  # ask it for storage commitment, and send again what it does not hold
    commitment_wait_seconds: float = Field(600, gt=0)  # without a report for so long: it is asked again


class DicomwebDestination(_Destination):
    """A PACS or archive that takes STOW-RS."""

    kind: Literal["dicomweb"]
    url: AnyHttpUrl  # base of its DICOMweb services: `/studies` follows
    auth: Auth = Auth()
    tls: ClientTls | None = None  # None: https is checked against the system's authorities
    send: tuple[Literal["sr", "sc", "seg", "gsps", "pdf", "kos"], ...] = ("sc", "sr")
    # how outlines of volumes are written: yes or no for each voxel, or probabilities
    seg_form: Literal["binary", "fractional"] = "binary"
    sr_class: Literal["auto", "comprehensive_3d", "comprehensive", "enhanced"] = "auto"
    # Results wait so long until the images they speak of are known to be there, as above; here by QIDO-RS.
    wait_for_images_seconds: float = Field(300, ge=0)  # 0: as `assume`
    images: Literal["known", "assume"] = "known"

    _auth = field_validator("auth")(not_smart)


class FhirDestination(_Destination):
    """An EMR that takes FHIR R4 transactions."""

    kind: Literal["fhir"]
    url: AnyHttpUrl  # base URL, without a trailing Bundle
    auth: Auth = Auth()
    tls: ClientTls | None = None  # None: https is checked against the system's authorities
    unread_status: Literal["partial", "preliminary"] = "partial"  # of a report that nobody has read
    patient_identifier_system: str | None = None  # None: IssuerOfPatientID, or the site's own
    # A Task with each result that asks a radiologist to confirm it; completed by the signature
    review_task: bool = True
    # Look the patient up there first: two of name, birth date and sex must be those of the study. Needs the
    # right to search Patient.
    compare_patient: bool = False
    # imr: signed reports only, as IHE IMR wants them [RAD-141]: report and study, the words as HTML and PDF
    content: Literal["full", "imr"] = "full"


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
    # Link to the page as PDF, sent in OBX where the page itself is not in the message. Empty: none.
    pdf_url: str = Field("", pattern=r"^(https?://[^\s{}]*\{study_instance_uid\}[^\s{}]*)?$")
    # The page as PDF in the message, when it is no larger (before base64); 0: never. Many engines cap them.
    pdf_maximum_bytes: int = Field(0, ge=0)


class FolderDestination(_Destination):
    """A folder that gets one subfolder a report."""

    kind: Literal["folder"]
    path: Path
    # (): for forwarded images only
    send: tuple[Literal["sr", "sc", "seg", "fhir"], ...] = ("sc", "sr", "fhir")


AnyDestination = DicomDestination | DicomwebDestination | FhirDestination | Hl7Destination | FolderDestination
Destination = Annotated[AnyDestination, Field(discriminator="kind")]
