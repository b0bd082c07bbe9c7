"""The `sima` command."""
