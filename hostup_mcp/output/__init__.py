"""Making text from a machine fit to be shown: cleaning and windows."""
