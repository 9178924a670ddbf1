"""The bundle format, and sessions that run an engine. No torch: files, and functions on arrays."""
