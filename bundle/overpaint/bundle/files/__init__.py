"""Files and folders: hashing, names that are safe, where a user's files are kept."""
