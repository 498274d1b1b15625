"""The features of one layer while they are trained.

They see inputs and outputs that are scaled to a mean square of 1 per number, which is made part of the weights at the
end. TopK is trained as Gao et al. (2024, arXiv 2406.04093) do, with the auxiliary loss that lets dead features explain
what is left over; JumpReLU as Rajamanoharan et al. (2024, arXiv 2407.14435), with straight-through gradients of the
thresholds and a penalty (L0 / target - 1)^2 while L0 is above its target.
"""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import FunctionCtx

from acdc.dictionaries.dictionary import Activation, ActivationKind, Features
from acdc.dictionaries.hooks import Hook
from acdc.dictionaries.tensors import Held
from acdc.dictionaries.training.settings import TrainedActivation, TrainSettings

BANDWIDTH = 0.1  # of the straight-through gradients, in the scale of z
DEAD_AFTER = 200  # steps without being active
AUXILIARY = 1 / 32  # weight of the loss of dead features
L0_WEIGHT = 0.03
DECAYS = 0.8  # share of the steps after which the learning rate falls to 0


class _Jump(torch.autograd.Function):
    """z where it is above a threshold."""

    @staticmethod
    def forward(ctx: Any, z: Tensor, threshold: Tensor) -> Tensor:
        ctx.save_for_backward(z, threshold)
        return z * (z > threshold)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor]:
        (gradient,), (z, threshold) = gradients, ctx.saved_tensors
        near = ((z - threshold).abs() < BANDWIDTH / 2).to(z.dtype)
        return gradient * (z > threshold), (-threshold / BANDWIDTH * near * gradient).sum(0)


class _Count(torch.autograd.Function):
    """1 where z is above a threshold, of which only the threshold learns."""

    @staticmethod
    def forward(ctx: Any, z: Tensor, threshold: Tensor) -> Tensor:
        ctx.save_for_backward(z, threshold)
        return (z > threshold).to(z.dtype)

    @staticmethod
    def backward(ctx: FunctionCtx, *gradients: Tensor) -> tuple[None, Tensor]:
        (gradient,), (z, threshold) = gradients, ctx.saved_tensors  # type: ignore[attr-defined]
        near = ((z - threshold).abs() < BANDWIDTH / 2).to(z.dtype)
        return None, (-1 / BANDWIDTH * near * gradient).sum(0)


