"""Attention by PyTorch's scaled_dot_product_attention, one back end after another. Reads cases from standard input, a JSON
object a line, and prints an object for each:

    {"version": "2.11.0", "back_ends": {"math": {"seconds": 0.01, "bytes": 123456}, "flash": {"failed": "why"}, ...}}

    python bench/attention_peer.py '{"device": "cuda", "precision": "bf16", "threads": 2, "sample_seconds": 0.015}'

Called by `floe bench attention`, which runs Floe and its peer in turns on the same machine. As there, tensors lie as
[batch, position, head, feature], several sets of operands take turns where one would stay in a cache, and bytes are the
most that was held beside q, k, v and the gradient of the result. Short cases run as a CUDA graph, so that no launch is
counted. A case asked again is only timed again; what takes longer than SLOW is not, and gives its first time.
"""

import ctypes
import gc
import json
import sys
import time

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.functional import scaled_dot_product_attention

DTYPES = {"f32": torch.float32, "bf16": torch.bfloat16}
BACK_ENDS = {"math": SDPBackend.MATH, "flash": SDPBackend.FLASH_ATTENTION, "cudnn": SDPBackend.CUDNN_ATTENTION}
GRAPH, SLOW = 2e-3, 20e-3  # seconds of one launch on a GPU: a CUDA graph below, timed once alone above


class Memory:
    """Bytes held at most since the object was made."""

    def __init__(self, gpu):
        self.gpu = gpu
        if gpu:
            torch.cuda.synchronize()
            torch.cuda.reset_peak_memory_stats()
            self.before = torch.cuda.memory_allocated()
        else:
            ctypes.CDLL(None).malloc_trim(0)  # what was freed is given back, so that taking it again shows
            with open("/proc/self/clear_refs", "w", encoding="ascii") as file:
                file.write("5")  # sets VmHWM back
            self.before = self.resident("VmRSS")

    @staticmethod
    def resident(what):
        with open("/proc/self/status", encoding="ascii") as file:
            return next(int(line.split()[1]) * 1024 for line in file if line.startswith(what + ":"))

    def bytes(self):
        if self.gpu:
            torch.cuda.synchronize()
            return torch.cuda.max_memory_allocated() - self.before
        return max(self.resident("VmHWM") - self.before, 0)


class Operands:
    """One set, as leaves that the back end takes."""

    def __init__(self, c, a, packed):
        where = {"device": a["device"], "dtype": DTYPES[a["precision"]]}
        heads, width = c["heads"], c["width"]
        if packed:  # rows of a batch one after another, without padding
            rows = sum(c["lengths"])
            shapes = [(rows, heads, width), (rows, c["key_heads"], width)]
        else:
            shapes = [(c["batch"], c["queries"], heads, width), (c["batch"], c["keys"], c["key_heads"], width)]
        gradient = c["pass"] == "backward"
        self.q, self.k, self.v = (torch.randn(s, **where, requires_grad=gradient) for s in (shapes[0], *shapes[1:] * 2))
        self.dout = torch.randn(shapes[0], **where) if gradient else None
        self.out = None


class BackEnd:
    """A case by one back end: runs every set once, forward or backward."""

    def __init__(self, c, a, name):
        self.c, self.name, self.gpu = c, name, a["device"] == "cuda"
        self.backward = c["pass"] == "backward"
        # FlashAttention takes no mask; it takes rows of several lengths packed.
        self.packed = name == "flash" and c["lengths"] is not None and self.gpu
        if self.packed and c["queries"] != c["keys"]:
            raise ValueError("packed rows have as many queries as keys here")
        self.sets = [Operands(c, a, self.packed) for _ in range(sets_of(c, a))]
        self.mask = self.bounds = None
        if self.packed:
            self.bounds = torch.tensor([0, *c["lengths"]], dtype=torch.int32).cumsum(0, dtype=torch.int32).to(a["device"])
        elif c["lengths"] is not None:
            lengths = torch.tensor(c["lengths"], device=a["device"])
            keys = torch.arange(c["keys"], device=a["device"])
            self.mask = (keys < lengths[:, None])[:, None, None, :]
            if c["causal"]:
                self.mask = self.mask & (keys <= torch.arange(c["queries"], device=a["device"])[:, None])

    def attend(self, x):
        c = self.c
        if self.packed:
            return torch.ops.aten._flash_attention_forward(
                x.q, x.k, x.v, self.bounds, self.bounds, max(c["lengths"]), max(c["lengths"]), c["dropout"],
                c["causal"], False)[0]
        out = scaled_dot_product_attention(
            *(t.transpose(1, 2) for t in (x.q, x.k, x.v)), attn_mask=self.mask, dropout_p=c["dropout"],
            is_causal=c["causal"] and self.mask is None, enable_gqa=c["heads"] != c["key_heads"])
        return out.transpose(1, 2)

    def prepare(self):
        for x in self.sets if self.backward else []:
            x.out = self.attend(x)

    def launch(self):
        with sdpa_kernel(BACK_ENDS[self.name]), torch.set_grad_enabled(self.backward):
            for x in self.sets:
                if self.backward:
                    torch.autograd.grad(x.out, (x.q, x.k, x.v), x.dout, retain_graph=True)
                else:
                    self.attend(x)

    def most_bytes(self):
        with sdpa_kernel(BACK_ENDS[self.name]), torch.set_grad_enabled(self.backward):
            x = self.sets[0]
            self.attend(x)  # what a library allocates once is not counted
            memory = Memory(self.gpu)
            out = self.attend(x)
            gradients = torch.autograd.grad(out, (x.q, x.k, x.v), x.dout) if self.backward else None
            return memory.bytes() if gradients or out is not None else 0


