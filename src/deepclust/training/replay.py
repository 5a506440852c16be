"""A training step on a GPU: recorded as a CUDA graph, then replayed by one launch instead of some hundred.

With small layers and batches of 256 a GPU computes faster than Python can launch its kernels.
"""

import contextlib
import logging
import threading
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn

WARM_UP = 3  # batches before the recording, in which libraries and optimisers set up their memory
TRIES = 4  # attempts at recording: another thread that loads a library meanwhile can spoil one

Step = Callable[[Tensor], tuple[list[str], Tensor]]
"""Take one step on the rows of these indices (B,); return the names of the loss's terms and their values."""

Record = Callable[[Callable[[], Any]], tuple[Callable[[], None], Any]]
"""Capture a function; return its replay and its result."""

_log = logging.getLogger(__name__)
_thread = threading.local()
_setting_up = threading.Lock()  # one thread at a time warms up or records
# a warning of torch about every step before the recording
warnings.filterwarnings("ignore", "This instance was constructed with capturable=True")


class Replayed:
    """A step that is recorded after its first `WARM_UP` calls and from then on replayed, for batches of one size.

    A recording fixes the addresses of the tensors that the step reads and writes, and the values of Python's variables.
    Call `expire` after anything that may have changed either; the next call then records anew. Some steps cannot be
    recorded, because they wait for the device or replace their module's tensors. Such a step runs unrecorded from then
    on, and a line in the log says why. Without `record`, as on a CPU, every step runs unrecorded. A call may overwrite
    the values that the last call returned.
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
        """Record the step. On failure leave everything as it was; the last failure is logged with its reason."""
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
    """Return a recorder of CUDA graphs on the current stream, which is not the default one; the graphs share memory.

    `generator` is the generator on the device that the function draws from: each replay draws further numbers from it.
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
                graph.capture_end()  # otherwise the stream would go on recording
            generator.graphsafe_set_state(state)  # the recorded state is for recordings alone
            raise
        last = graph  # the previous graph must outlive this recording, or the shared memory is gone
        return graph.replay, found

    return record


@contextlib.contextmanager
def own_stream(device: torch.device) -> Iterator[None]:
    """On a GPU, run the block on this thread's stream, after earlier work of the current stream and before later work.

    A thread keeps its stream: torch hands out a few dozen in turn, and two threads that record on one stream disturb
    each other.
    """
    if device.type != "cuda":
        yield
        return
    streams = _thread.__dict__.setdefault("streams", {})
    if device not in streams:
        streams[device] = torch.cuda.Stream(device)
    around, stream = torch.cuda.current_stream(device), streams[device]
    stream.wait_stream(around)
    try:
        with torch.cuda.stream(stream):
            yield
    finally:
        around.wait_stream(stream)


def _tensors(module: nn.Module) -> Iterator[tuple[str, Tensor]]:
    yield from module.named_parameters()
    yield from module.named_buffers()
