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
        entity = AE(ae_title="PACS")
        entity.supported_contexts = StoragePresentationContexts
        self._server = entity.start_server(
            ("127.0.0.1", 0), block=False, evt_handlers=[(evt.EVT_C_STORE, self._store)]
        )
        self.port = self._server.server_address[1]

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
"""

    def close(self):
        self._server.shutdown()
