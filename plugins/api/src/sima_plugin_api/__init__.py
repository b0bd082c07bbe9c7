"""Server-side HTTP batch API for Sima."""
