"""Our own API, beside those of others: what they have no method for."""
