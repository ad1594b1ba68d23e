"""One folder a venue: its wire schema, its decoder, its requests."""
