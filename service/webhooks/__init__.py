"""The only speaker to whoever is told of alerts."""
