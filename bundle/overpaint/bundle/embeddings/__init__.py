"""Textual inversions: words whose vectors are a file's, as rows of the text encoders' tables."""