def sets_of(c, a):
    element = torch.finfo(DTYPES[a["precision"]]).bits // 8
    keys = 2 * c["batch"] * c["keys"] * c["key_heads"] * c["width"] * element
    queries = 2 * c["batch"] * c["queries"] * c["heads"] * c["width"] * element
    return min(max(128 * 2**20 // (keys + queries) + 1, 1), 8)


class Measurement:
    def __init__(self, c, a, name):
        self.end = BackEnd(c, a, name)
        self.gpu = self.end.gpu
        self.stream = torch.cuda.Stream() if self.gpu else None
        self.bytes = self.end.most_bytes()
        self.launch = self.end.launch
        self.once = None
        with torch.cuda.stream(self.stream):  # which does nothing with None
            with sdpa_kernel(BACK_ENDS[name]):
                self.end.prepare()
            self.launch()
            once = self.timed(1)
            if self.gpu and once < GRAPH:
                self.record()
                once = self.timed(1)
            if self.gpu and once > SLOW:
                self.once = once / len(self.end.sets)
                self.end = self.launch = None  # its memory is needed
        self.launches = min(max(int(a["sample_seconds"] / once) + 1, 1), 10_000)

    def record(self):
        graph = torch.cuda.CUDAGraph()
        try:
            with torch.cuda.graph(graph, stream=self.stream):
                self.end.launch()
            self.launch = graph.replay
            self.launch()
        except RuntimeError as error:
            print(f"attention_peer: {self.end.name}: no CUDA graph: {error}", file=sys.stderr)
            torch.cuda.synchronize()
            self.launch = self.end.launch

    def timed(self, launches):
        wait = torch.cuda.synchronize if self.gpu else lambda: None
        wait()
        start = time.perf_counter()
        for _ in range(launches):
            self.launch()
        wait()
        return time.perf_counter() - start

    def answer(self):
        seconds = self.once
        if seconds is None:
            with torch.cuda.stream(self.stream):
                seconds = self.timed(self.launches) / (self.launches * len(self.end.sets))
        return {"seconds": seconds, "bytes": self.bytes}


def measurement(c, a, name):
    """The measurement, or the reason why there is none."""
    try:
        return Measurement(c, a, name)
    except (RuntimeError, ValueError, NotImplementedError) as error:
        text = "out of memory" if isinstance(error, torch.OutOfMemoryError) else str(error).split("\n", maxsplit=1)[0]
    gc.collect()
    return {"failed": text[:200]}


def main():
    a = json.loads(sys.argv[1])
    torch.set_num_threads(a["threads"])
    torch.manual_seed(1)
    # The CPU's fused kernel goes by the name of FlashAttention there, and cuDNN is not for it.
    names = list(BACK_ENDS) if a["device"] == "cuda" else ["math", "flash"]
    asked, measurements = None, {}
    for line in sys.stdin:
        if line != asked:
            measurements.clear()
            gc.collect()
            asked = line
        answers = {}
        for name in names:
            if name not in measurements:
                if a["device"] == "cuda":
                    torch.cuda.empty_cache()
                measurements[name] = measurement(json.loads(line), a, name)
            of = measurements[name]
            answers[name] = of if isinstance(of, dict) else of.answer()
        print(json.dumps({"version": torch.__version__, "back_ends": answers}), flush=True)


if __name__ == "__main__":
    main()
