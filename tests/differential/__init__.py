"""What real shells run, compared with what was judged."""
