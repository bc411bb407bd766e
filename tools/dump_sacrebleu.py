#!/usr/bin/env python3
"""Writes src/eval/testdata/sacrebleu.json: corpora, and what sacreBLEU says of them.

    pip install sacrebleu numpy
    python3 tools/dump_sacrebleu.py

The output depends on the versions of sacreBLEU and Python named in it (Python's Unicode tables, numpy's
random numbers for the bootstrap); src/eval/sacrebleu_test.cc reads it.
"""

import itertools
import json
import pathlib
import platform
import random

import sacrebleu
from sacrebleu.metrics import BLEU, CHRF
from sacrebleu.metrics.bleu import _get_tokenizer
from sacrebleu.significance import PairedTest

TARGET = pathlib.Path(__file__).resolve().parent.parent / "src/eval/testdata/sacrebleu.json"
TOKENIZERS = ["13a", "zh", "intl", "char", "none"]
SEED = 20240607

# name -> (hypotheses, references: one list of lines a reference)
CORPORA = {
    "german": (
        ["Ein Mann in einem blauen Hemd steht auf einer Leiter und putzt ein Fenster.",
         "Zwei Männer stehen am Herd und bereiten Essen zu.",
         "Ein kleines Mädchen klettert in ein Spielhaus aus Holz."],
        [["Ein Mann in einem blauen Hemd steht auf einer Leiter und reinigt ein Fenster.",
          "Zwei Männer stehen am Herd und kochen das Essen.",
          "Ein kleines Mädchen klettert in ein hölzernes Spielhaus."]]),
    "case": (
        ["DIE STRASSE heißt Große Straße.", "ISTANBUL ist İSTANBUL", "ΟΔΥΣΣΕΥΣ ΚΑΙ ΣΙΣΥΦΟΣ Σ", "ΑΣ'Σ Α.Σ ΑΣ͂ ΑΣ2 aΣ-b",
         "ẞ ǅ Ǆ Ⱥ Ω K Å"],
        [["die Straße heißt große Straße.", "istanbul ist i̇stanbul", "οδυσσευς και σισυφος σ", "ας'ς α.ς ας͂ ας2 aς-b",
          "ß ǆ ǆ ⱥ ω k å"]]),
    "chinese": (
        ["我今天去了北京，天气很好。", "这个价格是3.5元，不是1,000元！", "他说：“你好”……", "𠀀𠀁在Ｆｕｌｌ宽度ＡＢＣ里", "用Python3写的程序-版本2-1。"],
        [["今天我去了北京，天气非常好。", "这个价格是 3.5 元，不是 1,000 元。", "他说：“您好”……", "𠀀𠀂在Ｆｕｌｌ宽度ＡＢＤ里", "用Python3编写的程序-版本2-1。"]]),
    "arabic": (
        ["ذهب الولد إلى المدرسة، ثم عاد.", "هل هذا صحيح؟ نعم: ١٢٣٫٤٥", "السِّعر ٥٠٪ فقط"],
        [["ذهب الولد إلى المدرسة ثم رجع.", "هل هذا صحيح؟ نعم، ١٢٣٫٤٥", "السعر ٥٠٪ فقط"]]),
    "emoji": (
        ["Heute ist es 🌞 schön 👩‍👩‍👧‍👦!", "🇩🇪 gegen 🇫🇷 2:1 ⚽️", "c'est ❤️ ♥ ☺ ✓", "👍🏽👍🏽"],
        [["Heute ist es schön 🌞 👩‍👩‍👧!", "🇩🇪 – 🇫🇷 2:1 ⚽", "c'est ♥ ❤️ ☺ ✔", "👍🏽👍"]]),
    "entities": (
        ["Er sagte &quot;ja&quot; &amp; ging &lt;fort&gt;.", "&amp;lt;b&amp;gt; und &amp;amp;quot; &apos; &#39; & ; &amp", "ein <skipped> Wort <skip ped>",
         "getrennt-\nes Wort\nneue Zeile-", "<unk> [UNK] {x|y} ~a`b^c_d\\e"],
        [['Er sagte "ja" & ging <fort>.', "<b> und &quot; &apos; &#39; & ; &", "ein Wort < skip ped >", "getrenntes Wort neue Zeile -",
          "< unk > [ UNK ] { x | y } ~ a ` b ^ c _ d \\ e"]]),
    "numbers": (
        ["Es kostet 1.000,50 Euro, also 3,5% mehr.", ".5 und 5. und ,5 und 5, und 1.", "1-2 a-1 1-a a-b --1-- 10-20-30", "...a,,b.1,.2 3...4", "1,2.3,4. 5,",
         "²5.½,Ⅷ. ٣.٤", "$1.5/€2,5 #1 @2 50%-60%", "v1.2.3-rc.4,5"],
        [["Es kostet 1.000,50 Euro , also 3,5 % mehr .", ".5 und 5 . und , 5 und 5 , und 1 .", "1 - 2 a-1 1 -a a-b - -1- - 10-20 -30", "... a,, b.1,. 2 3 ... 4", "1,2.3,4 . 5 ,",
          "² 5.½ , Ⅷ . ٣.٤", "$ 1.5 / € 2,5 # 1 @ 2 50 % -60 %", "v 1.2.3- rc. 4,5"]]),
    "spaces": (
        ["a\tb\t c  d ", "a\u00a0b\u202fc\u3000d", "\u2028a\u0085b\u001cc\u000bd\u000c", "a\u200bb\ufeffc \u2060d\u180ee", " \u00a0 ", "x-\n \u00a0"],
        [["a b c d", "a b c d", "a b c d", "a b c d e", "", "x"]]),
    "empty_hypotheses": (["", "", "ein Haus am See"], [["ein Hund", "", "ein Haus am See"]]),
    "all_empty": (["", ""], [["ein Hund", "zwei"]]),
    "empty_references": (["ein Hund", "zwei"], [["", " "]]),
    "both_empty": ([""], [[""]]),
    "zero_matches": (["foo bar baz qux", "quux"], [["eins zwei drei vier", "fünf"]]),
    "unigrams_only": (["b a d c f e", "h g"], [["a b c d e f", "g h"]]),
    "one_word": (["Ja", "Nein", "a", "!", "!!", "(hi)", '"'], [["Ja", "nein", "b", "!", "!", "(hi)", "''"]]),
    "short": (["ein Hund"], [["ein Hund"]]),
    "three_words": (["ein roter Hund", "ein Hund"], [["ein roter Hund", "der Hund"]]),
    "too_long": (["der der der der der der Hund"], [["der Hund bellt"]]),
    "too_short": (["der Hund"], [["der Hund bellt laut im Garten hinter dem Haus"]]),
    # 1/16, 5/16, 9/16: percentages that end in exactly 5 at the digit rounded away
    "rounding": (["a b c d e f g h i j k l m n o p"], [["a x b x c x d x e x f x g x h x i"]]),
    "rounding_two": (["a b a b c d c d e f e f g h g h"], [["a b c d e f g h h g f e d c b a"]]),
    "multi_reference": (
        ["the cat sat on the mat", "there is a cat here", "a b c d", "no", ""],
        [["the cat is on the mat", "there is a cat", "a b c", "yes no", "x"],
         ["a cat sat on a mat", "a cat is there now , here", "a b c d e", "no no", ""],
         ["on the mat the cat sat", "here is the cat", "", "n o", "y z"]]),
}

