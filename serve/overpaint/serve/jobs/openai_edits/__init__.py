"""A job as a request of OpenAI's image edits, and what comes back.

request    what can be said of a job, and what cannot
answer     pictures that nobody here trusts, and how they came about
"""
