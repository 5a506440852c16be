"""A killed training goes on from its checkpoint to the bits of one that was never killed."""

import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from deepclust.errors import SeedFailed
from deepclust.training.checkpoint import Damaged, load_tensors, save_tensors
from deepclust.training.loop import Outcome, Refresh, in_chunks, make_optimizer, train
from deepclust.training.runtime import Runtime

X = torch.randn(26, 4, generator=torch.Generator().manual_seed(0))
EPOCHS, BATCHES = 9, 6  # of 4 rows; 2 sit out every epoch


class Interrupted(Exception):
    pass


class Model(nn.Module):
    """Everything a state can hold: weights, running statistics, and a buffer that refresh computes."""

    def __init__(self) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(1)
        self.linear, self.norm = nn.Linear(4, 3), nn.BatchNorm1d(3)
        with torch.no_grad():
            for parameter in self.linear.parameters():
                parameter.copy_(torch.randn(parameter.shape, generator=generator))
        self.target: Tensor
        self.register_buffer("target", torch.zeros(len(X), 3))
        self.refreshes: Tensor
        self.register_buffer("refreshes", torch.tensor(0))

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.norm(self.linear(x))
        return out


def flipped(whole: bytes, place: int, bit: int = 0) -> bytes:
    return whole[:place] + bytes([whole[place] ^ 1 << bit]) + whole[place + 1 :]


def fit(
    folder: Path | None, optimizer: str, *, stop_at: int | None = None, tolerance: float = 0.0
) -> tuple[Model, Outcome, int]:
    """Train a fresh model with a fresh optimiser, to the end or to the batch `stop_at`; also count the batches run."""
    model = Model()
    n_batches = 0

    def compute() -> Tensor:
        model.target.copy_(torch.tanh(in_chunks(model, model, X)))
        model.refreshes += 1
        # of the 26 labels 9, 7, 7, 5, 5, 3, 3, ... change from one call to the next
        return torch.where(torch.arange(len(X)) < 10 - model.refreshes, model.refreshes % 2, 0)

    def terms(x: Tensor, index: Tensor, generator: torch.Generator) -> dict[str, Tensor]:
        nonlocal n_batches
        if n_batches == stop_at:
            raise Interrupted
        n_batches += 1
        noisy = x + 0.1 * torch.randn(x.shape, generator=generator)
        out = model(noisy)
        return {"target": (out - model.target[index]).square().mean(), "size": 0.1 * out.square().mean()}

    with Runtime(checkpoints=folder, checkpoint_every=2).open():
        outcome = train(
            model,
            X,
            terms,
            optimizer=make_optimizer(optimizer, model, 0.05),
            epochs=EPOCHS,
            batch_size=4,
            seed=3,
            phase="fit",
            refresh=Refresh(7, compute, tolerance),
        )
    return model, outcome, n_batches


def assert_same(found: tuple[Model, Outcome, int], expected: tuple[Model, Outcome, int]) -> None:
    for name, tensor in expected[0].state_dict().items():
        assert torch.equal(found[0].state_dict()[name], tensor), name
    assert found[1] == expected[1]


@pytest.mark.parametrize("optimizer", ["adam", "sgd"])
@pytest.mark.parametrize("stop_at", [0, 5, 11, 12, 13, 29, 47, 53])
def test_interrupted_training_ends_with_the_bits_of_an_uninterrupted_one(
    optimizer: str, stop_at: int, tmp_path: Path
) -> None:
    with pytest.raises(Interrupted):
        fit(tmp_path, optimizer, stop_at=stop_at)
    resumed = fit(tmp_path, optimizer)
    assert_same(resumed, fit(None, optimizer))
    assert resumed[2] == EPOCHS * BATCHES - stop_at // (2 * BATCHES) * (2 * BATCHES)  # from the last checkpoint on


@pytest.mark.parametrize("optimizer", ["adam", "sgd"])
def test_training_may_be_interrupted_again_and_again(optimizer: str, tmp_path: Path) -> None:
    interruptions = 0
    while True:
        try:
            found = fit(tmp_path, optimizer, stop_at=2 * BATCHES + 1)
            break
        except Interrupted:
            interruptions += 1
    assert interruptions == 4
    assert_same(found, fit(None, optimizer))


