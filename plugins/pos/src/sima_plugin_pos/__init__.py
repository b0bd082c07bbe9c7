"""Point of sale for Sima: Shopify webhooks and transaction files."""
