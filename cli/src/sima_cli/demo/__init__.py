"""The demo: a sample through every channel into a fresh Sima, what came of it, and one more purchase."""
