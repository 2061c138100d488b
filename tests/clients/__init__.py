"""The API as others read it: clients that well-known generators make from nothing but its document."""
