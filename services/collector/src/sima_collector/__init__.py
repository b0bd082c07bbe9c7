"""The HTTP door: hosts the connectors."""
