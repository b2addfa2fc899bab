"""`python -P -m dicom_listener`."""

from __future__ import annotations

import sys

from dicom_listener.main import main

if __name__ == "__main__":
    sys.exit(main())
