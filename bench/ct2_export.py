"""Writes a Floe model folder (post-norm encoder-decoder, all embeddings tied) as a CTranslate2 model with the same weights.

    python bench/ct2_export.py MODEL OUT

Prints a JSON line with CTranslate2's version. For benchmarks only: the peer must decode with the very weights that Floe decodes with.
"""

import json
import os
import struct
import sys

import ctranslate2
import numpy as np
from ctranslate2.specs import transformer_spec


def read_safetensors(path):
    with open(path, "rb") as f:
        (length,) = struct.unpack("<Q", f.read(8))
        header = json.loads(f.read(length))
        data = f.read()
    tensors = {}
    for name, entry in header.items():
        if name == "__metadata__":
            continue
        begin, end = entry["data_offsets"]
        tensors[name] = np.frombuffer(data[begin:end], np.float32).reshape(entry["shape"]).copy()
    return tensors


def linear(spec, w, name):
    spec.weight, spec.bias = w[name + ".weight"], w[name + ".bias"]


def norm(spec, w, name):
    spec.gamma, spec.beta = w[name + ".norm.gamma"], w[name + ".norm.beta"]


def interleaved_sinusoid(length, d):
    angle = np.arange(length)[:, None] * 10000.0 ** (-np.arange(0, d, 2) / d)
    return np.stack([np.sin(angle), np.cos(angle)], axis=-1).reshape(length, d).astype(np.float32)


def main():
    folder, out = sys.argv[1:3]
    model = json.load(open(f"{folder}/config.json"))["model"]
    w = read_safetensors(f"{folder}/model.safetensors")
    assert model["norm_placement"] == "post" and model["tied"] == "all" and model["sinusoid"] == "interleaved"
    spec = transformer_spec.TransformerSpec.from_config(
        (model["encoder_layers"], model["decoder_layers"]), model["heads"], pre_norm=False
    )
    positions = interleaved_sinusoid(model["max_positions"], model["d_model"])
    for side in (spec.encoder, spec.decoder):
        side.scale_embeddings = True
        side.position_encodings.encodings = positions
    spec.encoder.embeddings[0].weight = w["embedding.weight"]
    spec.decoder.embeddings.weight = w["embedding.weight"]
    spec.decoder.projection.weight = w["embedding.weight"]
    for side, name in ((spec.encoder, "encoder"), (spec.decoder, "decoder")):
        for i, layer in enumerate(side.layer):
            at = f"{name}.{i}."
            linear(layer.self_attention.linear[0], w, at + "self_attention.qkv")
            linear(layer.self_attention.linear[1], w, at + "self_attention.out")
            norm(layer.self_attention.layer_norm, w, at + "self_attention")
            if name == "decoder":
                linear(layer.attention.linear[0], w, at + "cross_attention.q")
                linear(layer.attention.linear[1], w, at + "cross_attention.kv")
                linear(layer.attention.linear[2], w, at + "cross_attention.out")
                norm(layer.attention.layer_norm, w, at + "cross_attention")
            linear(layer.ffn.linear_0, w, at + "feed_forward.up")
            linear(layer.ffn.linear_1, w, at + "feed_forward.down")
            norm(layer.ffn.layer_norm, w, at + "feed_forward")
    tokens = ["<pad>", "<unk>", "<s>", "</s>"] + [f"t{i}" for i in range(4, model["target_vocabulary"])]
    spec.register_source_vocabulary(tokens)
    spec.register_target_vocabulary(tokens)
    spec.config.add_source_eos = spec.config.add_source_bos = False
    spec.validate()
    os.makedirs(out, exist_ok=True)
    spec.save(out)
    print(json.dumps({"version": ctranslate2.__version__}))


if __name__ == "__main__":
    main()
