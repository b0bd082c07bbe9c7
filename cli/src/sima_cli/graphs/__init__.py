"""The graph of a profile as people see it: in a terminal, and as a picture."""
