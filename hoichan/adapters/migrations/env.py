"""Runs migrations on the connection that `hoichan.adapters.database.migrate` opened."""

from __future__ import annotations

from alembic import context

from hoichan.adapters import (  # noqa: F401  their tables belong to the metadata
    schema_access,
    schema_audit_feed,
    schema_front_door,
    schema_governance,
    schema_insurance,
    schema_notices,
    schema_opinions,
    schema_orders,
    schema_receivers,
    schema_retention,
    schema_reviews,
    schema_routing,
    schema_set_aside,
    schema_sources,
    schema_tokens,
    schema_ups,
    schema_vitals,
    schema_volumes,
    schema_work,
    schema_worklists,
)
from hoichan.adapters.schema import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    render_as_batch=True,
    transaction_per_migration=False,
)
with context.begin_transaction():
    context.run_migrations()
