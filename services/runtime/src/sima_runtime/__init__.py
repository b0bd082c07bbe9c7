"""What every Sima service shares."""
