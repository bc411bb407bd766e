"""The PyTorch twin of Floe's encoder-decoder: same layers, same dropout places, same loss.

Written the way an experienced user writes it: fused attention, merged QKV and KV projections, tied embeddings,
label-smoothed cross-entropy over real targets. Post-norm, sinusoidal positions, ReLU.
"""

import math

import torch
import torch.nn as nn
import torch.nn.functional as F


class Config:
    def __init__(self, d_model, d_ff, layers, heads, vocabulary, dropout):
        self.d_model, self.d_ff, self.layers, self.heads = d_model, d_ff, layers, heads
        self.vocabulary, self.dropout = vocabulary, dropout


class Attention(nn.Module):
    def __init__(self, c, cross):
        super().__init__()
        self.heads, self.cross = c.heads, cross
        if cross:
            self.q = nn.Linear(c.d_model, c.d_model)
            self.kv = nn.Linear(c.d_model, 2 * c.d_model)
        else:
            self.qkv = nn.Linear(c.d_model, 3 * c.d_model)
        self.out = nn.Linear(c.d_model, c.d_model)

    def forward(self, x, memory, mask, causal):
        b, t, d = x.shape
        if self.cross:
            q = self.q(x)
            k, v = self.kv(memory).chunk(2, dim=-1)
        else:
            q, k, v = self.qkv(x).chunk(3, dim=-1)
        q, k, v = (y.view(b, -1, self.heads, d // self.heads).transpose(1, 2) for y in (q, k, v))
        y = F.scaled_dot_product_attention(q, k, v, attn_mask=mask, is_causal=causal)
        return self.out(y.transpose(1, 2).reshape(b, t, d))


class Layer(nn.Module):
    def __init__(self, c, decoder):
        super().__init__()
        self.dropout = c.dropout
        self.self_attention = Attention(c, cross=False)
        self.cross_attention = Attention(c, cross=True) if decoder else None
        self.up, self.down = nn.Linear(c.d_model, c.d_ff), nn.Linear(c.d_ff, c.d_model)
        self.norms = nn.ModuleList(nn.LayerNorm(c.d_model) for _ in range(3 if decoder else 2))

    def branch(self, x, y, norm):
        return norm(x + F.dropout(y, self.dropout, self.training))

    def forward(self, x, mask, memory=None, memory_mask=None):
        decoder = self.cross_attention is not None
        x = self.branch(x, self.self_attention(x, x, None if decoder else mask, decoder), self.norms[0])
        if decoder:
            x = self.branch(x, self.cross_attention(x, memory, memory_mask, False), self.norms[1])
        return self.branch(x, self.down(F.relu(self.up(x))), self.norms[-1])


class Twin(nn.Module):
    def __init__(self, c, max_positions=512):
        super().__init__()
        self.c = c
        self.embedding = nn.Embedding(c.vocabulary, c.d_model)
        nn.init.normal_(self.embedding.weight, std=c.d_model**-0.5)
        self.encoder = nn.ModuleList(Layer(c, False) for _ in range(c.layers))
        self.decoder = nn.ModuleList(Layer(c, True) for _ in range(c.layers))
        i = torch.arange(0, c.d_model, 2)
        angle = torch.arange(max_positions)[:, None] * torch.exp(-math.log(10000.0) * i / c.d_model)
        self.register_buffer("positions", torch.stack([angle.sin(), angle.cos()], dim=-1).flatten(1))

    def embed(self, ids):
        x = self.embedding(ids) * math.sqrt(self.c.d_model) + self.positions[: ids.shape[1]]
        return F.dropout(x, self.c.dropout, self.training)

    def loss(self, source, lengths, target_in, target_out, smoothing=0.1, pad=0):
        """Sum over real targets, and how many there are."""
        mask = (torch.arange(source.shape[1], device=source.device)[None] < lengths[:, None])[:, None, None, :]
        memory = self.embed(source)
        for layer in self.encoder:
            memory = layer(memory, mask)
        x = self.embed(target_in)
        for layer in self.decoder:
            x = layer(x, None, memory, mask)
        logits = F.linear(x, self.embedding.weight)
        loss = F.cross_entropy(
            logits.flatten(0, 1), target_out.flatten(), ignore_index=pad, label_smoothing=smoothing, reduction="sum"
        )
        return loss, (target_out != pad).sum()
