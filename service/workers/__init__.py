"""What runs by itself, in threads of the web process."""
