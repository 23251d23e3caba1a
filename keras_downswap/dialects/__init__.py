"""The two Kerases, and nothing else: what differs, their private names, their versions."""

from __future__ import annotations

from keras_downswap.dialects.installed import dialect_of
from keras_downswap.dialects.reading import read_model

__all__ = ["dialect_of", "read_model"]
