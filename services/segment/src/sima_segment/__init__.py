"""Who is in which segment, live."""
