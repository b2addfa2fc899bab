"""From a study to findings: which model fits, what its pixels are, what it says and where.

Pure but for reading files: `selection`, `imaging`, `gate`, `findings`, `evidence`, `manifests`. Runs are the `Runner`'s.
"""