SENTENCES = [
    ("The cat sat on the mat.", ["The cat is sitting on the mat."]),
    ("ein Hund", ["ein Hund bellt"]),
    ("ein", ["ein"]),
    ("nichts davon", ["ganz etwas anderes"]),
    ("", ["etwas"]),
    ("Das ist gut , ja .", ["Das ist gut, ja.", "Das ist sehr gut."]),
]

WORDS = ("ein eine der die das Hund Mann Frau läuft steht über Straße größer Übung und in auf mit "
         "blau rot schnell İstanbul ΣΟΦΟΣ ΜΕΓΑΣ ẞ l'eau d'été it's rock'n'roll well-known "
         "我 北京 今天天气 你好， 。 ！ “引用” 㐀 𠀀 豈 ﷺ ｶﾀｶﾅ 漢字かな 한국어 "
         "كتاب مدرسة، ٣٫٥ नमस्ते। ไทย 1 23 1,000.50 3.14 .5 5. 7-8 10% $5 €7,50 ²³ ½ Ⅷ ① "
         "&quot; &amp; &lt;b&gt; &amp;lt; <skipped> <unk> ... , . ; : ! ? - – — … „ “ ‘ ’ « » / \\ ( ) [ ] { } | ~ ^ ` _ @ # * + = "
         "(hi) \"zitat\" a.b a,b a-b 2-a !? .. ,, 🌞 👩‍👧 🇩🇪 ❤️ ♥ e\u0301 ﬁ ǅ").split(" ")
SPACES = [" "] * 12 + ["  ", "\t", "\u00a0", "\u3000", "\u2009", "\u2028", "\u001c", "", "", "\u200b"]


def random_line(rng):
    words = [rng.choice(WORDS) for _ in range(rng.randint(1, 14))]
    return "".join(w + rng.choice(SPACES) for w in words)


def perturbed(rng, line, strength):
    out = []
    for word in line.split(" "):
        dice = rng.random()
        if dice < strength * 0.3:
            continue
        if dice < strength * 0.7:
            word = rng.choice(WORDS)
        out.append(word)
        if dice > 1 - strength * 0.3:
            out.append(rng.choice(WORDS))
    if len(out) > 2 and rng.random() < strength:
        i = rng.randrange(len(out) - 1)
        out[i], out[i + 1] = out[i + 1], out[i]
    return " ".join(out)


