"""Calibration inputs of any kind, as checked batches."""
