"""Which spool this is: a random name in `spool/identity`, made once; who shares the folder shares it."""

from __future__ import annotations

import os
import uuid
from contextlib import suppress
from pathlib import Path

from hoichan.adapters.objects_disk import sync_folder
from hoichan.errors import RecordsUnavailable

FILE = "identity"


def identity_of(spool_dir: Path) -> str:
    """32 hexadecimal digits, the same for ever. Raises RecordsUnavailable where the disk says no."""
    place = spool_dir / FILE
    try:
        with suppress(FileNotFoundError):
            return place.read_text(encoding="ascii")
        draft = spool_dir / f"{FILE}.{uuid.uuid4().hex}"
        with draft.open("x", encoding="ascii") as file:
            file.write(uuid.uuid4().hex)
            file.flush()
            os.fsync(file.fileno())
        with suppress(FileExistsError):  # another was first
            place.hardlink_to(draft)
        draft.unlink()
        sync_folder(spool_dir)
        return place.read_text(encoding="ascii")
    except (OSError, UnicodeDecodeError) as error:
        raise RecordsUnavailable("The spool's name cannot be read.") from error