def random_systems():
    """Three systems and two references for them."""
    rng = random.Random(SEED)
    source = [random_line(rng) if rng.random() < 0.97 else "" for _ in range(150)]
    first = [perturbed(rng, line, 0.1) for line in source]
    second = [perturbed(rng, line, 0.3) for line in source]
    worse = [perturbed(rng, line, 0.27) for line in source]
    better = [perturbed(rng, line, 0.15) for line in source]
    # As good as `worse` but for chance: its p-values are neither 0 nor 1.
    near = [perturbed(rng, line, 0.27) if rng.random() < 0.5 else other for line, other in zip(source, worse)]
    return {"worse": worse, "better": better, "near": near}, [first, second]


def without_version(signature):
    return str(signature).rsplit("version:", 1)[0]


def bleu_case(corpus, **options):
    metric = BLEU(force=True, **options)
    score = metric.corpus_score(*corpus)
    return {"options": options, "line": str(score), "score": score.score,
            "signature": without_version(metric.get_signature())}


def chrf_case(corpus, **options):
    metric = CHRF(**options)
    score = metric.corpus_score(*corpus)
    return {"options": options, "line": str(score), "score": score.score,
            "signature": without_version(metric.get_signature())}


def plain(result):
    return {key: None if value is None else float(value) for key, value in vars(result).items()}


def bleu_options():
    for tokenize, lowercase in itertools.product(TOKENIZERS, [False, True]):
        yield {"tokenize": tokenize, "lowercase": lowercase}
    for method, value in [("none", None), ("floor", None), ("floor", 0.25), ("floor", 0.0), ("add-k", None), ("add-k", 0.5), ("add-k", 2.0)]:
        yield {"smooth_method": method, "smooth_value": value}
    for method in ["exp", "none", "floor", "add-k"]:
        yield {"smooth_method": method, "effective_order": True}


def chrf_options():
    for word_order, lowercase in itertools.product([0, 2], [False, True]):
        yield {"word_order": word_order, "lowercase": lowercase}
    for word_order in [0, 2]:
        yield {"word_order": word_order, "whitespace": True}
        yield {"word_order": word_order, "eps_smoothing": True}
    yield {"word_order": 1, "beta": 3}
    yield {"char_order": 3, "word_order": 3, "beta": 1, "whitespace": True, "eps_smoothing": True}
    yield {"char_order": 0, "word_order": 2}


def main():
    systems, system_references = random_systems()
    corpora = CORPORA | {"random": (systems["worse"], system_references)}
    one_reference = {name + "_one": (hyps, refs[:1]) for name, (hyps, refs) in corpora.items() if len(refs) > 1}
    corpora |= one_reference

    lines = sorted({line for hyps, refs in CORPORA.values() for line in itertools.chain(hyps, *refs)})
    lines += systems["worse"][:40]
    tokenized = [{"tokenizer": name, "lines": [_get_tokenizer(name)()(line.rstrip()) for line in lines]}
                 for name in TOKENIZERS]
    # Two tokenizers leave the spaces to the n-gram counter.
    for entry in tokenized:
        entry["lines"] = [" ".join(line.split()) for line in entry["lines"]]

    _, paired = PairedTest(list(systems.items()), {"bleu": BLEU(force=True), "chrf": CHRF()}, system_references, "bs", 1000)()
    bootstrap = {name: dict(zip(paired["System"], map(plain, paired[name]))) for name in ("BLEU", "chrF2")}

    data = {
        "written_by": "tools/dump_sacrebleu.py",
        "sacrebleu": sacrebleu.__version__,
        "python": platform.python_version(),
        "corpora": {name: {
            "hypotheses": hyps, "references": refs,
            "bleu": [bleu_case((hyps, refs), **options) for options in bleu_options()],
            "chrf": [chrf_case((hyps, refs), **options) for options in chrf_options()],
        } for name, (hyps, refs) in corpora.items()},
        "sentences": [{"hypothesis": hyp, "references": refs, "line": str(sacrebleu.sentence_bleu(hyp, refs))}
                      for hyp, refs in SENTENCES],
        "tokenized": {"lines": lines, "by": tokenized},
        "lowered": [[line, line.lower()] for line in lines if line.lower() != line],
        "bootstrap": {"systems": systems, "references": system_references, "results": bootstrap},
    }
    # Escaped throughout: the spaces under test must survive editors.
    text = json.dumps(data, ensure_ascii=True, separators=(",", ":"))
    text = text.replace('{"options"', '\n{"options"').replace('"hypotheses"', '\n"hypotheses"')
    TARGET.parent.mkdir(parents=True, exist_ok=True)
    TARGET.write_text(text + "\n", encoding="ascii")


if __name__ == "__main__":
    main()
