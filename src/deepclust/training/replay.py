"""A training step on a GPU: recorded as a CUDA graph and replayed, one launch in place of some hundred.

With small layers and batches of 256 a GPU computes faster than Python can tell it what to do next.
"""

import contextlib
import logging
import threading
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn

WARM_UP = 3  # batches that are taken step by step: libraries and optimisers set up their memory in them
TRIES = 4  # at recording: another thread that loads a library meanwhile can spoil one

Step = Callable[[Tensor], tuple[list[str], Tensor]]
"""Take one step on the rows of these indices (B,); return the names of the loss's terms and their values."""

Record = Callable[[Callable[[], Any]], tuple[Callable[[], None], Any]]
"""Capture a function; return its replay and its result."""

_log = logging.getLogger(__name__)
_thread = threading.local()
_setting_up = threading.Lock()  # one thread at a time warms up or records
# said of every step that comes before the recording
warnings.filterwarnings("ignore", "This instance was constructed with capturable=True")


class Replayed:
    """A step that is recorded after its first `WARM_UP` calls and from then on replayed, for batches of one size.

    A recording has the addresses of the tensors it reads and writes, and the values that Python's variables had. So
    `expire` is to be called after whatever may have changed either; the next call records anew. A step that cannot be
    recorded, because it waits for the device or puts new tensors in the place of its module's, is taken as it is ever
    after, and a line in the log says why. Without `record`, as on a CPU, every step is taken as it is. A call may
    overwrite the values that the last one returned.
    """

    def __init__(self, step: Step, module: nn.Module, record: Record | None) -> None:
        self._step = step
        self._module = module
        self._record = record
        self._to_come = WARM_UP
        self._tries = TRIES
        self._index = torch.empty(0)
        self._replay: Callable[[], None] | None = None
        self._result: tuple[list[str], Tensor] = [], torch.empty(0)

    def expire(self) -> None:
        self._replay = None

    def __call__(self, index: Tensor) -> tuple[list[str], Tensor]:
        if self._record is None:
            return self._step(index)
        if self._replay is None:
            with _setting_up:
                if not self._to_come:
                    self._try(index, self._record)
                if self._replay is None:
                    self._to_come = max(0, self._to_come - 1)
                    return self._step(index)
        self._index.copy_(index)
        self._replay()
        return self._result

    def _try(self, index: Tensor, record: Record) -> None:
        """Record the step, or leave everything as it was and, the last time, say why not."""
        before = dict(_tensors(self._module))
        self._index = index.clone()
        try:
            replay, self._result = record(lambda: self._step(self._index))
            after = dict(_tensors(self._module))
            if moved := [name for name, tensor in before.items() if after.get(name) is not tensor]:
                raise RuntimeError(f"it puts a new tensor in the place of '{moved[0]}'; write into the old one")
        except RuntimeError as error:
            self._to_come, self._tries = WARM_UP, self._tries - 1
            for name, tensor in before.items():
                owner, _, key = name.rpartition(".")
                setattr(self._module.get_submodule(owner), key, tensor)
            if not self._tries:
                self._record = None
                _log.warning("a step cannot be recorded for the GPU and is slower: %s", str(error).splitlines()[0])
        else:
            self._replay = replay


def cuda_graphs(generator: torch.Generator) -> Record:
    """Return a recorder of CUDA graphs on the current stream, which is not the default one; they share their memory.

    `generator` is the one on the device that the function draws from: each replay goes on drawing from it.
    """
    last: torch.cuda.CUDAGraph | None = None

    def record(function: Callable[[], Any]) -> tuple[Callable[[], None], Any]:
        nonlocal last
        graph = torch.cuda.CUDAGraph()
        graph.register_generator_state(generator)
        state = generator.clone_state()
        # thread_local: trainings in other threads go on meanwhile
        graph.capture_begin(pool=last.pool() if last else None, capture_error_mode="thread_local")
        try:
            found = function()
            graph.capture_end()
        except BaseException:
            with contextlib.suppress(RuntimeError):
                graph.capture_end()  # or the stream would go on recording
            generator.graphsafe_set_state(state)  # the one that was recorded draws in recordings alone
            raise
        last = graph  # the one before must outlive this recording, or its memory is gone
        return graph.replay, found

    return record


@contextlib.contextmanager
def own_stream(device: torch.device) -> Iterator[None]:
    """On a GPU, have the block run on this thread's stream, after what the current one has to do and before the rest.

    A thread keeps its stream: torch hands out a few dozen in turn, and two that record on one disturb each other.
    """
    if device.type != "cuda":
        yield
        return
    if not hasattr(_thread, "stream"):
        _thread.stream = torch.cuda.Stream(device)
    around, stream = torch.cuda.current_stream(device), _thread.stream
    stream.wait_stream(around)
    try:
        with torch.cuda.stream(stream):
            yield
    finally:
        around.wait_stream(stream)


def _tensors(module: nn.Module) -> Iterator[tuple[str, Tensor]]:
    yield from module.named_parameters()
    yield from module.named_buffers()
