"""Reports written out whole: as CSV, NDJSON or Parquet, by a process of their own or by a command."""
