"""The forms a report is written in: DICOM SR and Secondary Capture, FHIR R4.

Pure: no file, no socket, no clock. `hoichan.encoding.sr` and `hoichan.encoding.sc` import highdicom, which
takes a second: import them where they are used.
"""

from __future__ import annotations
