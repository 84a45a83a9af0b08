"""Other people's APIs over our verbs; the only place that knows a wire."""
