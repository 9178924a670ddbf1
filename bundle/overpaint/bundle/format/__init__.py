"""The bundle format: its manifest, and reading, checking, inferring and writing bundles."""
