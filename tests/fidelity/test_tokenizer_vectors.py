"""The table of ids with which `kinglet doctor` checks the tokenizer agrees with the reference."""

from pathlib import Path

from make_tokenizer_vectors import render

REPOSITORY = Path(__file__).resolve().parents[2]


def test_the_table_agrees_with_the_reference(model_path, smollm_path):
    table = REPOSITORY / "src" / "doctor" / "tokenizer_vectors.c"
    assert table.read_text(encoding="utf-8") == render([model_path, smollm_path]), (
        "make it again: tests/tools/make_tokenizer_vectors.py QWEN2 SMOLLM > src/doctor/tokenizer_vectors.c"
    )
