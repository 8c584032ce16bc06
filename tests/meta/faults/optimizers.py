"""Faults in optimizers."""

from __future__ import annotations

from typing import Any

import numpy as np

from shared_specs import Recipe

from .fault import FLAX, NUMPY, PYTORCH, SGD, Fault
from .planting import Altered, Trained

FIRST = "encoder.0.block.0.conv.weight"
ADAM = Recipe.named("adam")
DECAYED = Recipe.named("adamw", weight_decay=0.1)
NESTEROV = Recipe.named("sgd", nesterov=True)


def every_time_loaded(model: Any, change: Any) -> None:
    """Change the optimizer whenever it is made, which is when weights are loaded."""
    load = model.load_weights

    def load_weights(weights: Any) -> None:
        load(weights)
        change(model)

    model.load_weights = load_weights
    change(model)


def numpy_adam(formula: Any) -> Altered:
    """Another formula for the step of Adam: (settings, w, m, v, t) to w."""

    def change(model: Any) -> None:
        optimizer, chosen = model.optimizer, model.recipe.optimizer

        def step(name: str, w: np.ndarray, g: np.ndarray) -> np.ndarray:
            first, second = f"first_moment/{name}", f"second_moment/{name}"
            m = optimizer.state[first] = chosen.beta1 * optimizer.state[first] + (1 - chosen.beta1) * g
            v = optimizer.state[second] = chosen.beta2 * optimizer.state[second] + (1 - chosen.beta2) * g * g
            return formula(chosen, w, m, v, optimizer.step_count)

        optimizer._adam = step

    return Altered({"numpy_reference": lambda model: every_time_loaded(model, change)})


def epsilon_in_root(a: Any, w: Any, m: Any, v: Any, t: int) -> Any:
    unbiased = m / (1 - a.beta1**t), v / (1 - a.beta2**t)
    return w - a.learning_rate * unbiased[0] / np.sqrt(unbiased[1] + a.epsilon)


def no_correction(a: Any, w: Any, m: Any, v: Any, t: int) -> Any:
    return w - a.learning_rate * m / (np.sqrt(v) + a.epsilon)


def a_step_ahead(a: Any, w: Any, m: Any, v: Any, t: int) -> Any:
    return w - a.learning_rate * (m / (1 - a.beta1 ** (t + 1))) / (np.sqrt(v / (1 - a.beta2 ** (t + 1))) + a.epsilon)


def pytorch_groups(**options: Any) -> Altered:
    """Options of the optimizer of PyTorch that no recipe knows."""

    def change(model: Any) -> None:
        for group in model.optimizer.param_groups:
            group.update(options)

    return Altered({"pytorch": lambda model: every_time_loaded(model, change)})


def before_each_step(hook: Any) -> Altered:
    """A hook (optimizer, its count of steps so far) of PyTorch."""

    def change(model: Any) -> None:
        steps = iter(range(1000))
        model.optimizer.register_step_pre_hook(lambda optimizer, args, kwargs: hook(optimizer, next(steps)))

    return Altered({"pytorch": lambda model: every_time_loaded(model, change)})


def forget_state(optimizer: Any, steps: int) -> None:
    optimizer.state.clear()


def lower_rate(optimizer: Any, steps: int) -> None:
    if steps == 2:
        for group in optimizer.param_groups:
            group["lr"] *= 0.999


def step_ahead(optimizer: Any, steps: int) -> None:
    """The counter starts at 1."""
    if steps == 0:
        import torch

        for group in optimizer.param_groups:
            for parameter in group["params"]:
                zeros = {"exp_avg": torch.zeros_like(parameter), "exp_avg_sq": torch.zeros_like(parameter)}
                optimizer.state[parameter] = {"step": torch.tensor(1.0)} | zeros


def left_out(model: Any) -> None:
    """One parameter is not handed to the optimizer."""
    group = model.optimizer.param_groups[0]
    missing = model.module.get_parameter("decoder.0.up.weight")
    group["params"] = [parameter for parameter in group["params"] if parameter is not missing]


def no_decay_of_biases(model: Any) -> None:
    group = model.optimizer.param_groups[0]
    biases = [parameter for parameter in group["params"] if parameter.ndim == 1]
    group["params"] = [parameter for parameter in group["params"] if parameter.ndim > 1]
    model.optimizer.add_param_group({"params": biases, "weight_decay": 0.0})


def half_state(model: Any) -> None:
    """The momentum is kept in float32."""
    model.optimizer.register_step_post_hook(
        lambda optimizer, args, kwargs: [
            state["momentum_buffer"].copy_(state["momentum_buffer"].float()) for state in optimizer.state.values()
        ]
    )


def uncorrected(model: Any) -> None:
    import optax

    chosen = model.recipe.optimizer
    inner = optax.chain(optax.scale_by_adam(chosen.beta1, chosen.beta2, chosen.epsilon))

    def update(gradients: Any, state: Any, parameters: Any = None) -> Any:
        import jax

        updates, state = inner.update(gradients, state, parameters)
        t = state[0].count
        factor = (1 - chosen.beta1**t) / (1 - chosen.beta2**t) ** 0.5
        return jax.tree.map(lambda u: -chosen.learning_rate * factor * u, updates), state

    model.optimizer = optax.GradientTransformation(inner.init, update)


