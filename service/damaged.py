"""Files of the spool that cannot be read any more: named on the trail of their study, never passed over.

They were whole when they were acknowledged, so the disk has lost something: a person has to have the image
sent again, which the trail is there to say. The file stays where it is.
"""

from __future__ import annotations

from collections.abc import Mapping

from hoichan.ports import Studies
from hoichan.types import SOPInstanceUID, StudyInstanceUID

EVENT = "file_damaged"


def tell_damaged(
    studies: Studies,
    study: StudyInstanceUID,
    damaged: Mapping[tuple[StudyInstanceUID, SOPInstanceUID], str],
) -> None:
    """A line for each damaged file of a study, once, also after a restart; later where none is recorded."""
    found = {instance: code for (uid, instance), code in damaged.items() if uid == study}
    if not found or studies.current(study) is None:
        return
    told = {line.details.get("instance") for line in studies.trail(study) if line.event == EVENT}
    for instance, code in sorted(found.items()):
        if instance not in told:
            studies.note(study, EVENT, instance=instance, code=code)
