"""Classes of models."""

from __future__ import annotations

from typing import Any

from support.zoo.trap import COPIED, SQUARE, pair, trap


@trap(COPIED)
def subclass_with_the_stock_constructor(K: Any, L: Any) -> Any:
    class Trainer(K.Model):  # type: ignore[misc, name-defined]
        def train_step(self, *args: Any, **kwargs: Any) -> Any:
            return super().train_step(*args, **kwargs)

    i = K.Input(SQUARE)
    return Trainer(i, pair(L, i))


@trap(COPIED)
def attributes_of_the_users_own(K: Any, L: Any) -> Any:
    class Trainer(K.Model):  # type: ignore[misc, name-defined]
        pass

    i = K.Input(SQUARE)
    model = Trainer(i, pair(L, i))
    model.factor, model.labels = 0.25, {"cat": 0, "dog": [1]}
    model.tracker = K.metrics.Mean(name="tracked")
    return model


@trap(COPIED)
def subclass_with_a_constructor_like_the_stock_one(K: Any, L: Any) -> Any:
    class Three(K.Model):  # type: ignore[misc, name-defined]
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            super().__init__(*args, **kwargs)
            self.factor = 0.5

    class Two(K.Model):  # type: ignore[misc, name-defined]
        def __init__(
            self, inputs: Any, outputs: Any, name: Any = None, trainable: bool = True, **kwargs: Any
        ) -> None:
            super().__init__(inputs, outputs, name=name, trainable=trainable, **kwargs)
            self.factor = 0.5

    i = K.Input(SQUARE)
    return (Three if K.__name__ == "keras" else Two)(i, pair(L, i))


@trap(COPIED)
def subclass_of_sequential(K: Any, L: Any) -> Any:
    class Stack(K.Sequential):  # type: ignore[misc, name-defined]
        pass

    return Stack([K.Input(SQUARE), L.Conv2D(4, 3), L.MaxPooling2D(2)])


@trap(COPIED, loses=True)
def subclass_with_a_constructor_of_its_own(K: Any, L: Any) -> Any:
    class Network(K.Model):  # type: ignore[misc, name-defined]
        def __init__(self, filters: int) -> None:
            i = K.Input(SQUARE)
            super().__init__(i, pair(L, i, filters=filters))
            self.filters = filters

    return Network(4)


@trap()
def subclassed_model_inside(K: Any, L: Any) -> Any:
    class Inner(K.Model):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.pool = L.Conv2D(4, 3), L.MaxPooling2D(2)

        def call(self, x: Any) -> Any:
            return self.pool(self.conv(x))

    i = K.Input(SQUARE)
    return i, L.Dense(3)(Inner()(i))


@trap(COPIED)
def sequential_stays_sequential(K: Any, L: Any) -> Any:
    return K.Sequential(
        [K.Input(SQUARE), L.Conv2D(4, 3), L.ReLU(), L.MaxPooling2D(2), L.Flatten(), L.Dense(3)]
    )


@trap(COPIED)
def compiled(K: Any, L: Any) -> Any:
    i = K.Input(SQUARE)
    model = K.Model(i, L.Dense(2)(L.Flatten()(pair(L, i))))
    model.compile(
        K.optimizers.Adam(0.003, beta_1=0.8), loss="mse", metrics=["mae"], loss_weights=[0.5]
    )
    return model


@trap(COPIED)
def no_weights_beside(K: Any, L: Any) -> Any:
    i = K.Input(SQUARE)
    return i, L.Permute((2, 1, 3))(L.Reshape((8, 8, 4))(pair(L, i)))
