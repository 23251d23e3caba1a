"""Change how a Keras model downsamples: pools into strides and back, with shapes proven equal."""

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
from keras_downswap.files.io import load, save
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
    "load",
    "plan_swaps",
    "save",
    "swap_downsampling",
]
__version__ = "0.1.0"
