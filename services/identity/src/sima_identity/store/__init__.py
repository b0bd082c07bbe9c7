"""Every query of the identity service, and nothing else."""
