"""A PACS that remembers every object it was given, by UID and by the bytes of its data set."""

import hashlib
import threading
from collections import defaultdict

from pynetdicom import AE, StoragePresentationContexts, evt


class Receiver:
    """Listens on a free port of the loopback from the moment it is made until `close`."""

    def __init__(self):
        self.seen = defaultdict(set)  # (study, SOP class, SOP instance) -> digests of what came under it
        self._lock = threading.Lock()
        self._entity = AE(ae_title="PACS")
        self._entity.supported_contexts = StoragePresentationContexts
        self.port = 0
        self.resume()
        self.port = self._server.server_address[1]

    def pause(self):
        """It is gone: nobody answers at its port."""
        self._server.shutdown()

    def resume(self):
        """It is back, with what it remembers."""
        self._server = self._entity.start_server(
            ("127.0.0.1", self.port), block=False, evt_handlers=[(evt.EVT_C_STORE, self._store)]
        )

    def _store(self, event):
        digest = hashlib.sha256(event.request.DataSet.getvalue()).hexdigest()
        found = event.dataset
        with self._lock:
            key = (str(found.StudyInstanceUID), str(found.SOPClassUID), str(found.SOPInstanceUID))
            self.seen[key].add(digest)
        return 0x0000

    def destination(self):
        return f"""
[[destinations]]
name = "pacs"
kind = "dicom"
host = "127.0.0.1"
port = {self.port}
ae_title = "PACS"
images = "assume"
"""

    def close(self):
        self._server.shutdown()
