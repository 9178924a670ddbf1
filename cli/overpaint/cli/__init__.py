"""The command line, above all rooms: each command imports its room when it runs."""
