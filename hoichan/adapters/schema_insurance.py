"""Numbers of health insurance (BHYT) that came to us as such, by the facility's number of the patient."""

from __future__ import annotations

import sqlalchemy as sa

from hoichan.adapters.schema import UtcDateTime, metadata

insurance_numbers = sa.Table(
    "insurance_numbers",
    metadata,
    sa.Column("patient_id", sa.Text, primary_key=True),
    sa.Column("issuer", sa.Text, primary_key=True),  # assigning authority; "" where none was named
    sa.Column("number", sa.Text, nullable=False),  # without separators
    sa.Column("message_key", sa.String(64), nullable=False),  # the message that said so last
    sa.Column("at", UtcDateTime, nullable=False),
)
