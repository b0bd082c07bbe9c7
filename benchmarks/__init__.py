"""What `make bench` runs; `python -m benchmarks --list` names them."""
