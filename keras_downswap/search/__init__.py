"""Finds the cheapest form of each site within a limit on what may be lost."""
