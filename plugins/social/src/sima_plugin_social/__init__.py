"""Facebook and Instagram comments for Sima."""
