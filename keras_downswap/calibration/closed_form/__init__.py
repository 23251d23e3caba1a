"""Fitting one layer at a time by least squares."""
