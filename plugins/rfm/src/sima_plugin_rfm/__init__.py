"""Recency, frequency and monetary scores for Sima's rules."""
