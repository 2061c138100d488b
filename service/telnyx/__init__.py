"""The only speaker of Telnyx: what is asked of it, and what it calls back."""
