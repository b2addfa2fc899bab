"""The network side of an association: what breaks it off ends the association, and not just this thread.

pynetdicom lets errors of its state machine and of reading a command end this thread alone. The peer would
then wait for an abort that nobody sends, and its studies would stay open until their cap.
"""

from __future__ import annotations

from contextlib import suppress
from typing import Any, cast

import structlog
from pynetdicom import evt
from pynetdicom.dul import DULServiceProvider
from pynetdicom.pdu import A_ABORT_RQ

log = structlog.get_logger()

_BY_PROVIDER, _NO_REASON = 2, 0  # PS3.8 table 9-26


class FilmProvider(DULServiceProvider):
    """Aborts when it breaks, and always tells that it has ended."""

    def run(self) -> None:
        """Until the association is over."""
        try:
            super().run()
        except Exception as error:  # noqa: BLE001 (outermost; the peer decides what is raised, and may quote a patient)
            log.warning(
                "association_broken", error=type(error).__name__, address=self.assoc.requestor.address
            )
            self._break_off()
        finally:
            cast(Any, self.socket).give_up()
            evt.trigger(self.assoc, evt.EVT_CONN_CLOSE, {"address": self.assoc.requestor.address})

    def _process_recv_primitive(self) -> bool:
        """What we want to say goes out when no helper has the connection: two messages must not mix."""
        return not cast(Any, self.socket).is_kept_from(self) and super()._process_recv_primitive()

    def _break_off(self) -> None:
        abort = A_ABORT_RQ()
        abort.source, abort.reason_diagnostic = _BY_PROVIDER, _NO_REASON
        if self.socket is not None:
            with suppress(OSError):
                self.socket.send(abort.encode())
            self.socket.close()
        self.assoc.is_aborted, self.assoc.is_established = True, False
        self.assoc._kill = True
        self._kill_thread = True
        cast(Any, self.to_user_queue).put(None)  # whoever waits for something from the peer
