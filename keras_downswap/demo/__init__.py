"""A small trained digit classifier and labelled digits for `keras-downswap demo`."""
