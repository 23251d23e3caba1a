"""Training the new model end to end on what the original computes."""
