"""The mini-batch loop: which rows it shows, what it traces, and when it stops."""

import itertools
import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from deepclust.errors import NotApplicable, SeedFailed, UserError
from deepclust.settings import LengthOrZero
from deepclust.training import loop
from deepclust.training.loop import EpochSteps, Outcome, Refresh, Terms, in_chunks, make_optimizer, train
from deepclust.training.replay import Replayed
from deepclust.training.runtime import Runtime
from tests.recorder import Recorder

N = 10
X = torch.arange(2.0 * N).view(N, 2) / N


def model(seed: int = 0) -> nn.Linear:
    linear = nn.Linear(2, 2, bias=False, device="meta").to_empty(device="cpu")  # leaves the global RNG alone
    with torch.no_grad():
        linear.weight.copy_(torch.randn(2, 2, generator=torch.Generator().manual_seed(seed)))
    return linear


def run(
    terms: Terms,
    *,
    module: nn.Module,
    epochs: LengthOrZero = 3,
    batch_size: int = 3,
    seed: int = 0,
    refresh: Refresh | None = None,
    steps: EpochSteps | None = None,
    optimizer: str = "adam",
) -> Outcome:
    return train(
        module,
        X,
        terms,
        optimizer=make_optimizer(optimizer, module, 0.01),
        epochs=epochs,
        batch_size=batch_size,
        seed=seed,
        phase="test",
        refresh=refresh,
        steps=steps,
    )


def shown(batch_size: int, epochs: int, seed: int = 0) -> list[list[list[int]]]:
    """Return the indices of every batch of every epoch."""
    module, batches = model(), []

    def terms(x: Tensor, index: Tensor, _: torch.Generator) -> dict[str, Tensor]:
        assert torch.equal(x, X[index])
        batches.append(index.tolist())
        return {"fit": module(x).square().mean()}

    outcome = run(terms, module=module, epochs=epochs, batch_size=batch_size, seed=seed)
    assert outcome.n_iter == len(batches)
    n_batches = len(batches) // epochs
    return [batches[i : i + n_batches] for i in range(0, len(batches), n_batches)]


