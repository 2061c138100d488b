"""The HTTP side: the API, the callback endpoint, and what stands around them."""
