"""Least squares through an elementwise map: what can be reached is reached, and the start is never
made worse.
"""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from keras_downswap.calibration.closed_form import blas, nonlinear_ridge, normal_equations
from keras_downswap.calibration.closed_form.nonlinear_ridge import (
    RidgeThroughActivation,
    newton_targets,
)
from keras_downswap.calibration.closed_form.normal_equations import (
    conjugate_gradients,
    grouped_product,
)
from keras_downswap.ir.types import Array

SLOPES = np.array([1.5, -0.7, 2.0, -3.0], np.float32)
HOLDOUT_ROWS = 200


def identity(z: Array) -> Array:
    return z


def relu(z: Array) -> Array:
    return np.maximum(z, 0)


def affine(z: Array) -> Array:
    return z * SLOPES + 0.3


def relu_behind_affine(z: Array) -> Array:
    return relu(affine(z))


ACTIVATIONS = [identity, relu, affine, relu_behind_affine, np.tanh]
LEFT = {identity: 0.02, affine: 0.02, np.tanh: 0.25}
"""Share of the error at the start that a few steps may leave, where that is not 0.1."""


def drawn(
    groups: int = 1, rows: int = 1000, unknowns: int = 6, own: int = 4, seed: int = 0
) -> tuple[Array, ...]:
    """Return rows that are not centred, true weights, and a true bias."""
    rng = np.random.default_rng(seed)
    x = rng.normal(0.4, 1, (groups, rows, unknowns)).astype(np.float32)
    weights = (rng.normal(0, 1, (groups, unknowns, own)) / np.sqrt(unknowns)).astype(np.float32)
    return x, weights, rng.normal(0, 0.3, groups * own).astype(np.float32)


