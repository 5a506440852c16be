"""The one mini-batch loop: data in memory, batches from a generator of its own, checkpoints, finite or stopped."""

import contextlib
import logging
import math
import re
from collections.abc import Callable, Iterator
from concurrent.futures import BrokenExecutor
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from tqdm import tqdm

from deepclust.errors import NotApplicable, SeedFailed, UserError
from deepclust.settings import LengthOrZero
from deepclust.training import runtime
from deepclust.training.checkpoint import Damaged, load_state, save_state
from deepclust.training.replay import Replayed, cuda_graphs, own_stream
from deepclust.training.rows import Rows

_MACHINE = re.compile("DefaultCPUAllocator|CUDA error|CUDNN_STATUS|CUBLAS_STATUS")  # plain RuntimeErrors of torch's
_log = logging.getLogger(__name__)

Terms = Callable[[Tensor, Tensor, torch.Generator], dict[str, Tensor]]
"""(rows (B, D), their indices (B,), generator for noise) -> the weighted terms of the loss; their sum is minimised.

The generator is on the data's device. Update state in place (`copy_`, `+=`). Never read a tensor into Python
(`float(...)`, `if tensor:`): on a GPU the step is recorded once, then replayed for many batches (`Replayed`), and
Python's variables keep the values they had. Only `Refresh` and `EpochSteps` may change them.
"""


@dataclass(frozen=True)
class Refresh:
    """A method's recomputation from all samples now and then (such as DEC's target distribution)."""

    every: int  # iterations
    compute: Callable[[], Tensor]  # stores its results, and returns the present labels (N,)
    tolerance: float  # stop once the share of labels changed since the last call is less than this


@dataclass(frozen=True)
class EpochSteps:
    """A method's steps between epochs: half-steps of an alternating scheme, schedules.

    Both functions run with the state of the epochs so far restored, and may change only that state: weights and buffers
    of the module, the optimiser's state and its learning rate. A checkpoint is written after `after`.
    """

    before: Callable[[], None]
    after: Callable[[], dict[str, Any]]  # returns columns that join the epoch's trace row


@dataclass(frozen=True)
class Outcome:
    """Record of a training: one trace row an epoch begun (phase, epoch, loss, loss_TERM..., label_change).

    `label_change` is the epoch's last value, None without a refresh; `loss` is None if the training stopped before the
    epoch's first batch.
    """

    trace: list[dict[str, Any]]
    n_iter: int  # batches seen
    converged: bool  # stopped by the tolerance, not by the length


