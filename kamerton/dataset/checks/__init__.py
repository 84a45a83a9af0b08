"""The checks: a small function each, by theme."""
