"""The two Kerases, and nothing else: what differs between them, their private names and versions."""

from __future__ import annotations

from keras_downswap.dialects.installed import dialect_of
from keras_downswap.dialects.reading import read_model

__all__ = ["dialect_of", "read_model"]
