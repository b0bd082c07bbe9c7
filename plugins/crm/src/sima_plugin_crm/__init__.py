"""CRM contacts for Sima, from CSV."""
