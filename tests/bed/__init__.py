"""The test bed: a real PostgreSQL, the service under its real server, and a browser."""
