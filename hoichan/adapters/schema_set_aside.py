"""The tables of what was set aside: objects that kill who reads them, and quarantine (0022, 0026)."""

from __future__ import annotations

import sqlalchemy as sa

from hoichan.adapters.schema import UtcDateTime, metadata

_UID = sa.String(64)
_SPOOL = sa.String(32)  # whose spool: `spool_identity.identity_of`

# Objects whose recording killed processes; they lie where they were filed, and are looked at no more.
set_aside = sa.Table(
    "set_aside",
    metadata,
    sa.Column("study_instance_uid", _UID, primary_key=True),
    sa.Column("sop_instance_uid", _UID, primary_key=True),  # "": the whole study
    sa.Column("spool", _SPOOL, nullable=False),
    sa.Column("code", sa.String(64), nullable=False),
    sa.Column("at", UtcDateTime, nullable=False),
    sa.Column("released_at", UtcDateTime),  # a person asked for another look
)

# What lies in quarantine, on every machine.
quarantined = sa.Table(
    "quarantined",
    metadata,
    sa.Column("spool", _SPOOL, primary_key=True),
    sa.Column("note", sa.String(128), primary_key=True),  # its file name in spool/quarantine
    sa.Column("reason", sa.String(64), nullable=False),
    sa.Column("sop_instance_uid", _UID, index=True),  # None: not told, or not a UID
    sa.Column("seen_at", UtcDateTime, nullable=False),
    # As its note says; NULL: an earlier version told of it, or wrote the note.
    sa.Column("received_at", UtcDateTime),
    sa.Column("study_instance_uid", _UID, index=True),  # NULL, too: it names none that could be read
    sa.Column("calling_ae_title", sa.String(64)),
    sa.Column("size_bytes", sa.BigInteger),  # of the data set
)
