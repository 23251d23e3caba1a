"""The command `demo`."""

from __future__ import annotations

from keras_downswap.cli.messages import out
from keras_downswap.dialects.quiet_import import import_quietly


def demo() -> None:
    """Swap a small trained model that comes with the package, and show what that changes."""
    # Only here: the other commands need neither the images nor the model.
    from keras_downswap.demo.run import demonstrate

    import_quietly("keras")
    demonstrate(out)
