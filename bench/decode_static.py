"""Greedy decoding as an expert writes it with PyTorch alone; prints one JSON line: seconds of each case.

    python bench/decode_static.py '{"d_model": 512, ..., "source": 32, "length": 64, "cases": [{"batch": 64, "beam": 1}], ...}'

Called by `floe bench decode`, which runs Floe and its peers in turns on the same machine. Keys and values lie in static
caches of exactly the output's length; the cross attention's are projected once and need no mask, since all sentences are
full; a step with its argmax is compiled by Inductor and, on a GPU, captured as one CUDA graph, as is the encoder. Token
and position stay on the device, so steps are queued without waiting. Several ways to compile a step are tried for each
batch size, as many as `seconds_for_ways` allow; the fastest counts, and all are in the answer.

The layers of a step are compiled once and called for each layer: only matrix products lie between them, which Inductor
does not fuse across, so that nothing is lost but waiting.
"""

import gc
import json
import math
import sys
import time

import torch
import torch.nn.functional as F

DTYPES = {"f32": torch.float32, "bf16": torch.bfloat16}
START = 2
WAYS = ["eager", "default", "max-autotune-no-cudagraphs"]


def linear_of(inputs, outputs, where):
    bound = 1 / math.sqrt(inputs)
    return [
        torch.empty(outputs, inputs, **where).uniform_(-bound, bound),
        torch.empty(outputs, **where).uniform_(-bound, bound),
    ]


def norm_of(d, where):
    return [torch.ones(d, **where), torch.zeros(d, **where)]


def normed(x, norm):
    return F.layer_norm(x, x.shape[-1:], *norm)


def positions_of(length, d, where):
    angle = torch.arange(length)[:, None] * torch.exp(-math.log(10000.0) * torch.arange(0, d, 2) / d)
    return torch.stack([angle.sin(), angle.cos()], dim=-1).flatten(1).to(**where)


def feed_forward(x, w):
    return normed(x + F.linear(F.relu(F.linear(x, *w["up"])), *w["down"]), w["norm2"])


