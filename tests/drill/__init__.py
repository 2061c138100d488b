"""Breaks the service on purpose while callbacks come, and counts what it kept. A stranger to all its code."""
