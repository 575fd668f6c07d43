"""A HostUp-shaped API on loopback, for trying things out and for tests. Not HostUp's."""
