"""A process that has imported the listener and forks one at every order: it starts in milliseconds.

Orders come as lines of JSON on standard input, answers go to standard output:
    {"start": [arguments], "environment": {...}, "log": path}  ->  the process id
    {"wait": process id}                                       ->  its exit status, as os.waitpid gives it
"""

from __future__ import annotations

import json
import os
import sys

from dicom_listener.main import main


def _become_a_door(order: dict) -> None:
    null, log = (
        os.open(os.devnull, os.O_RDONLY),
        os.open(order["log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644),
    )
    os.dup2(null, 0)
    os.dup2(log, 1)
    os.dup2(log, 2)
    os.environ.update(order["environment"])
    os._exit(main(order["start"]))


def serve() -> None:
    """Until standard input ends."""
    for line in sys.stdin:
        order = json.loads(line)
        if "wait" in order:
            _, answer = os.waitpid(order["wait"], 0)
        elif not (answer := os.fork()):
            try:
                _become_a_door(order)
            finally:
                os._exit(70)
        sys.stdout.write(f"{answer}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    serve()
