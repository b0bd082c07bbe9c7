"""All that a connector or rule plugin for Sima needs."""
