"""Pictures that strangers send, and those that are sent back."""
