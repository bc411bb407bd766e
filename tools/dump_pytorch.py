#!/usr/bin/env python3
"""Writes src/nn/testdata/pytorch_*.safetensors: small Transformers as PyTorch trains them on the CPU in float32.

Each file holds the weights under Floe's names ("w."), a batch, loss and gradients of the mean loss ("g."), and the
weights after ten AdamW steps ("after."), with the loss before each step. Needs torch and numpy:
    python3 tools/dump_pytorch.py src/nn/testdata
"""
import json
import math
import struct
import sys

import numpy as np
import torch
import torch.nn.functional as F

D, HEADS, FF, VOCABULARY, PAD = 16, 4, 24, 40, 0
SMOOTHING, STEPS = 0.1, 10
ADAM = dict(lr=1e-3, betas=(0.9, 0.98), eps=1e-4, weight_decay=0.01)


class Model:
    """Functional on purpose: weights are a flat dict, so the names in the file are the names in the code."""

    def __init__(self, kind, seed):
        self.modern = kind == "modern"  # pre-norm, RMS, rotary, grouped keys, SwiGLU, nothing tied, no biases
        self.layers = 1 if self.modern else 2
        self.kv_heads = 2 if self.modern else HEADS
        self.random = torch.Generator().manual_seed(seed)
        self.w = {}
        head = D // HEADS
        if self.modern:
            self.matrix("encoder.embedding.weight", VOCABULARY, D)
            self.matrix("decoder.embedding.weight", VOCABULARY, D)
        else:
            self.matrix("embedding.weight", VOCABULARY, D)
        for stack in ("encoder", "decoder"):
            for i in range(self.layers):
                place = f"{stack}.{i}"
                self.norm(f"{place}.self_attention")
                self.linear(f"{place}.self_attention.qkv", D + 2 * self.kv_heads * head, D)
                self.linear(f"{place}.self_attention.out", D, D)
                if stack == "decoder":
                    self.norm(f"{place}.cross_attention")
                    self.linear(f"{place}.cross_attention.q", D, D)
                    self.linear(f"{place}.cross_attention.kv", 2 * self.kv_heads * head, D)
                    self.linear(f"{place}.cross_attention.out", D, D)
                self.norm(f"{place}.feed_forward")
                self.linear(f"{place}.feed_forward.up", FF * (2 if self.modern else 1), D)
                self.linear(f"{place}.feed_forward.down", D, FF)
            if self.modern:
                self.norm(stack)
        if self.modern:
            self.matrix("output.weight", VOCABULARY, D)
            self.w["output.bias"] = 0.1 * torch.randn(VOCABULARY, generator=self.random)
        for value in self.w.values():
            value.requires_grad_()

    def matrix(self, name, rows, columns):
        self.w[name] = torch.randn(rows, columns, generator=self.random) / math.sqrt(columns)

    def linear(self, name, rows, columns):
        self.matrix(name + ".weight", rows, columns)
        if not self.modern:
            self.w[name + ".bias"] = 0.1 * torch.randn(rows, generator=self.random)

    def norm(self, place):
        self.w[place + ".norm.gamma"] = 1 + 0.1 * torch.randn(D, generator=self.random)
        if not self.modern:
            self.w[place + ".norm.beta"] = 0.1 * torch.randn(D, generator=self.random)

    def apply_linear(self, x, name):
        return F.linear(x, self.w[name + ".weight"], self.w.get(name + ".bias"))

    def apply_norm(self, x, place):
        gamma = self.w[place + ".norm.gamma"]
        if self.modern:
            return F.rms_norm(x, (D,), gamma, eps=1e-5)
        return F.layer_norm(x, (D,), gamma, self.w[place + ".norm.beta"], eps=1e-5)

    def residual(self, x, place, branch):
        if self.modern:
            return x + branch(self.apply_norm(x, place))
        return self.apply_norm(x + branch(x), place)

    def rotate(self, x):  # [B, T, H, D]: pairs (i, i + D/2)
        if not self.modern:
            return x
        half = x.shape[-1] // 2
        angle = torch.arange(x.shape[1])[:, None] * 10000.0 ** (-torch.arange(half) / half)
        cos, sin = torch.cos(angle)[:, None, :], torch.sin(angle)[:, None, :]
        a, b = x[..., :half], x[..., half:]
        return torch.cat([a * cos - b * sin, b * cos + a * sin], -1)

    def attend(self, q, k, v, mask):
        repeat = HEADS // self.kv_heads
        k, v = k.repeat_interleave(repeat, 2), v.repeat_interleave(repeat, 2)
        scores = torch.einsum("bqhd,bkhd->bhqk", q, k) / math.sqrt(D // HEADS)
        return torch.einsum("bhqk,bkhd->bqhd", scores.masked_fill(~mask, -math.inf).softmax(-1), v).flatten(2)

    def self_attention(self, x, place, mask):
        heads = self.apply_linear(x, place + ".qkv").unflatten(-1, (-1, D // HEADS))
        q, k, v = heads.split([HEADS, self.kv_heads, self.kv_heads], 2)
        return self.apply_linear(self.attend(self.rotate(q), self.rotate(k), v, mask), place + ".out")

    def cross_attention(self, x, memory, place, mask):
        q = self.apply_linear(x, place + ".q").unflatten(-1, (-1, D // HEADS))
        k, v = self.apply_linear(memory, place + ".kv").unflatten(-1, (-1, D // HEADS)).chunk(2, 2)
        return self.apply_linear(self.attend(q, k, v, mask), place + ".out")

    def feed_forward(self, x, place):
        up = self.apply_linear(x, place + ".up")
        if self.modern:
            gate, up = up.chunk(2, -1)
            return self.apply_linear(F.silu(gate) * up, place + ".down")
        return self.apply_linear(F.relu(up), place + ".down")

    def embed(self, ids, side):
        x = F.embedding(ids, self.w[f"{side}.embedding.weight" if self.modern else "embedding.weight"]) * math.sqrt(D)
        if self.modern:
            return x
        position = torch.arange(ids.shape[1])[:, None]
        angle = position * 10000.0 ** (-torch.arange(0, D, 2) / D)
        return x + torch.stack([torch.sin(angle), torch.cos(angle)], -1).flatten(1)

    def logits(self, source, lengths, target):
        keys = (torch.arange(source.shape[1])[None] < lengths[:, None])[:, None, None]  # [B, 1, 1, S]
        causal = torch.ones(target.shape[1], target.shape[1], dtype=torch.bool).tril()[None, None]
        x = self.embed(source, "encoder")
        for i in range(self.layers):
            p = f"encoder.{i}"
            x = self.residual(x, p + ".self_attention", lambda y: self.self_attention(y, p + ".self_attention", keys))
            x = self.residual(x, p + ".feed_forward", lambda y: self.feed_forward(y, p + ".feed_forward"))
        memory = self.apply_norm(x, "encoder") if self.modern else x
        x = self.embed(target, "decoder")
        for i in range(self.layers):
            p = f"decoder.{i}"
            x = self.residual(x, p + ".self_attention", lambda y: self.self_attention(y, p + ".self_attention", causal))
            x = self.residual(
                x, p + ".cross_attention", lambda y: self.cross_attention(y, memory, p + ".cross_attention", keys))
            x = self.residual(x, p + ".feed_forward", lambda y: self.feed_forward(y, p + ".feed_forward"))
        if self.modern:
            return F.linear(self.apply_norm(x, "decoder"), self.w["output.weight"], self.w["output.bias"])
        return F.linear(x, self.w["embedding.weight"])


def make_batch():
    random = np.random.default_rng(3)
    lengths, targets = [7, 4, 5], [6, 8, 3]
    source = np.full((3, 7), PAD)
    target_in, target_out = np.full((3, 8), PAD), np.full((3, 8), PAD)
    for row, (s, t) in enumerate(zip(lengths, targets)):
        source[row, :s] = random.integers(3, VOCABULARY, s)
        tokens = random.integers(3, VOCABULARY, t - 1)
        target_in[row, :t] = np.concatenate([[1], tokens])
        target_out[row, :t] = np.concatenate([tokens, [2]])
    return {name: torch.from_numpy(value) for name, value in dict(
        source=source, source_lengths=np.array(lengths), target_in=target_in, target_out=target_out).items()}


def write_safetensors(path, tensors, metadata):
    header, blobs, offset = {"__metadata__": metadata}, [], 0
    for name, value in tensors.items():
        data = np.ascontiguousarray(value).tobytes()
        kind = {"float32": "F32", "int32": "I32"}[value.dtype.name]
        header[name] = dict(dtype=kind, shape=list(value.shape), data_offsets=[offset, offset + len(data)])
        blobs.append(data)
        offset += len(data)
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text + b"".join(blobs))


def main():
    folder = sys.argv[1]
    torch.set_num_threads(1)
    batch = make_batch()
    for kind, seed in (("classic", 11), ("modern", 12)):
        model = Model(kind, seed)
        decayed = [value for value in model.w.values() if value.dim() >= 2]
        others = [value for value in model.w.values() if value.dim() < 2]
        optimizer = torch.optim.AdamW([dict(params=decayed), dict(params=others, weight_decay=0.0)], **ADAM)
        tensors = {name: value.to(torch.int32).numpy() for name, value in batch.items()}
        tensors |= {"w." + name: value.detach().numpy().copy() for name, value in model.w.items()}
        losses = []
        for step in range(STEPS):
            optimizer.zero_grad()
            logits = model.logits(batch["source"], batch["source_lengths"], batch["target_in"])
            loss = F.cross_entropy(
                logits.flatten(0, 1), batch["target_out"].flatten(), ignore_index=PAD, label_smoothing=SMOOTHING)
            loss.backward()
            losses.append(loss.item())
            if step == 0:
                tensors |= {"g." + name: value.grad.numpy().copy() for name, value in model.w.items()}
            optimizer.step()
        tensors |= {"after." + name: value.detach().numpy().copy() for name, value in model.w.items()}
        tensors["losses"] = np.array(losses, np.float32)
        write_safetensors(f"{folder}/pytorch_{kind}.safetensors", tensors, {"torch": torch.__version__})


if __name__ == "__main__":
    main()