def root_epsilon_flax(model: Any) -> None:
    import optax

    chosen = model.recipe.optimizer
    model.optimizer = optax.adam(chosen.learning_rate, chosen.beta1, chosen.beta2, eps=0.0, eps_root=chosen.epsilon)


def in_pytorch(change: Any) -> Altered:
    return Altered({"pytorch": lambda model: every_time_loaded(model, change)})


def in_flax(change: Any) -> Altered:
    """Flax keeps its optimizer; loading weights makes the state anew."""

    def both(model: Any) -> None:
        change(model)
        model.load_weights(model.weights())

    return Altered(dict.fromkeys(FLAX, both))


SECOND_STEP = "the momentum of the first step is its gradient, whatever weighs the older one"

FAULTS = [
    Fault("learning rate off by 0.1%", Trained(Recipe.named("sgd", learning_rate=0.01001)), "optimizer", FIRST),
    Fault(
        "learning rate of Adam off by 0.1%",
        Trained(Recipe.named("adam", learning_rate=1.001e-3)),
        "optimizer",
        FIRST,
        NUMPY + PYTORCH,
        recipe=ADAM,
    ),
    Fault(
        "momentum 0.99 instead of 0.9",
        Trained(Recipe.named("sgd", momentum=0.99)),
        "trajectory",
        f"step 2: {FIRST}",
        because=SECOND_STEP,
    ),
    Fault("Nesterov dropped", Trained(SGD), "optimizer", FIRST, recipe=NESTEROV, backends=NUMPY + PYTORCH),
    Fault("Nesterov where none is", Trained(NESTEROV), "optimizer", FIRST, NUMPY + PYTORCH),
    Fault(
        "momentum dampened",
        pytorch_groups(dampening=0.1),
        "trajectory",
        f"step 2: {FIRST}",
        PYTORCH,
        because="PyTorch dampens from the second step on",
    ),
    Fault(
        "weight decay dropped",
        Trained(SGD),
        "optimizer",
        FIRST,
        NUMPY + PYTORCH,
        recipe=Recipe.named("sgd", weight_decay=1e-4),
    ),
    Fault(
        "weight decay coupled instead of decoupled",
        Trained(Recipe.named("adam", weight_decay=0.1)),
        "optimizer",
        FIRST,
        recipe=DECAYED,
    ),
    Fault(
        "biases and norms not decayed",
        in_pytorch(no_decay_of_biases),
        "optimizer",
        "encoder.0.block.0.conv.bias",
        PYTORCH,
        recipe=DECAYED,
    ),
    Fault("epsilon of Adam in the root", numpy_adam(epsilon_in_root), "optimizer", FIRST, NUMPY, recipe=ADAM),
    Fault(
        "epsilon of Adam in the root, as optax's eps_root",
        in_flax(root_epsilon_flax),
        "optimizer",
        FIRST,
        FLAX,
        recipe=ADAM,
    ),
    Fault("bias correction missing", numpy_adam(no_correction), "optimizer", FIRST, NUMPY, recipe=ADAM),
    Fault("bias correction missing, in Flax", in_flax(uncorrected), "optimizer", FIRST, FLAX, recipe=ADAM),
    Fault("bias correction a step ahead", numpy_adam(a_step_ahead), "optimizer", FIRST, NUMPY, recipe=ADAM),
    Fault(
        "step counter off by one",
        before_each_step(step_ahead),
        "optimizer",
        FIRST,
        PYTORCH,
        recipe=ADAM,
        because="the correction of the moments is a step ahead, and weights come before the counter",
    ),
    Fault(
        "beta1 0.8 instead of 0.9",
        Trained(Recipe.named("adam", beta1=0.8)),
        "optimizer",
        f"first_moment/{FIRST}",
        NUMPY + PYTORCH,
        recipe=ADAM,
        because="bias correction makes the first step the same whatever the betas",
    ),
    Fault(
        "beta2 0.99 instead of 0.999",
        Trained(Recipe.named("adam", beta2=0.99)),
        "optimizer",
        f"second_moment/{FIRST}",
        PYTORCH + FLAX,
        recipe=ADAM,
        because="bias correction makes the first step the same whatever the betas",
    ),
    Fault(
        "epsilon of Adam 1.0001e-8",
        Trained(Recipe.named("adam", epsilon=1.0001e-8)),
        "optimizer",
        FIRST,
        NUMPY + PYTORCH,
        recipe=ADAM,
    ),
    Fault(
        "optimizer's state lost between steps",
        before_each_step(forget_state),
        "trajectory",
        f"step 2: {FIRST}",
        PYTORCH,
        because="the first step has no state to lose",
    ),
    Fault(
        "learning rate lowered by 0.1% at the third step",
        before_each_step(lower_rate),
        "trajectory",
        f"step 3: {FIRST}",
        PYTORCH,
    ),
    Fault(
        "one parameter not handed to the optimizer", in_pytorch(left_out), "optimizer", "decoder.0.up.weight", PYTORCH
    ),
    Fault(
        "momentum kept in float32",
        in_pytorch(half_state),
        "optimizer",
        f"momentum/{FIRST}",
        PYTORCH,
        because="it is rounded after the step, whose weights are right",
    ),
]
