"""Interventions on hidden neurons the slow way: raw hooks on the plain model. The judge of `acdc.attribution`.

Attention patterns, norm denominators and MLP outputs of a clean run are kept, and given back in another run as asked.
It knows each family's module names and nothing of the package under test.
"""

from contextlib import ExitStack, contextmanager, nullcontext

import torch
from brute_force import Names, float64_throughout
from torch import Tensor, nn

DOWN = ("c_proj", "down_proj", "dense_4h_to_h", "fc_out", "out")
UP = ("c_fc", "up_proj", "dense_h_to_4h", "fc_in", "in")
GATE = ("gate_proj", "gate")


def part(module: nn.Module, names: tuple[str, ...]) -> nn.Module | None:
    return next((child for name, child in module.named_children() if name in names), None)


def columns(linear: nn.Module) -> Tensor:
    """The weight of a linear layer or of GPT-2's Conv1D as [in, out]."""
    return linear.weight.T if isinstance(linear, nn.Linear) else linear.weight


class Held:
    """A plain model and one prompt, with what its clean run gave."""

    def __init__(self, model: nn.Module, names: Names, tokens: Tensor):
        self.model, self.tokens = model, tokens[None]
        self.mlps = [block.mlp for block in model.get_submodule(names.blocks) if hasattr(block, "mlp")]
        self.norms = [m for m in model.modules() if type(m).__name__.endswith(("Norm", "LayerNormPre", "RMSNormPre"))]
        self.patterns: list[Tensor] = []
        self.scales: dict[nn.Module, Tensor] = {}
        self.hidden: list[Tensor] = []
        self.read: list[Tensor] = []
        with ExitStack() as stack:
            stack.enter_context(float64_throughout(model))
            for norm in self.norms:
                stack.enter_context(hooked(norm.register_forward_pre_hook(self._keep_scale)))
            for mlp in self.mlps:
                stack.enter_context(hooked(mlp.register_forward_pre_hook(lambda _, x: self.read.append(x[0].clone()))))
                down = part(mlp, DOWN)
                stack.enter_context(
                    hooked(down.register_forward_pre_hook(lambda _, x: self.hidden.append(x[0].clone())))
                )
            stack.enter_context(self._softmax(keep=True))
            self.logits = self._run()

    @torch.no_grad()
    def run(self, layer: int, position: int, unit: int, value: float, held: str) -> tuple[Tensor, list[Tensor]]:
        """(logits of the last position, what each MLP reads) with one neuron set; held: everything, attention,
        nothing."""
        read: list[Tensor] = []
        with ExitStack() as stack:
            stack.enter_context(float64_throughout(self.model))
            stack.enter_context(nullcontext() if held == "nothing" else self._softmax(keep=False))
            for number, mlp in enumerate(self.mlps):
                stack.enter_context(hooked(mlp.register_forward_pre_hook(lambda _, x: read.append(x[0].clone()))))

                def at_unit(_: nn.Module, x: tuple, number: int = number) -> tuple:
                    hidden = self.hidden[number].clone() if held == "everything" else x[0].clone()
                    if number == layer:
                        hidden[0, position, unit] = value
                    return (hidden,)

                stack.enter_context(hooked(part(mlp, DOWN).register_forward_pre_hook(at_unit)))
            for norm in self.norms if held == "everything" else ():
                stack.enter_context(hooked(norm.register_forward_hook(self._with_held_scale)))
            return self._run(), read

    @torch.no_grad()
    def unit_change(self, layer: int, position: int, unit: int, read: Tensor) -> float:
        """By how much a unit's value changes when its MLP reads `read`, each factor of it being linear in what it
        reads: the activation by its ratio, a gated product by half of each."""
        mlp, before = self.mlps[layer], self.read[layer][0, position]
        change = read[0, position] - before
        up, gate = part(mlp, UP), part(mlp, GATE)
        value = self.hidden[layer][0, position, unit]
        z = up(before)[unit]
        by_up = change @ columns(up)[:, unit]
        if gate is None:
            return float(value / z * by_up)
        pre = gate(before)[unit]
        return float(0.5 * value / z * by_up + 0.5 * value / pre * (change @ columns(gate)[:, unit]))

    @torch.no_grad()
    def _run(self) -> Tensor:
        out = self.model(self.tokens)
        return (out if isinstance(out, Tensor) else out.logits)[0, -1]

    def _keep_scale(self, norm: nn.Module, given: tuple) -> None:
        x = given[0]
        x = x - x.mean(-1, keepdim=True) if "LayerNorm" in type(norm).__name__ else x
        eps = getattr(norm, "variance_epsilon", None) or norm.eps
        self.scales[norm] = torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + eps)

    def _with_held_scale(self, norm: nn.Module, given: tuple, output: Tensor) -> Tensor:
        x, kind = given[0], type(norm).__name__
        x = (x - x.mean(-1, keepdim=True) if "LayerNorm" in kind else x) * self.scales[norm]
        weight, bias = getattr(norm, "weight", None), getattr(norm, "bias", None)
        x = x if weight is None else x * (1 + weight if kind.startswith("Gemma") else weight)
        return x if bias is None else x + bias

    @contextmanager
    def _softmax(self, keep: bool):
        """Keep what the attention layers attend to, in their order, or give it back."""
        before, given = nn.functional.softmax, iter(self.patterns)

        def softmax(x: Tensor, *args, **options) -> Tensor:
            if not keep:
                return next(given)
            self.patterns.append(before(x, *args, **options))
            return self.patterns[-1]

        nn.functional.softmax = softmax
        try:
            yield
        finally:
            nn.functional.softmax = before


@contextmanager
def hooked(handle):
    try:
        yield
    finally:
        handle.remove()