class Model:
    def __init__(self, a):
        self.heads, self.d, where = a["heads"], a["d_model"], {"device": a["device"], "dtype": DTYPES[a["precision"]]}
        self.where = where
        d, ff = a["d_model"], a["d_ff"]
        self.embedding = torch.randn(a["vocabulary"], d, **where) / math.sqrt(d)
        self.positions = positions_of(a["max_positions"], d, where)

        def layer(decoder):
            w = {"qkv": linear_of(d, 3 * d, where), "out": linear_of(d, d, where), "norm0": norm_of(d, where)}
            if decoder:
                w |= {"q": linear_of(d, d, where), "kv": linear_of(d, 2 * d, where)}
                w |= {"cross_out": linear_of(d, d, where), "norm1": norm_of(d, where)}
            w |= {"up": linear_of(d, ff, where), "down": linear_of(ff, d, where), "norm2": norm_of(d, where)}
            return w

        self.encoder = [layer(False) for _ in range(a["layers"])]
        self.decoder = [layer(True) for _ in range(a["layers"])]

    def split(self, x, parts):
        """[B, S, parts * d] to parts of [B, heads, S, d / heads]."""
        b, s, _ = x.shape
        return x.view(b, s, parts, self.heads, self.d // self.heads).permute(2, 0, 3, 1, 4).unbind(0)

    def encode(self, source, room):
        b, s = source.shape
        x = F.embedding(source, self.embedding) * math.sqrt(self.d) + self.positions[:s]
        for w in self.encoder:
            y = F.scaled_dot_product_attention(*self.split(F.linear(x, *w["qkv"]), 3))
            x = normed(x + F.linear(y.transpose(1, 2).reshape(b, s, self.d), *w["out"]), w["norm0"])
            x = feed_forward(x, w)
        for w, keys, values in zip(self.decoder, room.cross_keys, room.cross_values):
            k, v = self.split(F.linear(x, *w["kv"]), 2)
            keys.copy_(k)
            values.copy_(v)

    def begin(self, token, position, length):
        """The row of each token [B, d], and what is added to the scores of the cache's positions [1, 1, 1, length]."""
        x = F.embedding(token, self.embedding) * math.sqrt(self.d) + self.positions[position]
        seen = torch.arange(length, device=token.device) <= position
        return x, torch.where(seen, 0.0, -math.inf).to(x.dtype).view(1, 1, 1, length)

    def layer(self, x, mask, position, keys, values, cross_keys, cross_values, w):
        b, h, d = x.shape[0], self.heads, self.d
        q, k, v = F.linear(x, *w["qkv"]).view(b, 3, h, 1, d // h).unbind(1)
        keys[:, :, position] = k
        values[:, :, position] = v
        y = F.scaled_dot_product_attention(q, keys, values, attn_mask=mask)
        x = normed(x + F.linear(y.reshape(b, d), *w["out"]), w["norm0"])
        q = F.linear(x, *w["q"]).view(b, h, 1, d // h)
        y = F.scaled_dot_product_attention(q, cross_keys, cross_values)
        x = normed(x + F.linear(y.reshape(b, d), *w["cross_out"]), w["norm1"])
        return feed_forward(x, w)

    def finish(self, x, token, position, tokens):
        """Writes the best token. In two stages: a single row's 32,000 logits would be one block's work."""
        logits = F.linear(x, self.embedding)
        width = math.gcd(logits.shape[1], 256)
        best, at = logits.view(x.shape[0], -1, width).max(dim=-1)
        part = best.argmax(dim=-1, keepdim=True)
        chosen = at.gather(1, part) + part * width
        token.copy_(chosen[:, 0])
        tokens[:, position] = chosen
        position.add_(1)


class Room:
    """What a step reads and writes, for one batch size."""

    def __init__(self, model, batch, a):
        shape = (batch, model.heads, a["length"], model.d // model.heads)
        cross = (batch, model.heads, a["source"], model.d // model.heads)
        device = model.where["device"]

        def caches(of):
            return [torch.zeros(of, **model.where) for _ in model.decoder]

        self.keys, self.values, self.cross_keys, self.cross_values = caches(shape), caches(shape), caches(cross), caches(cross)
        self.token = torch.zeros(batch, dtype=torch.long, device=device)
        self.position = torch.zeros(1, dtype=torch.long, device=device)
        self.tokens = torch.zeros(batch, a["length"], dtype=torch.long, device=device)
        self.source = torch.zeros(batch, a["source"], dtype=torch.long, device=device)


def step_of(model, room, way):
    parts = (model.begin, model.layer, model.finish)
    if way != "eager":
        torch._dynamo.reset()
        parts = [torch.compile(part, mode=way, dynamic=False, fullgraph=True) for part in parts]
    begin, layer, finish = parts

    def step():
        x, mask = begin(room.token, room.position, room.tokens.shape[1])
        for w, *caches in zip(model.decoder, room.keys, room.values, room.cross_keys, room.cross_values):
            x = layer(x, mask, room.position, *caches, w)
        finish(x, room.token, room.position, room.tokens)

    return step


def launcher(work, gpu):
    """Runs `work` as one CUDA graph, where there is a GPU."""
    if not gpu:
        return work
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(2):
            work()
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        work()
    return graph.replay


def decoder(model, room, way, gpu):
    """A function from source ids on the host and a length to tokens on the host."""
    room.position.zero_()
    step = step_of(model, room, way)
    step()
    room.position.zero_()
    launch_step = launcher(step, gpu)
    launch_encoder = launcher(lambda: model.encode(room.source, room), gpu)

    def decode(source, length):
        room.source.copy_(source, non_blocking=True)
        launch_encoder()
        room.token.fill_(START)
        room.position.zero_()
        for _ in range(length):
            launch_step()
        return room.tokens[:, :length].cpu()

    return decode


def measure(model, case, way, a):
    gpu = a["device"] == "cuda"
    begun = time.perf_counter()
    gc.collect()
    if gpu:
        torch.cuda.empty_cache()
    room = Room(model, case["batch"], a)
    decode = decoder(model, room, way, gpu)
    source = torch.randint(4, a["vocabulary"], (case["batch"], a["source"]))
    if gpu:
        source = source.pin_memory()

    def call(length):
        start = time.perf_counter()
        decode(source, length)
        return time.perf_counter() - start

    def median(times):
        return sorted(times)[len(times) // 2]

    for _ in range(a["warmup"]):
        call(a["length"])
    # Turn by turn, so that a slow moment of the machine falls on both.
    pairs = [(call(1), call(a["length"])) for _ in range(a["runs"])]
    first, seconds = (median(times) for times in zip(*pairs))
    result = {"seconds": seconds, "first_seconds": first}
    if gpu:
        free, total = torch.cuda.mem_get_info()
        result["peak_bytes"] = total - free
    result["preparation_seconds"] = time.perf_counter() - begun
    return result


@torch.no_grad()
def main():
    a = json.loads(sys.argv[1])
    torch.set_num_threads(a["threads"])
    torch.manual_seed(1)
    model = Model(a)
    tried = {case["batch"]: {} for case in a["cases"]}
    end = time.perf_counter() + a["seconds_for_ways"]
    for way in WAYS:
        longest = 0.0
        for case in a["cases"]:
            if time.perf_counter() + longest > end and way != "eager":
                continue
            result = measure(model, case, way, a)
            longest = max(longest, result["preparation_seconds"])
            tried[case["batch"]][way] = result
    results = []
    for case in a["cases"]:
        ways = tried[case["batch"]]
        way = min(ways, key=lambda name: ways[name]["seconds"])
        results.append({**case, **ways[way], "way": way, "ways": {name: of["seconds"] for name, of in ways.items()}})
    print(json.dumps({"results": results, "versions": {"pytorch": torch.__version__}}))


if __name__ == "__main__":
    main()
