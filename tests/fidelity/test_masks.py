"""The tokens that a schema allows, of the real vocabulary, against a slow reference that tries their
bytes one by one, in 2,000 states of schemas at random (tests/unit/schema/test_schema_masks.c)."""

import re
import subprocess


def test_masks_of_the_real_vocabulary(build_dir, model_path):
    program = build_dir / "tests" / "unit" / "schema" / "test_schema_masks"
    out = subprocess.run([program, model_path], capture_output=True, text=True)
    assert out.returncode == 0, out.stdout + out.stderr
    assert int(re.search(r"(\d+) masks of a model", out.stdout + out.stderr)[1]) >= 2000
