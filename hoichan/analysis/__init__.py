"""From a study to findings: which model fits, what its pixels are, what it says and where.

`selection`, `imaging`, `gate`, `findings`, `evidence` and `manifests` hold the rules; running a model is the
`Runner`'s work.
"""