@pytest.mark.parametrize("batch_size", [1, 3, 4, 5, 7, 10, 11, 64])
def test_an_epoch_is_full_batches_of_distinct_rows(batch_size: int) -> None:
    size = min(batch_size, N)
    for epoch in shown(batch_size, epochs=4):
        assert [len(batch) for batch in epoch] == [size] * (N // size)
        rows = list(itertools.chain(*epoch))
        assert len(set(rows)) == len(rows)


def raising(error: BaseException) -> Terms:
    def terms(*_: object) -> dict[str, Tensor]:
        raise error

    return terms


@pytest.mark.parametrize(
    "error", [ValueError("too\n few"), RuntimeError("too few"), np.linalg.LinAlgError("too few")], ids=repr
)
def test_a_librarys_error_in_a_training_fails_the_seed_with_its_reason(error: Exception) -> None:
    with pytest.raises(SeedFailed, match=rf"^phase 'test' broke down, {type(error).__name__}: too few$") as caught:
        run(raising(error), module=model())
    assert caught.value.__cause__ is error


@pytest.mark.parametrize(
    "error",
    [
        TypeError("x"),
        AttributeError("x"),
        KeyError("x"),
        AssertionError("x"),
        NotImplementedError("x"),
        UserError("x"),
        NotApplicable("x"),
        SeedFailed("x"),
        OSError(28, "full"),
        MemoryError(),
        torch.OutOfMemoryError("x"),
        RuntimeError("[enforce fail at alloc_cpu.cpp:127] . DefaultCPUAllocator: can't allocate memory"),
        RuntimeError("CUDA error: device-side assert triggered"),
        KeyboardInterrupt(),
    ],
    ids=repr,
)
def test_errors_of_programs_people_and_machines_stay_what_they_are(error: BaseException) -> None:
    with pytest.raises(type(error)) as caught:
        run(raising(error), module=model())
    assert caught.value is error


@pytest.mark.parametrize("shows", ["batch_size", "subset"])
def test_batches_of_one_sample_under_batch_norm_fail_the_seed(shows: str) -> None:
    module = nn.Sequential(model(), nn.BatchNorm1d(2))
    given: dict[str, Any] = {"batch_size": 1} if shows == "batch_size" else {"subset": torch.tensor([3])}
    with pytest.raises(SeedFailed, match=r"phase 'test' has batches of one sample, .* batch_size and a number"):
        train(
            module,
            X,
            lambda x, *_: {"fit": module(x).square().mean()},
            optimizer=make_optimizer("adam", module, 0.01),
            epochs=1,
            seed=0,
            phase="test",
            **{"batch_size": 4} | given,
        )
    frozen = module.eval()
    frozen.train = lambda mode=True: frozen  # type: ignore[method-assign]
    assert run(lambda x, *_: {"fit": frozen(x).mean()}, module=frozen, batch_size=1, epochs=1).n_iter == N


def test_epochs_permute_the_rows_afresh_and_leave_out_others() -> None:
    epochs = [list(itertools.chain(*epoch)) for epoch in shown(3, epochs=20)]
    assert len({tuple(rows) for rows in epochs}) > 15
    assert len({frozenset(range(N)) - set(rows) for rows in epochs}) > 3
    assert {row for rows in epochs for row in rows} == set(range(N))


def test_a_subset_is_shown_as_if_it_were_all_with_the_indices_of_its_rows() -> None:
    subset, seen = torch.tensor([7, 2, 9, 4]), list[list[int]]()
    module = model()

    def terms(x: Tensor, index: Tensor, _: torch.Generator) -> dict[str, Tensor]:
        assert torch.equal(x, X[index])
        seen.append(index.tolist())
        return {"fit": module(x).square().mean()}

    settings: dict[str, Any] = {"epochs": 2, "batch_size": 2, "seed": 0, "phase": "test"}
    train(module, X, terms, optimizer=make_optimizer("adam", module, 0.01), subset=subset, **settings)
    assert [sorted(seen[i] + seen[i + 1]) for i in (0, 2)] == [[2, 4, 7, 9]] * 2
    alone, expected = model(), list[list[int]]()

    def terms_alone(x: Tensor, index: Tensor, _: torch.Generator) -> dict[str, Tensor]:
        expected.append(subset[index].tolist())
        return {"fit": alone(x).square().mean()}

    train(alone, X[subset], terms_alone, optimizer=make_optimizer("adam", alone, 0.01), **settings)
    assert seen == expected
    assert torch.equal(module.weight, alone.weight)
    doubled = in_chunks(lambda rows: 2 * rows, module, X, subset, size=3)
    assert torch.equal(doubled, 2 * X[subset])


def test_seed_decides_the_batches() -> None:
    assert shown(3, epochs=2, seed=5) == shown(3, epochs=2, seed=5)
    assert shown(3, epochs=2, seed=5) != shown(3, epochs=2, seed=6)


def test_trace_holds_means_over_the_batches_of_an_epoch() -> None:
    module, seen = model(), []

    def terms(x: Tensor, _: Tensor, __: torch.Generator) -> dict[str, Tensor]:
        losses = {"a": module(x).square().mean(), "b": 3 * (module(x) - x).abs().sum()}
        seen.append({name: value.item() for name, value in losses.items()})
        return losses

    outcome = run(terms, module=module, epochs=2)
    assert [row["epoch"] for row in outcome.trace] == [0, 1]
    for row, batches in zip(outcome.trace, (seen[:3], seen[3:]), strict=True):
        assert list(row) == ["phase", "epoch", "loss", "loss_a", "loss_b", "label_change"]
        assert row["phase"] == "test"
        assert row["label_change"] is None
        for name in "ab":
            assert row[f"loss_{name}"] == pytest.approx(math.fsum(b[name] for b in batches) / 3, rel=1e-6)
        assert row["loss"] == pytest.approx(row["loss_a"] + row["loss_b"])
    assert not outcome.converged


def test_single_term_is_traced_as_the_loss_alone() -> None:
    module = model()
    outcome = run(lambda x, *_: {"only": module(x).square().mean()}, module=module, epochs=1)
    assert list(outcome.trace[0]) == ["phase", "epoch", "loss", "label_change"]


@pytest.mark.parametrize("optimizer", ["adam", "sgd"])
def test_sum_of_the_terms_is_minimised(optimizer: str) -> None:
    split, joint = model(), model()
    halves = run(
        lambda x, *_: {"a": 0.25 * (split(x) - x).square().mean(), "b": 0.75 * (split(x) - x).square().mean()},
        module=split,
        epochs=60,
        optimizer=optimizer,
    )
    whole = run(lambda x, *_: {"a": (joint(x) - x).square().mean()}, module=joint, epochs=60, optimizer=optimizer)
    torch.testing.assert_close(split.weight, joint.weight, rtol=1e-4, atol=1e-5)
    assert halves.trace[-1]["loss"] == pytest.approx(whole.trace[-1]["loss"], rel=1e-3)
    assert whole.trace[-1]["loss"] < whole.trace[0]["loss"] / 2


def test_one_step_of_sgd_is_the_gradient_times_the_rate() -> None:
    module = model()
    before = module.weight.detach().clone()
    (gradient,) = torch.autograd.grad(module(X).square().mean(), module.weight)
    run(lambda x, *_: {"fit": module(x).square().mean()}, module=module, epochs=1, batch_size=N, optimizer="sgd")
    torch.testing.assert_close(module.weight.detach(), before - 0.01 * gradient)


@pytest.mark.parametrize("optimizer", ["adam", "sgd"])
def test_same_seed_gives_the_same_bits(optimizer: str) -> None:
    def weights(seed: int) -> Tensor:
        module = model()

        def terms(x: Tensor, _: Tensor, generator: torch.Generator) -> dict[str, Tensor]:
            return {"denoise": (module(x + torch.randn(x.shape, generator=generator)) - x).square().mean()}

        run(terms, module=module, seed=seed, optimizer=optimizer)
        return module.weight.detach()

    before = torch.get_rng_state()
    assert torch.equal(weights(1), weights(1))
    assert not torch.equal(weights(1), weights(2))
    assert torch.equal(torch.get_rng_state(), before)


def breaks_down_at(iteration: int, value: float, module: nn.Module) -> Terms:
    calls = itertools.count()

    def terms(x: Tensor, *_: object) -> dict[str, Tensor]:
        loss = module(x).square().mean()
        return {"good": loss, "bad": loss * (value if next(calls) == iteration else 1)}

    return terms


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_non_finite_term_is_named_with_its_epoch(value: float) -> None:
    module = model()
    with pytest.raises(SeedFailed, match=f"'bad' of phase 'test' became {value} in epoch 2"):
        run(breaks_down_at(8, value, module), module=module, epochs=5)


@pytest.mark.parametrize("iteration", [6, 7])  # of three an epoch
def test_training_stops_in_the_epoch_that_broke_down(iteration: int) -> None:
    module = model()
    with pytest.raises(SeedFailed, match="'bad' of phase 'test' became nan in epoch 2; lower the learning rate"):
        run(breaks_down_at(iteration, math.nan, module), module=module, epochs=5)


def test_weights_broken_by_the_last_step_are_not_a_result() -> None:
    module = model()
    with pytest.raises(SeedFailed, match="epoch 0 of phase 'test' left weights not finite"):
        run(lambda x, *_: {"cliff": module(x).sum() * 1e38}, module=module, epochs=1, batch_size=N, optimizer="sgd")


class Labels:
    """A refresh that shows the given labels in turn, the last for ever, and notes at which iteration it was asked."""

    def __init__(self, module: nn.Module, *labels: list[int]) -> None:
        self.labels, self.asked, self.n_batches, self.module = labels, list[int](), 0, module

    def compute(self) -> Tensor:
        self.module.eval()  # as in_chunks does
        self.asked.append(self.n_batches)
        return torch.tensor(self.labels[min(len(self.asked), len(self.labels)) - 1])

    def terms(self, x: Tensor, *_: object) -> dict[str, Tensor]:
        assert self.module.training
        self.n_batches += 1
        return {"fit": self.module(x).square().mean()}


SPLIT = [0] * 5 + [1] * 5


@pytest.mark.parametrize("every", [1, 2, 3, 4, 7])
def test_refresh_comes_every_so_many_iterations_across_epochs(every: int) -> None:
    module = model()
    labels = Labels(module, *([i % 2] * N for i in range(20)))  # all labels change every time
    outcome = run(labels.terms, module=module, epochs=5, refresh=Refresh(every, labels.compute, 0.5))
    assert labels.asked == list(range(0, 15, every))
    assert (outcome.n_iter, outcome.converged) == (15, False)


def test_training_stops_once_few_enough_labels_change() -> None:
    module = model()
    labels = Labels(module, SPLIT, SPLIT[::-1], [0, 0, *SPLIT[::-1][2:]], [0, *SPLIT[::-1][1:]])
    outcome = run(labels.terms, module=module, epochs=50, refresh=Refresh(2, labels.compute, 0.15))
    assert labels.asked == [0, 2, 4, 6]
    assert (outcome.n_iter, outcome.converged) == (6, True)
    # three batches an epoch: the last refresh of each, and the one that ended the third before its first batch
    assert [row["label_change"] for row in outcome.trace] == [1.0, 0.2, 0.1]
    assert outcome.trace[-1]["loss"] is None


def test_means_of_an_unfinished_epoch_are_over_the_batches_it_had() -> None:
    module = model()
    labels = Labels(module, SPLIT)

    def terms(x: Tensor, *_: object) -> dict[str, Tensor]:
        return {"constant": 2 + 0 * labels.terms(x)["fit"]}

    outcome = run(terms, module=module, epochs=5, refresh=Refresh(5, labels.compute, 0.5))
    assert outcome.n_iter == 5
    assert [row["loss"] for row in outcome.trace] == [2.0, 2.0]


@pytest.mark.parametrize("length", [1, 2, 3, 4, 6, 8, 9])
def test_a_length_in_iterations_ends_with_that_batch_of_the_same_epochs(length: int) -> None:
    module, batches = model(), []

    def terms(_: Tensor, index: Tensor, __: torch.Generator) -> dict[str, Tensor]:
        batches.append(index.tolist())
        return {"number": len(batches) + 0 * module.weight.sum()}

    outcome = run(terms, module=module, epochs=f"{length} iterations")
    assert batches == [batch for epoch in shown(3, epochs=3) for batch in epoch][:length]
    assert outcome.n_iter == length
    numbers = range(1, length + 1)
    means = [float(np.mean(numbers[i : i + 3])) for i in range(0, length, 3)]  # an epoch is three batches
    assert [row["loss"] for row in outcome.trace] == means


@pytest.mark.parametrize("stop", [2, 4, 5, 7])
def test_a_length_in_iterations_resumes_to_the_same_bits(stop: int, tmp_path: Path) -> None:
    def fit(folder: str, last: int = 0) -> tuple[Tensor, Outcome, int]:
        module, taken = model(), 0

        def terms(x: Tensor, _: Tensor, generator: torch.Generator) -> dict[str, Tensor]:
            nonlocal taken
            taken += 1
            if taken == last:
                raise KeyboardInterrupt
            return {"fit": (module(x) + torch.rand(2, generator=generator)).square().mean()}

        with Runtime(checkpoints=tmp_path / folder, checkpoint_every=1).open():
            outcome = run(terms, module=module, epochs="7 iterations")
        return module.weight.detach().clone(), outcome, taken

    weights, expected, _ = fit("whole")
    with pytest.raises(KeyboardInterrupt):
        fit("parts", stop)
    found, outcome, taken = fit("parts")
    assert torch.equal(found, weights)
    assert outcome == expected
    assert taken == 7 - (stop - 1) // 3 * 3  # from the last whole epoch on
    assert fit("parts")[1:] == (expected, 0)


def test_change_equal_to_the_tolerance_does_not_stop() -> None:
    module = model()
    labels = Labels(module, SPLIT, [1, *SPLIT[1:]], SPLIT, [1, *SPLIT[1:]], SPLIT)
    outcome = run(labels.terms, module=module, epochs=4, refresh=Refresh(3, labels.compute, 0.1))
    assert not outcome.converged


def test_tolerance_of_zero_never_stops() -> None:
    module = model()
    labels = Labels(module, SPLIT)
    outcome = run(labels.terms, module=module, epochs=4, refresh=Refresh(1, labels.compute, 0.0))
    assert (outcome.n_iter, outcome.converged) == (12, False)


def test_chunks_are_evaluated_without_gradient_and_put_together_in_order() -> None:
    module, sizes = nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3)), []
    module.train()

    def function(x: Tensor) -> Tensor:
        sizes.append(len(x))
        out: Tensor = module(x)
        return out

    chunked = in_chunks(function, module, X, size=4)
    assert sizes == [4, 4, 2]
    assert not chunked.requires_grad
    torch.testing.assert_close(chunked, module.eval()(X))


