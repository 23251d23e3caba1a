"""Saved models: what wrote them, whether they are safe to load, reading and writing."""
