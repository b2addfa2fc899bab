"""The worker as a process of its own: what `hoichan work` does, without loading the other commands."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from hoichan.adapters import logs
from hoichan.errors import ConfigurationError, HoichanError, ManifestInvalid
from hoichan.settings import load
from service import worker
from service.processes import stop_event

FAILED, USED_WRONGLY = 1, 2  # exit codes (DESIGN §4)


def main(argv: Sequence[str] | None = None) -> int:
    """Work until told to stop; the exit code."""
    options = _options(argv)
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


def _options(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="hoichan work", description="Score studies and deliver reports.")
    parser.add_argument("--config", type=Path, help="configuration file (TOML)")
    parser.add_argument("--data-dir", type=Path, help="where everything is kept")
    parser.add_argument("--stdin-lifeline", action="store_true", help="end when standard input closes")
    parser.add_argument("--ready-file", type=Path, help="written once it works")
    return parser.parse_args(argv)


if __name__ == "__main__":
    raise SystemExit(main())
