"""Whether everything that a command needs is in order, and what to do where it is not."""
