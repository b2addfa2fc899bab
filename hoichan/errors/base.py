"""The root of all errors, and those of settings and of the audit log."""

from __future__ import annotations


class HoichanError(Exception):
    """Unexpected error."""

    code = "hoichan"
    retryable = False

    def __init__(self, message: str | None = None) -> None:
        super().__init__(message or (type(self).__doc__ or "").strip())


class ConfigurationError(HoichanError):
    """The configuration cannot be used."""

    code = "configuration"


class PortInUse(ConfigurationError):
    """The port is taken by another program."""

    code = "configuration.port_in_use"

    def __init__(self, role: str, host: str, port: int) -> None:
        super().__init__(
            f"Port {port} on {host} ({role}) is already in use: stop the other program or set another port."
        )


class StorageUnusable(ConfigurationError):
    """The data folder cannot be written."""

    code = "configuration.storage_unusable"


class AuditRecordInvalid(HoichanError):
    """The audit record does not say who did what and when."""

    code = "audit_record_invalid"
