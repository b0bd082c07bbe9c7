"""The commands of `sima`, one module per group."""
