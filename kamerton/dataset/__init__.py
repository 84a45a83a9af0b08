"""Examples in, findings out; plain Python without torch."""
