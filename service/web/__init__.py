"""The reading room: pages that are made on the server, in Vietnamese and English."""
