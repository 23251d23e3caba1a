"""Change how a Keras model downsamples: pools into strides and back, weights moved, shapes proven equal."""

from keras_downswap.api import plan_swaps, swap_downsampling
from keras_downswap.calibration.calibrate import calibrate
from keras_downswap.calibration.report import CalibrationReport
from keras_downswap.errors import (
    BadRequest,
    BrokenPromise,
    DownswapError,
    FileRefused,
    NothingSwapped,
    SomethingLost,
    UnreadableModel,
    UnsupportedKeras,
    UntestedVersion,
)
from keras_downswap.plan import Plan
from keras_downswap.planning.sites import Site
from keras_downswap.report import Report

__all__ = [
    "BadRequest",
    "BrokenPromise",
    "CalibrationReport",
    "DownswapError",
    "FileRefused",
    "NothingSwapped",
    "Plan",
    "Report",
    "Site",
    "SomethingLost",
    "UnreadableModel",
    "UnsupportedKeras",
    "UntestedVersion",
    "calibrate",
    "plan_swaps",
    "swap_downsampling",
]
__version__ = "0.1.0"
