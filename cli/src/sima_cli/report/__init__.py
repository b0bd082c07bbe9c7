"""What the demo shows at its end: what arrived, who the people are, and how near that is to the truth."""
