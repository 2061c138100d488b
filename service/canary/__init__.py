"""A callback of our own, the canary: the key that marks it, and who sends it through PUBLIC_URL."""
