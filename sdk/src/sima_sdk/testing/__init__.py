"""Contract suites: inherit one, give its fixtures, and every promise of the plugin API is tested."""
