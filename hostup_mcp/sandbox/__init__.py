"""A stand-in for HostUp's API on loopback, for trials and tests. It is not made by HostUp."""
