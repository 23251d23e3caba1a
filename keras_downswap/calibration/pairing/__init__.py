"""Which tensors and layers of the new model stand for which of the original."""
