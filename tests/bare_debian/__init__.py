"""The operators' page, followed to the letter in a bare Debian: `make bare-debian`, as root."""
