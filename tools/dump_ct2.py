#!/usr/bin/env python3
"""CTranslate2's numbers for made-up words, as tests/golden/ct2_aren.json.

Needs: pip install ctranslate2 numpy (run with CTranslate2 4.8). Usage:
    tools/dump_ct2.py FOLDER [--int8 FOLDER] > tests/golden/ct2_aren.json

FOLDER holds a model in CTranslate2's format whose tokens are single characters. Words are random letters of its source
vocabulary, as ids; the file holds numbers only:
    words        [source ids]
    greedy       a word: [target ids, log-probabilities of them and of the end token, as score_batch gives them]
    beams        by beam: a word: n-best list of [target ids, score], length penalty 1
    vectors      the first words: a row a step of the greedy output, a column a target id: log-probabilities
    int8_greedy  target ids from the int8 model's weights, computed in f32
"""
import argparse
import json
import random
import sys

import ctranslate2
import numpy

WORDS = 500
VECTORS = 50
LONGEST = 20
MAX_LENGTH = 40
BEAMS = (2, 4)
N_BEST = 4


def vocabulary(folder, side):
    with open(f"{folder}/{side}_vocabulary.txt", encoding="utf-8") as lines:
        return [line.rstrip("\r\n") for line in lines] + ["<unk>"]


def rounded(values):
    return [round(float(value), 6) for value in values]


def log_softmax(rows):
    rows = numpy.asarray(rows, numpy.float64)
    top = rows.max(axis=-1, keepdims=True)
    return rows - top - numpy.log(numpy.exp(rows - top).sum(axis=-1, keepdims=True))


class Model:
    def __init__(self, folder):
        self.engine = ctranslate2.Translator(folder, device="cpu", compute_type="float32", inter_threads=1,
                                             intra_threads=1)
        self.source = vocabulary(folder, "source")
        self.target = vocabulary(folder, "target")
        self.id_of = {token: i for i, token in enumerate(self.target)}

    def ids(self, tokens):
        return [self.id_of[token] for token in tokens]

    def letters(self, word):
        return [self.source[i] for i in word]

    def search(self, word, beam, n_best=1, **more):
        return self.engine.translate_batch([self.letters(word)], beam_size=beam, num_hypotheses=n_best,
                                           max_decoding_length=MAX_LENGTH, length_penalty=1,
                                           return_scores=True, **more)[0]

    def greedy(self, word):
        tokens = self.search(word, 1).hypotheses[0]
        scores = self.engine.score_batch([self.letters(word)], [tokens])[0].log_probs
        return [self.ids(tokens), rounded(scores)]

    def n_best(self, word, beam):
        found = self.search(word, beam, min(beam, N_BEST))
        return [[self.ids(tokens), round(score, 6)] for tokens, score in zip(found.hypotheses, found.scores)]

    def vectors(self, word):
        """One word at a call and no minimum length, so that no option has touched the numbers."""
        found = self.search(word, 1, return_logits_vocab=True, min_decoding_length=0)
        return [rounded(log_softmax(numpy.array(step).reshape(-1))) for step in found.logits[0]]


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("folder")
    parser.add_argument("--int8")
    parser.add_argument("--seed", type=int, default=7)
    args = parser.parse_args()
    model = Model(args.folder)
    draw = random.Random(args.seed)
    letters = [i for i, token in enumerate(model.source) if not token.startswith("<")]
    words = [[draw.choice(letters) for _ in range(draw.randint(1, LONGEST))] for _ in range(WORDS)]
    out = {
        "max_length": MAX_LENGTH,
        "words": words,
        "greedy": [model.greedy(word) for word in words],
        "beams": {str(beam): [model.n_best(word, beam) for word in words] for beam in BEAMS},
        "vectors": [model.vectors(word) for word in words[:VECTORS]],
    }
    if args.int8:
        int8 = Model(args.int8)
        out["int8_greedy"] = [int8.greedy(word) for word in words]
    json.dump(out, sys.stdout, separators=(",", ":"))
    sys.stdout.write("\n")


if __name__ == "__main__":
    main()