def batches_of(n_samples: int, batch_size: int) -> int:
    """Return the number of batches of an epoch: whole ones, at least one."""
    return max(1, n_samples // batch_size)


def iterations_of(length: LengthOrZero, n_batches: int) -> int:
    """Return a length in iterations, where an epoch has `n_batches`: those of its epochs, or as many as it says."""
    return int(length.split()[0]) if isinstance(length, str) else length * n_batches


def make_optimizer(
    name: str, module: nn.Module, learning_rate: float, momentum: float = 0.9, eps: float = 1e-6
) -> torch.optim.Adam | torch.optim.Adadelta | torch.optim.SGD:
    """Return `adam`, `adadelta` (with `eps`) or `sgd` (with `momentum`); fused, one kernel for all weights, where torch
    has it.
    """
    weights = list(module.parameters())
    on_gpu = any(weight.is_cuda for weight in weights)
    if name == "adam":
        return torch.optim.Adam(weights, lr=learning_rate, fused=True, capturable=on_gpu)
    if name == "adadelta":
        return torch.optim.Adadelta(weights, lr=learning_rate, eps=eps, foreach=True, capturable=on_gpu)
    return torch.optim.SGD(weights, lr=learning_rate, momentum=momentum, fused=True)


def train(
    module: nn.Module,
    X: Tensor,
    terms: Terms,
    *,
    optimizer: torch.optim.Optimizer,
    epochs: LengthOrZero,
    batch_size: int,
    seed: int,
    phase: str,
    subset: Tensor | None = None,
    refresh: Refresh | None = None,
    steps: EpochSteps | None = None,
) -> Outcome:
    """Minimise the sum of `terms` over `module`'s parameters, in place.

    An epoch is floor(N / B) batches of exactly B = min(`batch_size`, N) rows of a fresh permutation; the remainder
    sits out that epoch. With `subset`, indices (M,) of rows of X, only these rows are shown, and N is M. `epochs` may
    say iterations instead, as "10000 iterations": the training then ends with that batch, be it within an epoch. Traced
    losses are means over the epoch's batches. Batches are the same on every device for as long as nothing has drawn
    noise: on a CPU noise and permutations come from one generator, and a GPU draws noise of its own.

    With `runtime.Runtime.checkpoints` set, the state is written every few epochs under the name `phase`, and a later
    call with the same settings goes on from there to the same bits. Buffers of `module` are part of the state: keep the
    results of `refresh` in buffers.

    Raises
    ------
    UserError
        The precision is oneDNN's, and X is on a GPU.
    SeedFailed
        A term of the loss, or a weight after the last step, is not finite; the last checkpoint before that stays.
        BatchNorm has batches of one sample. A library refuses its input: see `failing_the_seed`.
    """
    surroundings = runtime.current()
    if X.is_cuda and surroundings.precision == "onednn_bfloat16":
        raise UserError("compute.precision: onednn_bfloat16 is for a CPU, and this training is on a GPU; use bfloat16")
    path = surroundings.checkpoints / f"{phase}.safetensors" if surroundings.checkpoints else None
    generator = torch.Generator().manual_seed(seed)  # on the CPU, so that every device begins with the same batches
    noise = generator if X.device.type == "cpu" else torch.Generator(X.device).manual_seed(seed)
    n_samples = len(X) if subset is None else len(subset)
    n_batches = batches_of(n_samples, batch_size)
    batch_size = min(batch_size, n_samples)
    n_iterations = iterations_of(epochs, n_batches)
    n_epochs = math.ceil(n_iterations / n_batches)
    rows = Rows(X)
    trace: list[dict[str, Any]] = []
    labels = torch.full((n_samples,), -1, device=X.device)
    first, n_iter, converged = 0, 0, False

    if path is not None and path.exists():
        try:
            facts = load_state(path, nn.ModuleList([module, _Labels(labels)]), optimizer, [generator, noise])
            first, n_iter, converged, trace = (facts[key] for key in ("epoch", "n_iter", "converged", "trace"))
        except Damaged as error:  # nothing was restored
            aside = path.replace(path.with_suffix(".bad"))
            _log.warning("%s. It is now %s, and this training begins anew", error, aside)

    def store(epoch: int) -> None:
        if path is not None:
            state = nn.ModuleList([module, _Labels(labels)])
            facts = {"epoch": epoch, "n_iter": n_iter, "converged": converged, "trace": trace}
            save_state(path, state, optimizer, [generator, noise], **facts)

    def step(index: Tensor) -> tuple[list[str], Tensor]:
        with torch.autocast(X.device.type, torch.bfloat16, enabled=surroundings.precision == "bfloat16"):
            losses = terms(rows[index], index, noise)
        values = torch.stack(list(losses.values()))
        optimizer.zero_grad()
        values.sum().backward()
        optimizer.step()
        return list(losses), values.detach()

    run = Replayed(step, module, cuda_graphs(noise) if X.device.type == "cuda" else None)
    with failing_the_seed(f"phase '{phase}'"), own_stream(X.device):
        bar = tqdm(range(first, n_epochs), phase, disable=not surroundings.progress, leave=False)
        for epoch in bar:
            if converged:
                break
            if steps is not None:
                steps.before()
                run.expire()
            module.train()
            if batch_size == 1 and any(isinstance(m, nn.BatchNorm1d) and m.training for m in module.modules()):
                raise SeedFailed(
                    f"phase '{phase}' has batches of one sample, which BatchNorm cannot normalise; use a batch_size "
                    "and a number of samples of at least 2, or a network without BatchNorm"
                )
            order = torch.randperm(n_samples, generator=generator).to(X.device)
            if subset is not None:
                order = subset[order]
            names: list[str] = []
            values = torch.empty(0)  # the terms of each batch
            taken = 0
            label_change = math.nan
            for batch in range(min(n_batches, n_iterations - n_iter)):
                if refresh is not None and n_iter % refresh.every == 0:
                    now = refresh.compute()
                    if n_iter > 0:
                        label_change = (now != labels).to(runtime.widest(X.device)).mean().item()
                        converged = label_change < refresh.tolerance
                    labels.copy_(now)
                    if converged:
                        break
                    module.train()
                    run.expire()
                index = order[batch * batch_size : (batch + 1) * batch_size]
                names, found = run(index)
                if not batch:  # in one piece: many small pieces would keep the layers' buffers from being freed
                    values = found.new_empty((n_batches, len(found)))
                values[batch] = found
                taken = batch + 1
                n_iter += 1
            means = _means(names, values[:taken], phase, epoch)  # the epoch's one synchronisation
            row = _row(phase, epoch, means, None if math.isnan(label_change) else label_change)
            trace.append(row | (steps.after() if steps is not None else {}))
            if converged or epoch + 1 == n_epochs or (epoch + 1) % surroundings.checkpoint_every == 0:
                if not all(bool(weights.isfinite().all()) for weights in module.parameters()):
                    raise SeedFailed(
                        f"epoch {epoch} of phase '{phase}' left weights not finite; lower the learning rate"
                    )
                store(epoch + 1)
            if converged or (epoch + 1) * 4 // n_epochs > epoch * 4 // n_epochs:
                loss = "" if row["loss"] is None else f", loss {row['loss']:.4g}"
                _log.info(
                    "%s: epoch %d of %d%s%s", phase, epoch + 1, n_epochs, loss, ", labels settled" if converged else ""
                )
    return Outcome(trace, n_iter, converged)


@torch.no_grad()
def in_chunks(
    function: Callable[[Tensor], Tensor],
    module: nn.Module,
    X: Tensor,
    subset: Tensor | None = None,
    size: int = 4096,
) -> Tensor:
    """Return `function` of all rows of X, or of those with the indices `subset`, in their order.

    `function` sees `size` rows at a time, with `module` in evaluation mode and no gradient.
    """
    module.eval()
    found, done = torch.empty(0), 0
    for rows in Rows(X).chunks(size, subset):
        part = function(rows)
        if not done:  # in one piece: many small pieces would keep the layers' buffers from being freed
            found = part.new_empty((len(X) if subset is None else len(subset), *part.shape[1:]))
        found[done : done + len(part)] = part
        done += len(part)
    return found


@contextlib.contextmanager
def failing_the_seed(what: str) -> Iterator[None]:
    """Turn a ValueError or RuntimeError of a library in the block into SeedFailed, with its reason: other seeds go on.

    Errors of a program, of the machine and of memory stay what they are.
    """
    try:
        yield
    except (UserError, NotApplicable, SeedFailed, NotImplementedError, RecursionError):
        raise
    except (torch.OutOfMemoryError, torch.AcceleratorError, BrokenExecutor):
        raise
    except (ValueError, RuntimeError) as error:
        if _MACHINE.search(str(error)):
            raise
        raise SeedFailed(f"{what} broke down, {type(error).__name__}: {' '.join(str(error).split())}") from error


class _Labels(nn.Module):
    """The last labels as a buffer, so that the state of a training is one module's."""

    def __init__(self, labels: Tensor) -> None:
        super().__init__()
        self.register_buffer("labels", labels)


def _row(phase: str, epoch: int, means: dict[str, float], label_change: float | None) -> dict[str, Any]:
    terms = {f"loss_{name}": value for name, value in means.items()} if len(means) > 1 else {}
    loss = sum(means.values()) if means else None  # no batch: stopped before the epoch's first
    return {"phase": phase, "epoch": epoch, "loss": loss, **terms, "label_change": label_change}


def _means(names: list[str], values: Tensor, phase: str, epoch: int) -> dict[str, float]:
    """Return each term's mean over the epoch's batches (b, terms), or raise for the first that was not finite."""
    if not len(values):
        return {}
    if not bool(values.isfinite().all()):
        batch, term = (~values.isfinite()).nonzero()[0].tolist()
        raise SeedFailed(
            f"the loss term '{names[term]}' of phase '{phase}' became {values[batch, term].item()} in epoch {epoch}; "
            "lower the learning rate, or scale the data to lie between 0 and 1"
        )
    means = [total / len(values) for total in sum(values, torch.zeros_like(values[0])).tolist()]
    return dict(zip(names, means, strict=True))
