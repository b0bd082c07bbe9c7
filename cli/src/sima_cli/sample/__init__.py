"""The sample: made-up people, what every channel says about them, and the truth to compare with."""
