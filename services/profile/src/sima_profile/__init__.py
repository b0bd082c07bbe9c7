"""Facts, and the profiles folded from them."""
