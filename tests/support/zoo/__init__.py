"""Small models, each named after the trap it lays; `model_zoo.ZOO` is the index."""