def test_steps_run_around_every_epoch_and_their_columns_join_its_trace() -> None:
    module, calls = model(), []

    def terms(x: Tensor, _: Tensor, __: torch.Generator) -> dict[str, Tensor]:
        calls.append("batch")
        return {"fit": module(x).square().mean()}

    def after() -> dict[str, Any]:
        calls.append("after")
        return {"accepted": len(calls)}

    steps = EpochSteps(lambda: calls.append("before"), after)
    outcome = run(terms, module=module, epochs=2, batch_size=5, steps=steps)
    assert calls == ["before", "batch", "batch", "after"] * 2
    assert [row["accepted"] for row in outcome.trace] == [4, 8]


def test_steps_that_change_the_learning_rate_resume_to_the_same_bits(tmp_path: Path) -> None:
    def fit(epochs: int, checkpoints: Path | None) -> Tensor:
        module = model()
        optimizer = make_optimizer("adam", module, 0.1)

        def terms(x: Tensor, _: Tensor, __: torch.Generator) -> dict[str, Tensor]:
            return {"fit": module(x).square().mean()}

        def after() -> dict[str, Any]:
            optimizer.param_groups[0]["lr"] /= 2
            return {}

        with Runtime(checkpoints=checkpoints, checkpoint_every=1).open():
            train(
                module,
                X,
                terms,
                optimizer=optimizer,
                epochs=epochs,
                batch_size=5,
                seed=0,
                phase="test",
                steps=EpochSteps(lambda: None, after),
            )
        return module.weight.detach().clone()

    fit(2, tmp_path)
    assert torch.equal(fit(4, tmp_path), fit(4, None))


def test_onednns_precision_is_refused_on_a_gpu() -> None:
    on_gpu: Any = SimpleNamespace(is_cuda=True)
    module = model()
    optimizer = make_optimizer("adam", module, 0.01)
    with Runtime(precision="onednn_bfloat16").open(), pytest.raises(UserError, match="onednn_bfloat16 is for a CPU"):
        train(module, on_gpu, lambda *_: {}, optimizer=optimizer, epochs=1, batch_size=1, seed=0, phase="cluster")


def test_each_replays_losses_are_traced_before_the_next_overwrites_them(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[float] = []

    def fit() -> Outcome:
        module = model()
        seen.clear()

        def terms(x: Tensor, _: Tensor, __: torch.Generator) -> dict[str, Tensor]:
            loss = (x - module(x)).square().mean()
            seen.append(loss.item())
            return {"fit": loss}

        return run(terms, module=module)

    plain = fit().trace
    recorder = Recorder()
    monkeypatch.setattr(loop, "Replayed", lambda step, module, _: Replayed(step, module, recorder))
    assert fit().trace == plain
    assert recorder.replays > 2
    assert len(set(seen)) == len(seen)
