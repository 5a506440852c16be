"""Steps recorded and replayed: as if taken one by one, anew when expired, and never where that cannot be.

A graphics card is where recordings are made; here `Recorder` stands for it. Both ways of training on a card are
compared where there is one.
"""

import logging
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from deepclust.nets.mlp import MLP
from deepclust.training import loop
from deepclust.training.pretrain import pretrain
from deepclust.training.replay import TRIES, WARM_UP, Record, Replayed, own_stream
from tests.recorder import Recorder

X = torch.rand(40, 4, generator=torch.Generator().manual_seed(0))
BATCHES = torch.randperm(40, generator=torch.Generator().manual_seed(1)).view(8, 5)


class Training:
    """A linear map trained by hand; `seen` is a buffer that every step writes to."""

    def __init__(self, record: Record | None = None) -> None:
        self.module = nn.Linear(4, 4)
        with torch.no_grad():
            self.module.weight.copy_(torch.eye(4) / 2)
            self.module.bias.zero_()
        self.module.register_buffer("seen", torch.zeros(40))
        self.optimizer = torch.optim.Adam(self.module.parameters(), lr=0.1)
        self.run = Replayed(self.step, self.module, record)

    def step(self, index: Tensor) -> tuple[list[str], Tensor]:
        loss = (self.module(X[index]) - X[index]).square().mean()
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        self.module.get_buffer("seen")[index] += 1
        return ["fit"], loss.detach()[None]


def weights(training: Training) -> list[Tensor]:
    return list(training.module.state_dict().values())


def test_replayed_steps_are_those_taken_one_by_one() -> None:
    recorder = Recorder()
    plain, replayed = Training(), Training(recorder)
    for batch in BATCHES:
        (names, expected), (found_names, found) = plain.run(batch), replayed.run(batch)
        assert names == found_names
        assert torch.equal(expected, found)
    assert (recorder.recordings, recorder.replays) == (1, len(BATCHES) - WARM_UP)
    assert all(map(torch.equal, weights(plain), weights(replayed)))


def test_expired_recordings_are_made_anew() -> None:
    recorder = Recorder()
    training = Training(recorder)
    for batch in BATCHES:
        training.run.expire()
        training.run(batch)
    assert recorder.recordings == len(BATCHES) - WARM_UP


def test_a_step_that_waits_is_taken_as_it_is_and_the_log_says_so_once(caplog: pytest.LogCaptureFixture) -> None:
    def refuse(function: Callable[[], Any]) -> Any:
        raise RuntimeError("operation not permitted when stream is capturing\nmore of it")

    plain, training = Training(), Training(refuse)
    with caplog.at_level(logging.WARNING):
        for batch in [*BATCHES, *BATCHES]:
            training.run.expire()
            assert torch.equal(plain.run(batch)[1], training.run(batch)[1])
    assert [record.getMessage() for record in caplog.records] == [
        "a step cannot be recorded for the GPU and is slower: operation not permitted when stream is capturing"
    ]
    assert all(map(torch.equal, weights(plain), weights(training)))


def test_a_step_that_replaces_a_tensor_is_not_replayed_and_the_old_one_is_back(
    caplog: pytest.LogCaptureFixture,
) -> None:
    class Replacing(Training):
        def step(self, index: Tensor) -> tuple[list[str], Tensor]:
            found = super().step(index)
            self.module.register_buffer("seen", self.module.get_buffer("seen") * 2)
            return found

    def only_note(function: Callable[[], Any]) -> Any:
        kept = {name: tensor.clone() for name, tensor in training.module.state_dict().items()}
        optimizer = training.optimizer.state_dict()
        found = function()
        with torch.no_grad():
            for name, tensor in before.items():
                tensor.copy_(kept[name])
        training.optimizer.load_state_dict(optimizer)
        return pytest.fail, found

    training = Replacing(only_note)
    for batch in BATCHES[:WARM_UP]:
        training.run(batch)
    before = dict(training.module.named_parameters()) | dict(training.module.named_buffers())
    with caplog.at_level(logging.WARNING):
        for _ in range(TRIES):
            training.run._try(BATCHES[WARM_UP], only_note)
    assert "it puts a new tensor in the place of 'seen'" in caplog.text
    after = dict(training.module.named_parameters()) | dict(training.module.named_buffers())
    assert all(after[name] is tensor for name, tensor in before.items())
    training.run(BATCHES[WARM_UP])  # as it is


def test_a_cpu_has_no_streams() -> None:
    with own_stream(torch.device("cpu")):
        assert float(X.sum()) > 0


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("optimizer", ["adam", "adadelta", "sgd"])
def test_a_card_trains_as_the_cpu_does_replayed_or_not(
    optimizer: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    data = torch.rand(640, 16, generator=torch.Generator().manual_seed(0))
    settings = MLP(hidden=(32, 32), n_embedding=4, epochs=3, batch_size=32, optimizer=optimizer)

    def traces(device: str) -> Tensor:
        outcome = pretrain(data.to(device), settings, seed=0)[1]
        return torch.tensor([row["loss"] for row in outcome.trace])

    replayed = traces("cuda")
    assert caplog.text == ""
    monkeypatch.setattr(loop, "cuda_graphs", lambda _: None)
    torch.testing.assert_close(replayed, traces("cuda"), rtol=1e-5, atol=0)
    torch.testing.assert_close(replayed, traces("cpu"), rtol=1e-3, atol=0)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_noise_on_a_card_is_not_the_same_in_every_replay() -> None:
    settings = MLP(hidden=(16,), n_embedding=4, layerwise_epochs=2, corruption=0.5, epochs=1, batch_size=40)
    data = torch.ones(400, 8, device="cuda")
    first, second = (pretrain(data, settings, seed=0)[1].trace for _ in range(2))
    assert first == second
    losses = [row["loss"] for row in first]
    assert len(set(losses)) == len(losses)