def problem(
    activation: Callable[[Array], Array] = identity,
    groups: int = 1,
    intercept: bool = True,
    away: float = 0.5,
    noise: float = 0.0,
    **size: int,
) -> tuple[RidgeThroughActivation, Array, Array]:
    """Return a problem whose goal some weights and bias reach, these, and a start that lies away
    from them.
    """
    x, weights, bias = drawn(groups, own=4 // groups, **size)
    rng = np.random.default_rng(1)
    goal = activation(grouped_product(x, weights) + bias)
    goal = goal + (noise * goal.std() * rng.normal(size=goal.shape)).astype(np.float32)
    start = weights + (away * rng.normal(size=weights.shape) * weights.std()).astype(np.float32)
    moved = bias + (np.float32(away * 0.3) if intercept else np.float32(0))
    return (
        RidgeThroughActivation(
            x, goal, activation, start, moved, intercept, min(HOLDOUT_ROWS, x.shape[1] // 5)
        ),
        weights,
        bias,
    )


def held_out(p: RidgeThroughActivation, weights: Array, bias: Array) -> float:
    """Return the error of a fit on held-out rows, in float64."""
    goal = p.goal[-p.holdout_rows :].astype(np.float64)
    sums = (
        np.einsum(
            "gnd,gdf->ngf", p.design[:, -p.holdout_rows :], weights, dtype=np.float64
        ).reshape(goal.shape)
        + bias
    )
    return float(
        ((p.activation(sums) - goal) ** 2).sum() / (((goal - goal.mean(0)) ** 2).sum() or 1)
    )


# What can be reached


@pytest.mark.parametrize("groups", [1, 2, 4])
@pytest.mark.parametrize("intercept", [True, False])
def test_a_linear_map_is_found(groups: int, intercept: bool) -> None:
    p, weights, bias = problem(groups=groups, intercept=intercept)
    found = p.solve(ridges=(1e-9,))
    np.testing.assert_allclose(found.weights, weights, atol=2e-3)
    np.testing.assert_allclose(found.bias, bias, atol=2e-3)
    assert found.error < 1e-5 < 0.05 < found.start
    assert found.ridge == 1e-9


@pytest.mark.parametrize("groups", [1, 2, 4])
@pytest.mark.parametrize("intercept", [True, False])
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_the_ridges_that_are_the_default_reach_a_goal_nearly(
    activation: Callable[[Array], Array], groups: int, intercept: bool
) -> None:
    p, _, _ = problem(activation, groups, intercept)
    found = p.solve(rounds=6)
    assert found.error < LEFT.get(activation, 0.1) * found.start
    assert found.start > 0.05
    assert found.ridge in nonlinear_ridge.RIDGES
    assert (found.weights.dtype, found.bias.dtype) == (np.float32, np.float32)


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_a_small_ridge_reaches_a_goal_through_any_map(activation: Callable[[Array], Array]) -> None:
    p, weights, bias = problem(activation)
    found = p.solve(ridges=(1e-6,), rounds=41)
    assert found.error < 5e-3 < 0.05 < found.start
    np.testing.assert_allclose(found.weights, weights, atol=0.1)
    np.testing.assert_allclose(found.bias, bias, atol=0.1)


def test_several_ridges_are_tried_and_the_one_that_errs_least_is_kept() -> None:
    assert problem()[0].solve().ridge == min(nonlinear_ridge.RIDGES)
    p, _, _ = problem(away=0.02, noise=3.0, rows=60, unknowns=40)
    assert p.solve(ridges=(1e-6, 30.0)).ridge in (None, 30.0)


def test_a_bias_that_may_not_move_stays() -> None:
    x, weights, bias = drawn()
    start = np.zeros(4, np.float32)
    found = RidgeThroughActivation(
        x, grouped_product(x, weights) + bias, identity, weights + 1, start, False, HOLDOUT_ROWS
    ).solve()
    assert found.ridge is not None
    np.testing.assert_array_equal(found.bias, start)


def test_an_offset_alone_is_found() -> None:
    x, weights, bias = drawn()
    found = RidgeThroughActivation(
        x, grouped_product(x, weights) + bias + 3, identity, weights, bias, True, HOLDOUT_ROWS
    ).solve()
    np.testing.assert_allclose(found.bias, bias + 3, atol=1e-2)
    np.testing.assert_allclose(found.weights, weights, atol=1e-2)


def test_groups_are_fitted_each_for_itself() -> None:
    p, _, _ = problem(groups=2)
    both = p.solve(ridges=(1e-3,))
    for g, own in enumerate((slice(0, 2), slice(2, 4))):
        alone = RidgeThroughActivation(
            p.design[g : g + 1],
            p.goal[:, own],
            identity,
            p.weights[g : g + 1],
            p.bias[own],
            True,
            p.holdout_rows,
        ).solve(ridges=(1e-3,))
        np.testing.assert_allclose(both.weights[g], alone.weights[0], atol=1e-5)
        np.testing.assert_allclose(both.bias[own], alone.bias, atol=1e-5)


# What the start is worth


@pytest.mark.parametrize("noise", [0.0, 0.5, 3.0])
@pytest.mark.parametrize("rows", [20, 60, 1000])
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_a_fit_is_never_worse_than_the_start_on_held_out_rows(
    activation: Callable[[Array], Array], rows: int, noise: float
) -> None:
    for away in (0.0, 0.05, 1.0):
        p, _, _ = problem(activation, away=away, noise=noise, rows=rows, unknowns=15)
        found = p.solve()
        assert found.start == pytest.approx(held_out(p, p.weights, p.bias), rel=1e-3, abs=1e-9)
        assert found.error <= found.start
        assert held_out(p, found.weights, found.bias) <= found.error * 1.001 + 1e-9


@pytest.mark.parametrize("seed", range(5))
def test_the_start_is_kept_where_the_goal_is_noise(seed: int) -> None:
    x, weights, _ = drawn(rows=1000, unknowns=40, seed=seed)
    goal = np.random.default_rng(seed + 9).normal(size=(1000, 4)).astype(np.float32)
    start = 0.1 * weights
    found = RidgeThroughActivation(
        x, goal, identity, start, np.zeros(4, np.float32), True, 940
    ).solve()
    assert (found.ridge, found.error) == (None, found.start)
    assert found.weights is start


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_the_start_is_kept_where_it_is_perfect(activation: Callable[[Array], Array]) -> None:
    p, _, p.bias = problem(activation, away=0.0)
    found = p.solve()
    assert (found.ridge, found.error, found.start) == (None, 0.0, 0.0)
    assert found.weights is p.weights
    assert found.bias is p.bias


def test_a_ridge_draws_towards_the_start_and_not_to_zero() -> None:
    x, weights, bias = drawn(rows=10, unknowns=40)
    rng = np.random.default_rng(2)
    goal = grouped_product(x, weights) + bias + rng.normal(0, 1e-3, (10, 4)).astype(np.float32)
    for start in (weights, -weights):
        far = RidgeThroughActivation(x, goal, identity, start, bias, False, 4)
        moved = [far.solve(ridges=(ridge,)).weights - start for ridge in (1e-3, 1.0, 1e3)]
        sizes = [float(np.abs(move).max()) for move in moved]
        assert sizes[0] >= sizes[1] >= sizes[2]
        assert sizes[2] < 0.02
    near = RidgeThroughActivation(x, goal, identity, weights, bias, False, 4).solve()
    assert np.abs(near.weights - weights).max() < 0.01 < np.abs(weights).max()


def test_with_a_start_that_only_few_rows_contradict_what_they_do_not_see_stays() -> None:
    x, weights, bias = drawn(rows=400, unknowns=10)
    x[:, :, 5:] = 0
    start = weights.copy()
    start[:, :5] += 1
    found = RidgeThroughActivation(
        x, grouped_product(x, weights) + bias, identity, start, bias, True, 80
    ).solve()
    np.testing.assert_allclose(found.weights[:, :5], weights[:, :5], atol=0.05)
    np.testing.assert_array_equal(found.weights[:, 5:], weights[:, 5:])


# The same by other ways


@pytest.mark.parametrize("groups", [1, 3])
def test_conjugate_gradients_solve_what_numpy_solves(groups: int) -> None:
    rng = np.random.default_rng(0)
    root = rng.normal(size=(groups, 30, 12))
    matrix = root.transpose(0, 2, 1) @ root
    side = rng.normal(size=(groups, 12, 5))
    found = conjugate_gradients(lambda w: matrix @ w, side, tolerance=1e-10)
    np.testing.assert_allclose(found, np.linalg.solve(matrix, side), rtol=1e-6, atol=1e-9)


def test_conjugate_gradients_of_nothing_are_nothing() -> None:
    zero = np.zeros((2, 4, 3))
    np.testing.assert_array_equal(conjugate_gradients(lambda w: w, zero), zero)


@pytest.mark.parametrize("groups", [1, 2])
@pytest.mark.parametrize("intercept", [True, False])
@pytest.mark.parametrize("activation", [identity, relu])
def test_conjugate_gradients_agree_with_the_factors(
    monkeypatch: pytest.MonkeyPatch,
    activation: Callable[[Array], Array],
    intercept: bool,
    groups: int,
) -> None:
    p, _, _ = problem(activation, groups, intercept, noise=0.1)
    factorised = p.solve()
    monkeypatch.setattr(normal_equations, "MAX_UNKNOWNS_FACTORISED", 2)
    calls = []
    monkeypatch.setattr(
        normal_equations,
        "conjugate_gradients",
        lambda *a: calls.append(a) or conjugate_gradients(*a),
    )
    iterated = p.solve()
    assert calls
    assert iterated.ridge == factorised.ridge
    assert iterated.error == pytest.approx(factorised.error, rel=1e-2)
    np.testing.assert_allclose(iterated.weights, factorised.weights, atol=5e-3)
    np.testing.assert_allclose(iterated.bias, factorised.bias, atol=5e-3)


@pytest.mark.parametrize("factorised", [normal_equations.MAX_UNKNOWNS_FACTORISED, 2])
def test_a_wide_problem_is_solved_with_the_last_ridge_but_one(
    monkeypatch: pytest.MonkeyPatch, factorised: int
) -> None:
    p, _, _ = problem(noise=0.1)
    narrow = p.solve(ridges=(1e-1,))
    for module in (nonlinear_ridge, normal_equations):
        monkeypatch.setattr(module, "MAX_UNKNOWNS_FOR_RIDGE_CHOICE", 2)
    monkeypatch.setattr(normal_equations, "MAX_UNKNOWNS_FACTORISED", factorised)
    wide = p.solve()
    assert (wide.ridge, narrow.ridge) == (1e-1, 1e-1) == (nonlinear_ridge.RIDGES[-2],) * 2
    assert wide.error == pytest.approx(narrow.error, rel=1e-2)
    np.testing.assert_allclose(wide.weights, narrow.weights, atol=5e-3)
    np.testing.assert_allclose(wide.bias, narrow.bias, atol=5e-3)


def test_a_ridge_is_the_textbook_one_in_units_of_the_mean_of_the_diagonal() -> None:
    """For the identity one step is ridge regression on centred rows, drawn towards the start; at
    last on all rows.
    """
    p, _, _ = problem(noise=0.3, rows=300)
    found = p.solve(ridges=(0.3,))
    x, goal = (part.astype(np.float64) for part in (p.design[0], p.goal))
    centred = x - x.mean(0)
    rest = goal - (x @ p.weights[0] + p.bias)
    gram = centred.T @ centred
    moved = np.linalg.solve(
        gram + 0.3 * np.trace(gram) / 6 * np.eye(6), centred.T @ (rest - rest.mean(0))
    )
    np.testing.assert_allclose(found.weights[0], p.weights[0] + moved, atol=1e-3)
    np.testing.assert_allclose(found.bias, p.bias + rest.mean(0) - x.mean(0) @ moved, atol=1e-3)


# Degenerate problems


@pytest.mark.parametrize("intercept", [True, False])
@pytest.mark.parametrize("rows", ["as drawn", "constant", "zero", "one constant", "twice the same"])
@pytest.mark.parametrize("goal", ["as drawn", "constant", "zero"])
def test_constants_give_finite_numbers_and_no_harm(rows: str, goal: str, intercept: bool) -> None:
    for activation in ACTIVATIONS:
        p, _, _ = problem(activation, intercept=intercept)
        if rows in ("constant", "zero"):
            p.design = np.full_like(p.design, 0.7 if rows == "constant" else 0)
        elif rows == "one constant":
            p.design[..., 0] = 2
        elif rows == "twice the same":
            p.design[..., 1] = p.design[..., 0]
        if goal != "as drawn":
            p.goal = np.full_like(p.goal, 0.2 if goal == "constant" else 0)
        found = p.solve()
        for made in (found.weights, found.bias, found.error, found.start):
            assert np.isfinite(made).all()
        assert found.error <= found.start
        assert held_out(p, found.weights, found.bias) <= found.error * 1.001 + 1e-9


@pytest.mark.parametrize("rows", ["as drawn", "zero", "one constant", "twice the same"])
@pytest.mark.parametrize("goal", ["as drawn", "constant", "zero"])
def test_constants_do_no_harm_to_conjugate_gradients(
    monkeypatch: pytest.MonkeyPatch, rows: str, goal: str
) -> None:
    monkeypatch.setattr(normal_equations, "MAX_UNKNOWNS_FACTORISED", 2)
    for intercept in (True, False):
        test_constants_give_finite_numbers_and_no_harm(rows, goal, intercept)


@pytest.mark.parametrize("intercept", [True, False])
def test_rows_that_are_not_finite_leave_the_start(intercept: bool) -> None:
    p, _, _ = problem(intercept=intercept)
    p.design[0, 3, 2] = np.nan
    found = p.solve()
    assert found.ridge is None
    assert found.weights is p.weights


def test_a_kernel_of_512_channels_that_covers_a_pair_is_fitted_within_two_gibibytes() -> None:
    """4 x 4 x 512 unknowns, 512 MiB of rows: the rows, one matrix, and little besides."""
    unknowns, rows = 8192, 16384
    x = np.random.default_rng(0).standard_normal((1, rows, unknowns), np.float32)
    weights, bias = np.zeros((1, unknowns, 8), np.float32), np.zeros(8, np.float32)
    weights[0, :8] = np.eye(8)
    p = RidgeThroughActivation(
        x, x[0, :, :8] - 0.5 * x[0, :, 8:16], identity, weights, bias, True, 1024
    )
    tracemalloc.start()
    found = p.solve()
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert found.error < 0.1 < found.start
    assert x.nbytes + most < 1.25 * 2**30


def test_a_relu_that_is_dead_at_the_start_comes_to_life() -> None:
    x, weights, bias = drawn()
    p = RidgeThroughActivation(
        x, relu(grouped_product(x, weights) + bias), relu, weights, bias - 6, True, HOLDOUT_ROWS
    )
    assert not p.activation(grouped_product(x, weights) + bias - 6).any()
    found = p.solve(ridges=(1e-2,), rounds=21)
    assert found.error < 0.5 * found.start


# Parts


@given(
    groups=st.integers(1, 4),
    rows=st.integers(1, 6),
    unknowns=st.integers(1, 5),
    own=st.integers(1, 3),
    seed=st.integers(0, 9),
)
def test_times_is_a_product_for_each_group_with_its_filters_side_by_side(
    groups: int, rows: int, unknowns: int, own: int, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    x, w = whole(rng, groups, rows, unknowns), whole(rng, groups, unknowns, own)
    made = grouped_product(x, w)
    assert made.shape == (rows, groups * own)
    np.testing.assert_array_equal(made, np.einsum("gnd,gdf->ngf", x, w).reshape(rows, -1))


def whole(rng: np.random.Generator, *shape: int) -> Array:
    """Whole numbers, whose products and sums float32 holds exactly."""
    return rng.integers(-9, 9, shape).astype(np.float32)


@given(shape=st.tuples(*[st.integers(1, 9)] * 3), start=st.integers(0, 3), seed=st.integers(0, 9))
def test_products_are_those_of_numpy_of_parts_of_arrays_too(
    shape: tuple[int, int, int], start: int, seed: int
) -> None:
    rng, (n, d, f) = np.random.default_rng(seed), shape
    a, b = whole(rng, n, d + start)[:, start:], whole(rng, d, f)
    np.testing.assert_array_equal(blas.product(a, b), a @ b)
    c = whole(rng, n + start, f)[start:]
    np.testing.assert_array_equal(blas.transposed_product(a, c), a.T @ c)
    np.testing.assert_array_equal(np.triu(a.T @ a), blas.gram_matrix(a))
    np.testing.assert_array_equal(blas.column_sums(a), a.sum(0))


def test_sums_of_many_rows_are_exact_to_rounding() -> None:
    a = np.random.default_rng(0).uniform(0, 1, (100_000, 3)).astype(np.float32)
    np.testing.assert_allclose(blas.column_sums(a), a.sum(0, dtype=np.float64), rtol=1e-6)


@pytest.mark.parametrize("activation", [identity, affine])
def test_through_an_affine_map_the_goal_is_reached_at_once(
    activation: Callable[[Array], Array],
) -> None:
    rng = np.random.default_rng(0)
    z, goal = rng.uniform(-1, 1, (500, 4)), rng.uniform(-1, 1, (500, 4)).astype(np.float32)
    np.testing.assert_allclose(
        activation(newton_targets(activation, z, activation(goal))), activation(goal), atol=5e-3
    )


@given(seed=st.integers(0, 999), activation=st.sampled_from([np.tanh, relu, relu_behind_affine]))
def test_a_step_moves_towards_a_goal_near_by(
    seed: int, activation: Callable[[Array], Array]
) -> None:
    rng = np.random.default_rng(seed)
    z = rng.normal(size=(500, 4))
    goal = activation(z + 0.1 * rng.normal(size=z.shape))
    before, after = (np.abs(activation(v) - goal) for v in (z, newton_targets(activation, z, goal)))
    assert after.mean() < 0.35 * before.mean()
    assert (after <= before + 1e-3).mean() > 0.98


def test_where_the_map_is_flat_and_the_goal_lies_elsewhere_the_step_takes_the_usual_slope() -> None:
    z = np.linspace(-2, 2, 101)[:, None]
    dead = np.flatnonzero(z[:, 0] < -0.5)
    wanted = relu(z)
    wanted[dead] = 0.5
    moved = newton_targets(relu, z, wanted) - z
    np.testing.assert_allclose(moved[dead], 0.5, atol=1e-2)
    np.testing.assert_allclose(np.delete(moved, dead, 0), 0, atol=1e-3)
    down = newton_targets(lambda v: relu(-2 * v), -z, wanted) + z
    np.testing.assert_allclose(down[dead], -0.25, atol=1e-2)


def test_in_a_coarse_dtype_a_slope_is_measured_between_points_further_apart() -> None:
    """A bfloat16 has 8 bits: of points nearer than that one slope in two is zero, the other twice
    too large.
    """
    rng = np.random.default_rng(0)
    z = rng.normal(3, 1, (500, 4)).astype(np.float32)
    goal = z + 0.3

    def coarse(v: Array) -> Array:
        return v.astype(ml_dtypes.bfloat16).astype(np.float32)

    off = {
        step: float(np.abs(newton_targets(coarse, z, goal, step) - goal).mean())
        for step in (1e-3, 0.1)
    }
    assert off[0.1] < 0.03 < off[1e-3]


def test_no_step_is_wider_than_the_sums_are_spread() -> None:
    z = np.random.default_rng(0).normal(size=(100, 2))
    moved = newton_targets(identity, z, np.full((100, 2), 1e6)) - z
    np.testing.assert_allclose(moved, np.broadcast_to(4 * z.std(0), z.shape), atol=1e-3)
