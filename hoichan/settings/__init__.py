"""The settings of every process, read once from TOML and the environment.

`HOICHAN_SECTION__KEY` overrides a key of the file. Unknown keys are an error, and so are unsafe
values: nothing starts with a door open to the network and an empty list of senders.
"""

from hoichan.settings.access import Access, Facility, Oidc
from hoichan.settings.base import AeTitle, Port, Section, is_loopback
from hoichan.settings.destinations import (
    AnyDestination,
    Auth,
    Destination,
    DicomDestination,
    DicomwebDestination,
    FhirDestination,
    FolderDestination,
    Hl7Destination,
)
from hoichan.settings.forwarding import Forward, WithoutPerson
from hoichan.settings.listener import LOOPBACK_SENDERS, Listener, Sender
from hoichan.settings.loading import ENVIRONMENT_PREFIX, Settings, load
from hoichan.settings.models import Models, RemoteModel
from hoichan.settings.notices import AnyChannel, EmailChannel, WebhookChannel
from hoichan.settings.orders import Expectation, Orders, OrderSender, Worklist
from hoichan.settings.pades import Pades, SigningCertificate
from hoichan.settings.receivers import Credentials, Receivers
from hoichan.settings.retention import Retention, RetentionRule
from hoichan.settings.sources import (
    AnySource,
    DicomwebSource,
    DimseSource,
    OrthancSource,
    sender_title,
)
from hoichan.settings.storage import S3, Site, Storage
from hoichan.settings.tls import ClientTls, ServerTls
from hoichan.settings.web import Folder, Web
from hoichan.settings.work import Assembly, Work

__all__ = [
    "ENVIRONMENT_PREFIX",
    "LOOPBACK_SENDERS",
    "S3",
    "Access",
    "AeTitle",
    "AnyChannel",
    "AnyDestination",
    "AnySource",
    "Assembly",
    "Auth",
    "ClientTls",
    "Credentials",
    "Destination",
    "DicomDestination",
    "DicomwebDestination",
    "DicomwebSource",
    "DimseSource",
    "EmailChannel",
    "Expectation",
    "Facility",
    "FhirDestination",
    "Folder",
    "FolderDestination",
    "Forward",
    "Hl7Destination",
    "Listener",
    "Models",
    "Oidc",
    "OrderSender",
    "Orders",
    "OrthancSource",
    "Pades",
    "Port",
    "Receivers",
    "RemoteModel",
    "Retention",
    "RetentionRule",
    "Section",
    "Sender",
    "ServerTls",
    "Settings",
    "SigningCertificate",
    "Site",
    "Storage",
    "Web",
    "WebhookChannel",
    "WithoutPerson",
    "Work",
    "Worklist",
    "is_loopback",
    "load",
    "sender_title",
]
