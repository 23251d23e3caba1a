"""The targets: what downsamples afterwards. One file a strategy, and one table of targets."""

from keras_downswap.planning.targets.admitted_rules import FORMS, METHODS, Form, Method
from keras_downswap.planning.targets.table import TARGETS, names_of_targets
from keras_downswap.planning.targets.target import Target

__all__ = [
    "FORMS",
    "METHODS",
    "TARGETS",
    "Form",
    "Method",
    "Target",
    "names_of_targets",
]
