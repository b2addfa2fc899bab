"""Tables of what lies between us and other systems: whose record a report goes to, codes of the site."""

from __future__ import annotations

import sqlalchemy as sa

from hoichan.adapters.schema import UtcDateTime, metadata

_UID = sa.String(64)

# A person said which patient of an EMR a study's report belongs to. It counts for that study as long as the
# report names the same number: whose study it is may be corrected later.
patient_matches = sa.Table(
    "patient_matches",
    metadata,
    sa.Column("destination", sa.String(64), primary_key=True),
    sa.Column("study_instance_uid", _UID, primary_key=True),
    sa.Column("subject_sha256", sa.String(64), nullable=False),  # of the reference that was not resolved
    sa.Column("reference", sa.String(80), nullable=False),  # e.g. "Patient/123"
    sa.Column("who", sa.String(64), nullable=False),
    sa.Column("at", UtcDateTime, nullable=False),
)

# Names of jobs towards other systems (UPS, FHIR Task), and who took one away from us. How a job stands is
# told by `revisions`; only what is known nowhere else is here.
workitems = sa.Table(
    "workitems",
    metadata,
    sa.Column("workitem_uid", _UID, primary_key=True),
    sa.Column("study_instance_uid", _UID, nullable=False),
    sa.Column("revision", sa.Integer, nullable=False),
    sa.Column("run", sa.Integer, nullable=False),
    sa.Column("claimed_by", sa.String(64)),
    sa.Column("transaction_uid", _UID),  # the lock of who claimed it; never told
    sa.Column("touched_at", UtcDateTime, index=True),  # last word of who claimed it
    sa.Column("progress", sa.Integer),  # percent, as he said
    sa.Column("final", sa.String(16)),  # COMPLETED | CANCELED, by him
    sa.Index("ix_workitems_job", "study_instance_uid", "revision", "run", unique=True),
)

# Code tables of the site, as they were loaded from CSV. A load adds a version; what counted on a day long ago
# still does.
site_codes = sa.Table(
    "site_codes",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True, autoincrement=True),
    sa.Column("code_table", sa.String(16), nullable=False),  # service | indicator | icd10
    sa.Column("load_sha256", sa.String(64), nullable=False),  # of the file
    sa.Column("loaded_at", UtcDateTime, nullable=False),
    sa.Column("code", sa.String(50), nullable=False),
    sa.Column("display", sa.Text, nullable=False),
    sa.Column("valid_from", sa.Date),
    sa.Column("valid_until", sa.Date),  # the last day
    sa.Column("usable", sa.Boolean, nullable=False),  # False: a more specific code has to be used
    sa.Column("finding_key", sa.String(64)),  # of `hoichan.codes.FINDINGS`; or "modality/region" of a service
    sa.Column("verified_by", sa.String(128)),  # who answers for the row; NULL: nobody, it is not used
    sa.Index("ix_site_codes_code_table_code", "code_table", "code"),
)
