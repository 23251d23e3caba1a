"""Builds the new model from a plan, and holds it to its promises."""
