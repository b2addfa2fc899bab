"""A process that has imported a role's libraries and forks one at every order: it starts in milliseconds.

    python -m tests.chaos.zygote [house]

Without a word it forks listeners only, and holds no more than they need; `house` forks any role.
Orders come as lines of JSON on standard input, answers go to standard output:
    {"start": [arguments], "role": name, "environment": {...}, "log": path}  ->  the process id
    {"wait": process id}   ->  its exit status, as os.waitpid gives it
    {"ended": process id}  ->  1 when it has ended, 0 while it runs; ask no more once it was 1
"""

from __future__ import annotations

import argparse
import gc
import importlib
import json
import os
import pkgutil
import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from dicom_listener.main import main as listen

Roles = Mapping[str, Callable[[Sequence[str]], int]]


def every_role() -> Roles:
    """All that `hoichan` runs as a process of its own, with the libraries that it fetches later on."""
    import alembic.command  # noqa: F401
    import highdicom  # noqa: F401
    import onnxruntime  # noqa: F401
    import uvicorn.protocols.http.auto  # noqa: F401

    from hoichan import adapters, encoding
    from hoichan.adapters import logs
    from hoichan.settings import load
    from service import web_main, wiring, worker
    from service.processes import stop_event
    from service.status import status as figures

    for package in (adapters, encoding):
        for module in pkgutil.iter_modules(package.__path__, f"{package.__name__}."):
            with suppress(ImportError):  # of an extra that is not installed
                if not module.ispkg:
                    importlib.import_module(module.name)

    def work(arguments: Sequence[str]) -> int:
        chosen = _options(arguments)
        settings = load(chosen.config, data_dir=chosen.data_dir)
        logs.configure("work")
        worker.main(settings, stop=stop_event(), ready_file=chosen.ready_file)
        return 0

    def status(arguments: Sequence[str]) -> int:
        chosen = _options(arguments)
        print(json.dumps(figures(wiring.open_house(load(chosen.config, data_dir=chosen.data_dir)))))
        sys.stdout.flush()
        return 0

    return {"listen": listen, "web": web_main.main, "work": work, "status": status}


def _options(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    for word in ("--config", "--data-dir", "--ready-file"):
        parser.add_argument(word, type=Path)
    return parser.parse_args(arguments)


def _become(order: dict, role: Callable[[Sequence[str]], int]) -> None:
    null, log = (
        os.open(os.devnull, os.O_RDONLY),
        os.open(order["log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644),
    )
    os.dup2(null, 0)
    os.dup2(log, 1)
    os.dup2(log, 2)
    os.environ.update(order["environment"])
    try:
        status = role(order["start"])
    except SystemExit as ended:
        status = ended.code if isinstance(ended.code, int) else 1
    os._exit(status)


def _answer(order: dict, roles: Roles) -> int:
    if "wait" in order:
        return os.waitpid(order["wait"], 0)[1]
    if "ended" in order:
        return int(os.waitpid(order["ended"], os.WNOHANG)[0] != 0)
    pid = os.fork()
    if not pid:
        try:
            _become(order, roles[order.get("role", "listen")])
        except BaseException:  # noqa: BLE001  what a process that starts by itself would print
            sys.excepthook(*sys.exc_info())
        finally:
            os._exit(70)
    return pid


def serve(roles: Roles) -> None:
    """Until standard input ends: what runs then hangs on nobody, and is ended."""
    started: set[int] = set()
    gc.collect()
    gc.freeze()  # no process that is forked has to look at what was imported
    for line in sys.stdin:
        order = json.loads(line)
        answer = _answer(order, roles)
        if "start" in order:
            started.add(answer)
        elif "wait" in order or answer:
            started -= {order.get("wait"), order.get("ended")}
        sys.stdout.write(f"{answer}\n")
        sys.stdout.flush()
    for pid in started:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


if __name__ == "__main__":
    serve(every_role() if "house" in sys.argv[1:] else {"listen": listen})
