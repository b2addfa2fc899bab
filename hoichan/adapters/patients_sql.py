"""Whose study it is: what stands in `studies`, and what it is found by.

The patient of a study is that of its first images. Later images fill what was missing, and never replace:
another patient comes by a correction (`corrections_sql`), with its provenance, or not at all.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

import sqlalchemy as sa

from hoichan.adapters.person_rows import PERSON, person
from hoichan.adapters.rows import Row
from hoichan.adapters.schema import studies
from hoichan.adapters.search_sql import write_keys
from hoichan.adapters.sight import Sight
from hoichan.adapters.transactions import transaction
from hoichan.types import Patient, StudyInstanceUID

_THEIRS = (*PERSON, "patient_age_years", "accession_number")


def without_person(connection: sa.Connection, values: Mapping[str, object]) -> dict[str, object]:
    """The columns of a study that is on record already, with those of its person only where they fill a gap.

    Gaps are only filled by images of the same patient; the row is locked until the transaction ends.
    """
    before = (
        connection.execute(
            sa.select(studies)
            .where(studies.c.study_instance_uid == values["study_instance_uid"])
            .with_for_update()
        )
        .mappings()
        .one()
    )
    same = values["patient_id"] == before["patient_id"] or not before["patient_id"]
    fills = {name for name in _THEIRS if same and before[name] in (None, "") and values[name]}
    return {name: value for name, value in values.items() if name not in _THEIRS or name in fills}


def people_of(
    engine: sa.Engine, wanted: Collection[StudyInstanceUID], sight: Sight
) -> Mapping[StudyInstanceUID, Patient]:
    """Whose these studies are now; nothing of a study that is not seen. Raises RecordsUnavailable."""
    with transaction(engine) as connection:
        found = connection.execute(
            sa.select(studies).where(
                studies.c.study_instance_uid.in_(sorted(set(wanted))),
                *sight.narrow_by(studies.c.study_instance_uid),
            )
        ).mappings()
        return {StudyInstanceUID(row["study_instance_uid"]): person(row) for row in found}


def index_study(connection: sa.Connection, values: Mapping[str, object]) -> None:
    """Make a study found by the person and the numbers of these columns of `studies`."""
    numbers = (values.get(name) for name in ("patient_id", "national_id", "accession_number"))
    write_keys(
        connection,
        str(values["study_instance_uid"]),
        values["first_received_at"],
        names=[str(values["patient_name"])],
        numbers=[str(number) for number in numbers if number],
    )


def is_person_of(connection: sa.Connection, values: Mapping[str, object]) -> bool:
    """Whether the person and accession number of these columns are those that the study has now."""
    found: Row | None = (
        connection.execute(
            sa.select(*(studies.c[name] for name in _THEIRS))
            .where(studies.c.study_instance_uid == values["study_instance_uid"])
            .with_for_update()
        )
        .mappings()
        .one_or_none()
    )
    return found is None or all(found[name] == values[name] for name in _THEIRS)
