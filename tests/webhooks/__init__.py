"""The webhooks room."""
