"""Decides which rule takes which call of a model; builds nothing."""
