"""Helpers of a listener in threads of this process, for tests of what goes between the two."""

import socket
import threading
from contextlib import contextmanager

from dicom_listener.helper import serve
from dicom_listener.limits import Turns
from dicom_listener.processes import Helpers


@contextmanager
def helped(spool, *, margin=1, crowd=None):
    """One helper; with `margin` 1 it takes every association after its first object."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    thread = threading.Thread(target=serve, args=(theirs, lambda: spool, Turns(2)), daemon=True)
    thread.start()
    helpers = Helpers([ours], margin=margin, crowd=crowd)
    helpers.wake()
    try:
        yield helpers
    finally:
        helpers.close()
        thread.join(60)
        theirs.close()
