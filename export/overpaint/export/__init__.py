"""Checkpoint -> bundle, with torch. Nobody imports it but its own command."""
