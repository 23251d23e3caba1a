"""Turns what goes wrong because of a rule's answer into an error that names the rule."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from keras_downswap.dialects.copying.deep_copy import Uncopyable
from keras_downswap.errors import BrokenPromise, DownswapError
from keras_downswap.planning.sites import Site


@contextmanager
def naming_the_rule(site: Site, expected: str) -> Iterator[None]:
    """Name the rule of a site in whatever goes wrong.

    Args:
        site: The swapped site.
        expected: What its layers were expected to allow, in words that follow "expected layers".

    Raises:
        BrokenPromise: If a check fails, or Keras or a function of the rule raises an error.
    """
    try:
        yield
    except BrokenPromise as broken:
        raise BrokenPromise(f"the rule {site.rule} broke its promise: {broken}") from broken
    except (DownswapError, Uncopyable):
        raise
    except Exception as error:
        raise BrokenPromise(
            f"the rule {site.rule} broke its promise: {' + '.join(site.layers)}: expected layers "
            f"{expected}, received {type(error).__name__}: {error}. Nothing was returned or "
            "written; please correct the rule where it is your own."
        ) from error
