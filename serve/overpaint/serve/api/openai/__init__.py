"""OpenAI's image edits."""
