from __future__ import annotations

import functools
import pickle
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from restorekit.inference.device import Precision
from restorekit.inference.engine import Engine, Tally
from restorekit.models import SizeRule
from tests.unit.inference.fakes import Describes, Invert


def engine(
    model: nn.Module, *, compile: bool = False, channels_last: bool = False, precision: Precision = "fp32"
) -> Engine:
    return Engine(
        model,
        size=SizeRule(),
        device=torch.device("cpu"),
        precision=precision,
        channels_last=channels_last,
        ensemble=False,
        compile=compile,
    )


def picture(height: int = 12, width: int = 10) -> Tensor:
    return torch.rand(1, 3, height, width, generator=torch.Generator().manual_seed(0))


class Watches(nn.Conv2d):
    """Remembers in which layout and dtype it works."""

    def __init__(self) -> None:
        super().__init__(3, 3, 3, padding=1)
        self.seen: list[tuple[bool, torch.dtype]] = []

    def forward(self, image: Tensor) -> Tensor:
        answer = super().forward(image)
        self.seen.append((image.is_contiguous(memory_format=torch.channels_last), answer.dtype))
        return answer


@pytest.mark.parametrize("channels_last", [True, False])
@pytest.mark.parametrize(("precision", "dtype"), [("fp32", torch.float32), ("bf16", torch.bfloat16)])
def test_layout_and_precision_reach_the_network_and_the_answer_is_fp32(
    channels_last: bool, precision: Precision, dtype: torch.dtype
) -> None:
    model = Watches()
    with torch.no_grad():
        answer = engine(model, channels_last=channels_last, precision=precision).restore(picture(), None, Tally())
    assert model.seen == [(channels_last, dtype)]
    assert answer.dtype == torch.float32


def test_a_compiled_network_gives_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "compile", functools.partial(torch.compile, backend="eager"))  # no compiler needed
    for model in (Invert(), Describes()):
        compiled, tally = engine(model, compile=True), Tally()
        for size in ((12, 10), (30, 7), (12, 10)):
            description = compiled.describe([lambda size=size: picture(*size)])
            plain = engine(model).restore(picture(*size), description, Tally())
            assert torch.allclose(compiled.restore(picture(*size), description, tally), plain)
        assert tally.uncompiled is None
        assert compiled.compiles
        again = pickle.loads(pickle.dumps(compiled))  # noqa: S301 (our own bytes)
        assert torch.allclose(again.restore(picture(*size), description, tally), plain)


def broken(raised: Exception) -> Callable[..., Any]:
    def compile(network: object, **options: object) -> Callable[..., Tensor]:
        def call(*given: Tensor) -> Tensor:
            raise raised

        return call

    return compile


def test_a_compiler_that_is_missing_is_done_without_and_said(monkeypatch: pytest.MonkeyPatch) -> None:
    from torch._inductor.exc import InvalidCxxCompiler

    monkeypatch.setattr(torch, "compile", broken(InvalidCxxCompiler()))
    made, tally = engine(Invert(), compile=True), Tally()
    assert torch.equal(made.restore(picture(), None, tally), 1 - picture())
    assert tally.uncompiled is not None
    assert "C++ compiler" in tally.uncompiled
    assert not made.compiles


def test_what_cannot_be_compiled_for_all_sizes_is_compiled_for_each(monkeypatch: pytest.MonkeyPatch) -> None:
    from torch._inductor.exc import InvalidCxxCompiler

    asked: list[object] = []

    def compile(network: Callable[..., Tensor], *, dynamic: bool) -> Callable[..., Tensor]:
        asked.append(dynamic)
        return broken(InvalidCxxCompiler())(network) if dynamic else network

    monkeypatch.setattr(torch, "compile", compile)
    made, tally = engine(Invert(), compile=True), Tally()
    for _ in range(2):
        assert torch.equal(made.restore(picture(), None, tally), 1 - picture())
    assert asked == [True, False]
    assert tally.uncompiled is None
    assert made.compiles


def test_a_failure_of_the_network_is_not_taken_for_one_of_the_compiler(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "compile", broken(ValueError("the network's own")))
    with pytest.raises(ValueError, match="the network's own"):
        engine(Invert(), compile=True).restore(picture(), None, Tally())
