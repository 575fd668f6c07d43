"""The official conformance suite, against our own server over Streamable HTTP.

`python -m tests.conformance` runs it for both revisions. It needs npm; `.ci/run` calls it.
"""
