"""Decides what may be sent: a command is parsed, judged, and rebuilt from the approved parse."""
