"""LoRA as an optimiser: matrices move by a product of low rank alone (Hu et al., 2022, arXiv 2106.09685)."""

import math
from collections.abc import Callable, Collection, Iterable
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.adamw import adamw

_FACTORS = ("up", "down")


class LowRankAdamW(torch.optim.Optimizer):
    """AdamW on the factors of W = base + up down, which is LoRA with alpha = rank, for networks of any kind.

    The gradients of the factors follow from that of W: up gets G down^T, and down gets up^T G. So the network computes
    with plain weights, and a checkpoint holds these, with base and factors beside the moments. A convolution's weight
    (O, I, K, K) is a matrix (O, I K K). Down begins as in peft (uniform, Kaiming with a = sqrt(5)), drawn by the
    weight's place, and up with zeros. Vectors of the adapted parameters stay as they are; all other parameters move in
    full.

    Args:
        groups: of parameters, as for torch's optimisers.
        adapted: parameters that move by low rank.
        rank: of the product, at least 1; a smaller matrix has its own.
        lr: learning rate of the groups that name none.
        weight_decay: likewise; of the factors.
    """

    def __init__(
        self,
        groups: Iterable[dict[str, Any]],
        adapted: Collection[nn.Parameter],
        rank: int,
        lr: float,
        weight_decay: float,
    ) -> None:
        super().__init__(groups, {"lr": lr, "weight_decay": weight_decay, "betas": (0.9, 0.999), "eps": 1e-8})
        self._adapted, self._rank = {id(one) for one in adapted}, rank

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        """Move every parameter that has a gradient."""
        assert closure is None
        place = -1
        for group in self.param_groups:
            moved: list[Tensor] = []
            gradients: list[Tensor] = []
            moments: list[dict[str, Tensor]] = []
            products: list[nn.Parameter] = []
            for parameter in group["params"]:
                place += 1
                low_rank = id(parameter) in self._adapted
                if parameter.grad is None or (low_rank and parameter.ndim < 2):
                    continue
                state = self.state[parameter]
                if not state:
                    state.update(self._begun(parameter, place) if low_rank else _moments("", parameter))
                if not low_rank:
                    parts = [("", parameter, parameter.grad)]
                else:
                    # (O, I, K, K) -> (O, I K K)
                    gradient = parameter.grad.flatten(1)
                    parts = [("up", state["up"], gradient @ state["down"].T)]
                    parts += [("down", state["down"], state["up"].T @ gradient)]
                    products.append(parameter)
                for name, value, gradient in parts:
                    moved.append(value)
                    gradients.append(gradient)
                    moments.append({key: state[f"{name}{key}"] for key in ("exp_avg", "exp_avg_sq", "step")})
            _adamw(moved, gradients, moments, group)
            for parameter in products:
                state = self.state[parameter]
                parameter.copy_(state["base"] + (state["up"] @ state["down"]).view(parameter.shape))

    def _begun(self, parameter: nn.Parameter, place: int) -> dict[str, Tensor]:
        rows, columns = parameter.flatten(1).shape
        rank = min(self._rank, rows, columns)
        draws = torch.Generator().manual_seed(place)
        down = torch.empty(rank, columns, dtype=parameter.dtype)
        nn.init.kaiming_uniform_(down, a=math.sqrt(5), generator=draws)
        state = {"base": parameter.clone(), "up": parameter.new_zeros(rows, rank), "down": down.to(parameter.device)}
        return state | {key: value for name in _FACTORS for key, value in _moments(name, state[name]).items()}


def _moments(name: str, value: Tensor) -> dict[str, Tensor]:
    zeros = {f"{name}{key}": torch.zeros_like(value) for key in ("exp_avg", "exp_avg_sq")}
    return {**zeros, f"{name}step": torch.tensor(0.0)}


def _adamw(
    moved: list[Tensor], gradients: list[Tensor], moments: list[dict[str, Tensor]], group: dict[str, Any]
) -> None:
    adamw(
        moved,
        gradients,
        [one["exp_avg"] for one in moments],
        [one["exp_avg_sq"] for one in moments],
        [],
        [one["step"] for one in moments],
        amsgrad=False,
        beta1=group["betas"][0],
        beta2=group["betas"][1],
        lr=group["lr"],
        weight_decay=group["weight_decay"],
        eps=group["eps"],
        maximize=False,
    )
