"""The worker as a process of its own: what `hoichan work` does, without loading the other commands."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from hoichan.adapters import logs
from hoichan.errors import ConfigurationError, HoichanError, ManifestInvalid
from hoichan.settings import load
from service import worker
from service.processes import role_options, stop_event

FAILED, USED_WRONGLY = 1, 2  # exit codes (DESIGN §4)


def main(argv: Sequence[str] | None = None) -> int:
    """Work until told to stop; the exit code."""
    what = "Score studies and deliver reports."
    options = role_options(argv, role="work", what=what, ready="written once it works")
    try:
        settings = load(options.config, data_dir=options.data_dir)
        logs.configure("work")
        stop = stop_event(stdin_lifeline=options.stdin_lifeline)
        worker.main(settings, stop=stop, ready_file=options.ready_file)
    except (ConfigurationError, ManifestInvalid) as error:
        print(error, file=sys.stderr)
        return USED_WRONGLY
    except HoichanError as error:
        print(error, file=sys.stderr)
        return FAILED
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
