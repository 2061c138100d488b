"""`make bench`: how fast the callback door is beside a floor and beside the handler most people write."""
