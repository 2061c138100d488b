"""Starts SIPREC recording sessions on Telnyx, hears what becomes of each, and never forgets it."""
