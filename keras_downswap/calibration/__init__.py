"""Fits what a swap only approximates to what the old model computes, from inputs without labels."""
