"""APIs that existing clients speak already, on the same job service."""
