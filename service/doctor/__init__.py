"""Looks whether what the service assumes of where it runs is so; each check is a small function."""
