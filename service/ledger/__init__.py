"""What happens: every write transaction begins here."""
