"""Measurements that print ratios; both sides run interleaved in one process run."""