@pytest.mark.parametrize(
    "damage",
    [
        lambda whole: b"",
        lambda whole: whole[:100],
        lambda whole: whole[:-1],
        lambda whole: bytes(len(whole)),
        lambda whole: flipped(whole, len(whole) - 1),
        lambda whole: flipped(whole, whole.index(b"learning_rates")),
    ],
    ids=["empty", "half a header", "a byte short", "zeros", "a bit of a tensor", "a bit of a fact"],
)
def test_checkpoint_that_is_not_what_was_written_is_set_aside_with_a_line(
    damage: Callable[[bytes], bytes], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(Interrupted):
        fit(tmp_path, "adam", stop_at=29)
    (checkpoint,) = tmp_path.iterdir()
    checkpoint.write_bytes(damage(checkpoint.read_bytes()))
    found = fit(tmp_path, "adam")
    assert f"{checkpoint} is damaged" in caplog.text
    assert checkpoint.with_suffix(".bad").exists()
    assert found[2] == EPOCHS * BATCHES
    assert_same(found, fit(None, "adam"))


def test_a_state_of_another_kind_of_device_is_set_aside_before_anything_is_restored(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(Interrupted):
        fit(tmp_path, "adam", stop_at=29)
    (checkpoint,) = tmp_path.iterdir()
    tensors, facts = load_tensors(checkpoint)
    assert facts["devices"] == ["cpu", "cpu"]
    save_tensors(checkpoint, tensors, **facts | {"devices": ["cpu", "cuda"]})
    whole, expected = fit(None, "adam"), fit(tmp_path, "adam")
    assert f"{checkpoint} was written on a device 'cuda', and this training is on 'cpu'" in caplog.text
    assert checkpoint.with_suffix(".bad").exists()
    assert whole[2] == expected[2]
    for one, other in zip(whole[0].state_dict().values(), expected[0].state_dict().values(), strict=True):
        assert torch.equal(one, other)


@pytest.mark.parametrize("tolerance", [0.0, 0.3])
def test_finished_phase_is_read_back_and_not_run_again(tolerance: float, tmp_path: Path) -> None:
    finished = fit(tmp_path, "adam", tolerance=tolerance)
    assert finished[1].converged == (tolerance > 0)
    again = fit(tmp_path, "adam", stop_at=0, tolerance=tolerance)
    assert again[2] == 0
    assert_same(again, finished)


def test_training_stopped_by_its_tolerance_resumes_to_the_same_stop(tmp_path: Path) -> None:
    expected = fit(None, "adam", tolerance=0.2)
    assert (expected[1].n_iter, expected[1].converged) == (4 * 7, True)
    with pytest.raises(Interrupted):
        fit(tmp_path, "adam", stop_at=13, tolerance=0.2)
    assert_same(fit(tmp_path, "adam", tolerance=0.2), expected)


def test_no_folder_means_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    fit(None, "adam")
    assert not list(tmp_path.iterdir())


def test_last_good_checkpoint_stays_when_a_loss_breaks_down(tmp_path: Path) -> None:
    model, calls = Model(), 0

    def terms(x: Tensor, *_: object) -> dict[str, Tensor]:
        nonlocal calls
        calls += 1
        return {"fit": model(x).square().mean() * (torch.nan if calls > 3 * BATCHES else 1)}

    optimizer = make_optimizer("adam", model, 0.05)
    with Runtime(checkpoints=tmp_path, checkpoint_every=1).open(), pytest.raises(SeedFailed, match="epoch 3"):
        train(model, X, terms, optimizer=optimizer, epochs=EPOCHS, batch_size=4, seed=3, phase="fit")
    tensors, facts = load_tensors(tmp_path / "fit.safetensors")
    assert facts["epoch"] == 3
    assert all(tensor.isfinite().all() for tensor in tensors.values() if tensor.is_floating_point())


@pytest.mark.parametrize(
    "make",
    [
        lambda g: torch.randn(3, 4, generator=g),
        lambda g: torch.randn(4, 3, generator=g).T,  # not contiguous
        lambda g: torch.arange(5),
        lambda g: torch.tensor(2.5),
        lambda g: torch.zeros(0, 3),
        lambda g: torch.tensor([True, False]),
        lambda g: torch.randn(4, generator=g).bfloat16(),
    ],
    ids=["matrix", "transposed", "integers", "scalar", "empty", "booleans", "bfloat16"],
)
def test_tensors_come_back_as_they_were(make: Callable[[torch.Generator], Tensor], tmp_path: Path) -> None:
    tensor = make(torch.Generator().manual_seed(0))
    facts: dict[str, Any] = {"epoch": 3, "trace": [{"loss": 0.1 + 0.2, "label_change": None}]}
    save_tensors(tmp_path / "x.safetensors", {"a": tensor, "b.c": torch.ones(2)}, **facts)
    tensors, found = load_tensors(tmp_path / "x.safetensors")
    assert tensors.keys() == {"a", "b.c"}
    assert tensors["a"].dtype == tensor.dtype
    assert torch.equal(tensors["a"], tensor)
    assert found == facts


def test_same_tensors_give_the_same_bytes(tmp_path: Path) -> None:
    for name, keys in [("x", "ab"), ("y", "ba")]:
        save_tensors(tmp_path / name, {key: torch.full((3,), ord(key)) for key in keys}, seed=1)
    assert (tmp_path / "x").read_bytes() == (tmp_path / "y").read_bytes()


def test_no_flipped_bit_of_a_file_of_tensors_goes_unnoticed(tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    tensors = {"a": torch.arange(3), "b": torch.tensor([True, False, True]), "c": torch.ones(1, 2)}
    save_tensors(path, tensors, rate=0.25)
    whole = path.read_bytes()
    for place, bit in itertools.product(range(len(whole)), range(8)):
        path.write_bytes(flipped(whole, place, bit))
        try:
            found, facts = load_tensors(path)
        except Damaged:
            continue
        assert facts == {"rate": 0.25}  # harmless: a space between the entries of the header
        assert all(torch.equal(found[name], tensor) for name, tensor in tensors.items())
