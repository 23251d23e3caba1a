"""Random stacks of convolutions and pools keep their shapes at every size, and every law, under every target."""

from dataclasses import dataclass, field
from typing import Any

import laws
import pytest
from hypothesis import given, note
from hypothesis import strategies as st
from model_zoo import randomised

from keras_downswap import swap_downsampling

TARGETS = ("strided_conv", "max_pool", "average_pool", "subsample")
RTOL = 1e-5
"""Of the largest output: a stack of three exact swaps in float32."""


@dataclass(frozen=True)
class Stack:
    """A random model in words: layers as (class, arguments), and the lengths at which it must work."""

    rank: int
    known: tuple[bool, ...]
    lengths: tuple[int, ...]
    layers: list[tuple[str, dict[str, Any]]] = field(default_factory=list)

    def build(self, K: Any) -> Any:
        shape = tuple(n if known else None for n, known in zip(self.lengths, self.known, strict=True))
        x = inputs = K.Input((*shape, 2))
        for kind, arguments in self.layers:
            x = getattr(K.layers, kind)(**arguments)(x)
        return K.Model(inputs, x)

    def samples(self, model: Any) -> list[Any]:
        """Return inputs at the smallest lengths, and some cells more along the unknown axes."""
        longest = max(self.lengths)
        lengths = (longest,) if all(self.known) else (longest, longest + 1, longest + 2, longest + 5)
        return [laws.sample_for(model, batch=1, length=n) for n in lengths]


def fitting(draw: st.DrawFn, lengths: list[int], most: int) -> tuple[int, ...]:
    """Draw a window size for each axis that fits its length."""
    return tuple(draw(st.integers(1, max(1, min(most, n)))) for n in lengths)


def shortened(lengths: list[int], spans: tuple[int, ...], strides: tuple[int, ...], padding: str) -> list[int]:
    """Return the output lengths, from the textbook formulas."""
    if padding == "valid":
        return [(n - k) // s + 1 for n, k, s in zip(lengths, spans, strides, strict=True)]
    return [-(-n // s) for n, s in zip(lengths, strides, strict=True)]


def convolution(draw: st.DrawFn, rank: int, lengths: list[int]) -> tuple[dict[str, Any], list[int]]:
    kernel = fitting(draw, lengths, 5 if rank < 3 else 3)
    strides = tuple(draw(st.sampled_from((1, 1, 1, 2, 3))) for _ in lengths)
    dilation = (1,) * rank
    if set(strides) == {1} and rank < 3 and draw(st.integers(0, 3)) == 0:  # the CPU has no dilated Conv3D
        dilation = tuple(draw(st.integers(1, max(1, (n - 1) // max(k - 1, 1)) if k > 1 else 1)) for n, k in zip(
            (min(n, 9) for n in lengths), kernel, strict=True))  # fmt: skip
    padding = draw(st.sampled_from(("valid", "same", "causal") if rank == 1 else ("valid", "same")))
    spans = tuple(d * (k - 1) + 1 for d, k in zip(dilation, kernel, strict=True))
    arguments = {
        "filters": draw(st.sampled_from((2, 4))),
        "kernel_size": kernel,
        "strides": strides,
        "dilation_rate": dilation,
        "padding": padding,
        "groups": draw(st.sampled_from((1, 1, 1, 2))) if rank == 2 else 1,
        "use_bias": draw(st.booleans()),
        "activation": draw(st.sampled_from((None, None, "relu", "tanh"))),
    }
    return arguments, shortened(lengths, spans, strides, padding)


BETWEEN: dict[str, dict[str, Any]] = {
    "BatchNormalization": {},
    "ReLU": {"max_value": 6.0},
    "Activation": {"activation": "sigmoid"},
    "Dropout": {"rate": 0.5},
}


@st.composite
def stacks(draw: st.DrawFn) -> Stack:
    rank = draw(st.sampled_from((1, 2, 2, 3)))
    lengths = [draw(st.integers(9, 40 if rank == 1 else 24 if rank == 2 else 13)) for _ in range(rank)]
    known = tuple(draw(st.lists(st.booleans(), min_size=rank, max_size=rank)))
    lengths = [n if fixed else max(lengths) for n, fixed in zip(lengths, known, strict=True)]
    stack = Stack(rank, known, tuple(lengths))
    for _ in range(draw(st.integers(1, 3))):
        arguments, lengths = convolution(draw, rank, lengths)
        stack.layers.append((f"Conv{rank}D", arguments))
        stack.layers.extend(
            (kind, BETWEEN[kind]) for kind in draw(st.lists(st.sampled_from(sorted(BETWEEN)), max_size=2))
        )
        size = fitting(draw, lengths, 4)
        strides = tuple(draw(st.integers(1, 3)) for _ in size)
        padding = draw(st.sampled_from(("valid", "same")))
        kind = draw(st.sampled_from(("MaxPooling", "AveragePooling")))
        stack.layers.append((f"{kind}{rank}D", {"pool_size": size, "strides": strides, "padding": padding}))
        lengths = shortened(lengths, size, strides, padding)
        if min(lengths) < 3:
            break
    return stack


@pytest.mark.filterwarnings("ignore::keras_downswap.NothingSwapped")
@given(stack=stacks())
def test_every_target_keeps_shapes_and_laws_of_random_stacks(K: Any, stack: Stack) -> None:
    old = randomised(stack.build)(K)
    samples = stack.samples(old)
    wanted = [laws.values(old, x) for x in samples]
    before = laws.snapshot_of(old)
    for to in TARGETS:
        new, report = swap_downsampling(old, to, return_report=True)
        note(str(report))
        laws.assert_same_boundary(old, new)
        laws.assert_nothing_shared(old, new)
        laws.assert_accounted(old, report)
        composed = [site.layers[0] for site in report.sites if "average_pool_into_kernel" in str(site.rule)]
        laws.assert_weights_kept(old, new, composed)
        for x, y in zip(samples, wanted, strict=True):
            assert [v.shape for v in laws.values(new, x)] == [v.shape for v in y]
        promises = {site.promise for site in report.sites if site.status == "swapped"}
        if promises == {"approximate", "exact"}:
            new = swap_downsampling(old, to, method="exact")
        if "exact" in promises:
            for x in samples:
                laws.assert_same_values(old, new, x, RTOL)
        laws.assert_idempotent(new, to) if promises != {"approximate", "exact"} else None
    laws.assert_untouched(before, old)