class Coder:
    """Parameters of one layer, their optimiser, and when each feature was last active."""

    def __init__(self, settings: TrainSettings, hooks: tuple[Hook, Hook], x: Tensor, y: Tensor):
        """`x`, `y` [n, d]: what is read and to be written at many tokens, which give the scales and the beginning."""
        self.settings, self.reads, self.writes = settings, *hooks
        self.scale = torch.stack([_scale(x), _scale(y)])
        generator = torch.Generator().manual_seed((settings.seed * 7919 + self.reads.layer) % 2**63)
        drawn = torch.randn((settings.features, x.shape[1]), generator=generator, dtype=x.dtype).to(x.device)
        encoder = drawn / drawn.norm(dim=1, keepdim=True)
        decoder = encoder.clone() if hooks[0] == hooks[1] else torch.zeros_like(encoder)
        if y.shape[1] != x.shape[1] or hooks[0] != hooks[1]:
            other = torch.randn((settings.features, y.shape[1]), generator=generator, dtype=x.dtype).to(x.device)
            decoder = 0.1 * other / other.norm(dim=1, keepdim=True)
        self.parameters = {
            "encoder": encoder,
            "bias": x.new_zeros(settings.features),
            "decoder": decoder,
            "constant": (y * self.scale[1]).mean(0),
        }
        if settings.skip:
            self.parameters["skip"] = x.new_zeros(y.shape[1], x.shape[1])
        if settings.activation is TrainedActivation.jumprelu:
            self.parameters["log_threshold"] = self._first_threshold(x, encoder)
        for value in self.parameters.values():
            value.requires_grad_()
        self.optimiser = torch.optim.Adam(self.parameters.values(), lr=settings.rate, betas=(0.9, 0.999))
        self.idle = torch.zeros(settings.features, dtype=torch.long, device=x.device)

    def _first_threshold(self, x: Tensor, encoder: Tensor) -> Tensor:
        """The threshold above which as many features are active as are wanted."""
        z = (self._inside(x[:2048], self._centre(encoder)) @ encoder.T).flatten()
        rank = max(1, round(len(z) * (1 - self.settings.active / self.settings.features)))
        threshold = z.kthvalue(min(rank, len(z))).values.clamp(min=0.01)
        return threshold.log().expand(self.settings.features).clone()

    def _centre(self, like: Tensor) -> Tensor:
        """What is taken off the scaled input: an SAE's constant, of transcoders nothing."""
        return self.parameters["constant"] if self.reads == self.writes else like.new_zeros(like.shape[1])

    def _inside(self, x: Tensor, centre: Tensor) -> Tensor:
        return x * self.scale[0] - centre

    def step(self, number: int, x: Tensor, y: Tensor) -> float:
        """One step on a batch [n, d]; gives the share of variance unexplained."""
        decays = int(DECAYS * self.settings.steps)
        left = (self.settings.steps - number) / max(1, self.settings.steps - decays)
        for group in self.optimiser.param_groups:
            group["lr"] = self.settings.rate * min(1.0, left)
        wanted = y * self.scale[1]
        loss, unexplained, active = self._loss(x, wanted)
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()
        self.optimiser.step()
        self.idle = torch.where(active, 0, self.idle + 1)
        if self.reads == self.writes:
            with torch.no_grad():  # else features could be small and be written large
                rows = self.parameters["decoder"]
                rows /= rows.norm(dim=1, keepdim=True).clamp(min=1e-8)
        return unexplained

    def _loss(self, x: Tensor, wanted: Tensor) -> tuple[Tensor, float, Tensor]:
        """(loss, share of variance unexplained, which features were active)."""
        p = self.parameters
        z = self._inside(x, self._centre(p["encoder"])) @ p["encoder"].T + p["bias"]
        if "log_threshold" in p:
            threshold = p["log_threshold"].exp()
            activations, l0 = _Jump.apply(z, threshold), _Count.apply(z, threshold).sum(1).mean()
            above = (l0 / self.settings.active - 1).clamp(min=0)
            penalty = L0_WEIGHT * above.square() + 0.1 * L0_WEIGHT * above
        else:
            activations, penalty = Activation(ActivationKind.topk, k=self.settings.active)(z), z.new_zeros(())
        found = activations @ p["decoder"] + p["constant"]
        if "skip" in p:
            found = found + (x * self.scale[0]) @ p["skip"].T
        variance = (wanted - wanted.mean(0)).square().sum().clamp(min=1e-12)
        error = wanted - found
        unexplained = error.square().sum() / variance
        loss = unexplained + penalty + AUXILIARY * self._auxiliary(z, error.detach(), variance)
        return loss, float(unexplained.detach()), (activations != 0).any(0)

    def _auxiliary(self, z: Tensor, error: Tensor, variance: Tensor) -> Tensor:
        """What dead features leave of the error, where the best of them try to explain it."""
        dead = torch.nonzero(self.idle >= DEAD_AFTER)[:, 0]
        if not len(dead):
            return z.new_zeros(())
        own = z[:, dead]
        chosen = own.topk(min(len(dead), 2 * self.settings.active), dim=1)
        tries = torch.zeros_like(own).scatter(1, chosen.indices, chosen.values.relu())
        return ((tries @ self.parameters["decoder"][dead] - error).square().sum() / variance).clamp(max=10.0)

    @torch.no_grad()
    def features(self) -> Features:
        """With the scales made part of the weights."""
        p = {name: value.detach().clone() for name, value in self.parameters.items()}
        into, out = self.scale
        bias = p["bias"] - p["encoder"] @ self._centre(p["encoder"]).detach()
        kind = ActivationKind(self.settings.activation.value)
        threshold = p["log_threshold"].exp() if "log_threshold" in p else None
        k = self.settings.active if kind is ActivationKind.topk else None
        # Activations come out in the scale of what is written by rows of the decoder of norm 1.
        norms = p["decoder"].norm(dim=1) / out
        norms = torch.where(norms > 0, norms, 1.0)
        chosen = self.reads == self.writes or kind is ActivationKind.jumprelu
        size = norms if chosen else torch.ones_like(norms)  # TopK chooses by what it would give out
        return Features(
            self.reads,
            (self.writes,),
            Held(p["encoder"] * into * size[:, None]),
            bias * size,
            (Held(p["decoder"] / out / size[:, None]),),
            p["constant"] / out,
            Activation(kind, threshold=None if threshold is None else threshold * size, k=k),
            skip=p["skip"] * into / out if "skip" in p else None,
        )

    def state(self) -> dict[str, Tensor]:
        """All that a run goes on from."""
        found = {"scale": self.scale, "idle": self.idle}
        for name, value in self.parameters.items():
            found[name] = value.detach()
            moments = self.optimiser.state.get(value, {})
            found |= {f"{name}.{key}": torch.as_tensor(moment) for key, moment in moments.items()}
        return found

    def restore(self, state: Mapping[str, Tensor]) -> None:
        self.scale, self.idle = state["scale"], state["idle"]
        with torch.no_grad():
            for name, value in self.parameters.items():
                value.copy_(state[name])
                moments = {key.removeprefix(f"{name}."): m for key, m in state.items() if key.startswith(f"{name}.")}
                if moments:
                    self.optimiser.state[value] = moments


def _scale(x: Tensor) -> Tensor:
    return 1 / x.square().mean().sqrt().clamp(min=1e-12)
