"""Tracking pixel for Sima: page views, identify calls, e-mail opens."""
