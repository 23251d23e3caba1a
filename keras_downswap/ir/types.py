"""Types that several subpackages share."""

from __future__ import annotations

from typing import Any

from numpy.typing import NDArray

Array = NDArray[Any]
"""A NumPy array of any dtype; the docstrings say its shape."""
