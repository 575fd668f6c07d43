"""Makes text from a machine fit to be shown: cleaning, redaction, windows."""
