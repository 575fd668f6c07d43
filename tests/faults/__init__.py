"""Everything that can go wrong between the server and the guest, and what must still be true.

A proxy of our own stands between a real server process and the sandbox, whose guest is a real
qemu-ga. Every command appends its id to a file in the guest, so that a second run would be seen.
`python -m tests.faults` prints what became of the whole matrix.
"""
