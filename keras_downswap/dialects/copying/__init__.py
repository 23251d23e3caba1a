"""How a layer and its state are copied, so that nothing is shared with the original."""
