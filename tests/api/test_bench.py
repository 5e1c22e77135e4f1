"""kinglet bench: its figures add up, its report needs no other file, and it stops on a signal."""

import json
import re
import shutil
import signal
import subprocess
from html.parser import HTMLParser

import numpy as np
import pytest


@pytest.fixture
def bench(run_kinglet, tiny_model_path, tmp_path):
    """bench(*args) -> CompletedProcess, on the tiny model."""

    def run(*args, model=tiny_model_path, check=True):
        env = {"XDG_CACHE_HOME": str(tmp_path / "cache"), "LOG_LEVEL": ""}
        return run_kinglet("bench", "-m", model, *args, env=env, check=check)

    return run


def test_json_adds_up(bench, tiny_model_path):
    done = bench("--prompt", "8,40", "--generate", "5", "--batches", "3,1", "--repeat", "3",
                 "--threads", "2", "--cpu", "sse4.1", "--json")
    report = json.loads(done.stdout)
    tests = [(r["test"], r["n"]) for r in report["results"]]
    assert tests == [("prefill", 8), ("prefill", 40), ("decode", 5), ("batch", 3), ("batch", 1)]
    limits = report["machine"]["limits"]
    assert [point["threads"] for point in limits] == [1, 2]
    for r in report["results"]:
        assert len(r["samples"]) == 3
        assert [r["p10"], r["tokens_per_second"], r["p90"]] == pytest.approx(
            np.percentile(r["samples"], [10, 50, 90])
        )
        assert r["p10"] > 0 and r["gb_per_second"] > 0 and r["gmac_per_second"] > 0
        assert r["read_share"] == pytest.approx(
            r["gb_per_second"] / r["read_limit_gb_per_second"]
        )
        assert r["int8_share"] == pytest.approx(
            r["gmac_per_second"] / r["int8_limit_gmac_per_second"]
        )
    # the work follows from the model: a forward pass reads the same bytes for any batch
    decode, three, one = report["results"][2:]
    for r, rows in ((decode, 1), (three, 3), (one, 1)):
        assert r["gb_per_second"] / r["tokens_per_second"] * rows == pytest.approx(
            report["bytes_per_token"] * 1e-9
        )
    assert 0 < report["bytes_per_token"] <= report["memory_bytes"]["weights"]
    assert decode["step_seconds"]["n"] == 3 * 5
    assert three["step_seconds"]["n"] == one["step_seconds"]["n"] == 3 * 2  # a quarter of 5
    assert report["threads"] == report["threads_prefill"] == 2 and report["repeat"] == 3
    assert report["kernels"] == "sse4.1"
    assert report["file"] == str(tiny_model_path)


STEPS = ["embed", "norm", "q, k, v", "attention", "attention out", "gate, up", "down", "head"]


def test_profile_adds_up(bench):
    done = bench("--profile", "--repeat", "2", "--threads", "2", "--ctx-size", "1024", "--json")
    report = json.loads(done.stdout)
    shapes = report["profile"]
    assert [(s["rows"], s["sequences"], s["depth"]) for s in shapes] == [
        (1, 1, 0), (4, 4, 0), (8, 8, 0), (16, 16, 0), (32, 1, 0), (128, 1, 0), (512, 1, 0),
        (1, 1, 896), (128, 1, 896),
    ]  # fmt: skip
    for s in shapes:
        assert list(s["steps"]) == STEPS
        assert all(step["seconds"] > 0 for step in s["steps"].values())
        assert s["passes"] == (2 if s["rows"] > 16 else 32)
        # each part is at most the whole: medians do not add up exactly
        assert max(step["seconds"] for step in s["steps"].values()) < s["seconds"]
        assert 0 <= s["between_seconds"] < s["seconds"] and 0 < s["beside_seconds"] < s["seconds"]
        for name in ("q, k, v", "attention out", "gate, up", "down", "head"):
            step = s["steps"][name]
            reading = step["bytes"] / s["read_limit_gb_per_second"] * 1e-9
            multiplying = step["macs"] / s["int8_limit_gmac_per_second"] * 1e-9
            assert step["floor_seconds"] == pytest.approx(max(reading, multiplying))
    # all rows read the same weights, and each has the same products; but a prompt wants one token, and
    # the other rows have only keys and values, of 2 heads beside 8 of queries, in the last of three layers
    one = shapes[0]["steps"]
    for s in shapes:
        outputs = s["sequences"] if s["rows"] <= 16 else 1
        kept = (2 * s["rows"] + outputs) / 3
        rows = {"q, k, v": (4 * s["rows"] + 8 * kept) / 12, "head": outputs}
        for name in ("q, k, v", "attention out", "gate, up", "down", "head"):
            in_layers = rows.get(name, kept)
            assert s["steps"][name]["bytes"] == one[name]["bytes"]
            assert s["steps"][name]["macs"] == pytest.approx(one[name]["macs"] * in_layers)
    assert sum(step.get("bytes", 0) for name, step in one.items() if name != "attention") <= report[
        "bytes_per_token"]  # fmt: skip
    # attention: of 128 rows behind 896 tokens each sees the tokens up to itself, in two layers, and
    # only the last one in the third
    deep, shallow = shapes[8]["steps"]["attention"], shapes[5]["steps"]["attention"]
    seen = 2 * (896 * 128 + 8256) + 896 + 128
    assert deep["macs"] / shallow["macs"] == pytest.approx(seen / (2 * 8256 + 128))


def test_profile_as_text(bench):
    done = bench("--profile", "--repeat", "1", "--threads", "1", "--ctx-size", "1024")
    tables = done.stdout.decode().split("\n\n")[2:]
    assert len(tables) == 9
    assert tables[0].startswith("1 row of 1 sequence at position 0: a pass takes ")
    assert tables[8].startswith("128 rows of 1 sequence at position 896: a pass takes ")
    for table in tables:
        rows = [line[2:18].strip() for line in table.splitlines()[1:]]
        assert rows[:11] == ["step", *STEPS, "between steps", "all"]


@pytest.mark.parametrize(
    "args, error",
    [
        (["--only", "decode"], "--profile measures something else than --only and --report"),
        (["--report", "x.html"], "--profile measures something else than --only and --report"),
        (["--ctx-size", "512"], "512 tokens is too short for --profile, which needs 1024"),
    ],
)
def test_profile_alone(bench, args, error):
    done = bench("--profile", *args, check=False)
    assert done.returncode == 2 and error in done.stderr.decode()


def test_prompts_have_their_own_number_of_threads(bench):
    done = bench("--only", "prefill", "--prompt", "9", "--threads", "1", "--threads-prefill", "2",
                 "--json")
    report = json.loads(done.stdout)
    assert (report["threads"], report["threads_prefill"]) == (1, 2)


def test_all_logits_read_all_weights(bench):
    done = bench("--only", "decode,first-token", "--generate", "4", "--logits", "--json")
    report = json.loads(done.stdout)
    assert report["bytes_per_token"] == report["memory_bytes"]["weights"]
    decode = report["results"][0]
    assert decode["gb_per_second"] / decode["tokens_per_second"] == pytest.approx(
        report["bytes_per_token"] * 1e-9
    )


def test_json_of_start_first_token_and_memory(bench):
    report = json.loads(bench("--only", "start,first-token", "--repeat", "4", "--json").stdout)
    assert report["results"] == [] and report["machine"]["limits"] == []
    start = report["start_seconds"]
    assert all(start[stage]["n"] == 4 for stage in ("file", "tokenizer", "weights", "engine"))
    assert all(s["p10"] <= s["median"] <= s["p90"] for s in start.values())
    assert start["all"]["p90"] >= start["tokenizer"]["p10"] + start["weights"]["p10"] > 0
    first = report["first_token"]
    assert first["characters"] == 200
    # the tiny vocabulary has no Chinese: 600 bytes and the template, with few merges
    assert 200 < first["prompt_tokens"] < 700
    assert first["seconds"]["n"] == len(first["samples"]) == 4 and first["seconds"]["p10"] > 0
    memory = report["memory_bytes"]
    assert memory["resident"] == memory["anonymous"] + memory["file"]
    assert memory["peak"] >= 0.9 * memory["resident"]
    assert memory["kv_cache"] > 0 and memory["buffers"] > 0


def test_json_of_drafts(bench):
    drafts = json.loads(bench("--only", "drafts", "--repeat", "2", "--json").stdout)["drafts"]
    assert 0 <= drafts["accepted"] <= drafts["drafted"]
    assert drafts["answer_tokens"] > drafts["accepted"]
    for speed in ("tokens_per_second_without", "tokens_per_second_with"):
        assert drafts[speed]["n"] == 2
    report = json.loads(bench("--only", "drafts", "--draft-max", "0", "--json").stdout)
    assert "drafts" not in report


def test_the_table_and_its_sections(bench):
    quick = ["--quick", "--repeat", "1", "--prompt", "8", "--generate", "4", "--batches", "2"]
    said = bench(*quick).stdout
    for line in (
        rb"1 thread: reads [\d.]+ GB/s, int8 [\d.]+ GMAC/s.*",
        rb"start +[\d.]+ s .*: file [\d.]+, tokenizer [\d.]+, weights [\d.]+, engine [\d.]+",
        rb"first +[\d.]+ s .*: a token after 200 Chinese characters, \d+ tokens",
        rb"memory +resident .* \(peak .*\): files .*, anonymous .*",
        rb"drafts +[\d.]+ tokens/s .*, without [\d.]+ .*, \d+ of \d+ guesses right",
        rb"prefill +8 +[\d.]+ +\(.*\) +[\d.]+ +\d+% +[\d.]+ +\d+%.*",
        rb"decode +4 +[\d.]+ +\(.*\) +[\d.]+ +\d+% +[\d.]+ +\d+%.*",
        rb"batch +2 +[\d.]+ +\(.*\) +[\d.]+ +\d+% +[\d.]+ +\d+%.*",
        rb"decoding from token to token: [\d.]+ ms \(.*, 4 of them\)",
    ):
        assert re.search(rb"^" + line + rb"$", said, re.M), line
    only = bench(*quick, "--only", "prefill").stdout
    assert re.search(rb"^prefill +8 ", only, re.M)
    for other in (b": reads", b"start ", b"first ", b"memory ", b"drafts ", b"decode ", b"batch ", b"%"):
        assert other not in only, other
    none = bench(*quick, "--only", "prefill,decode,batches", "--generate", "0").stdout
    assert b"prefill " in none and b"decode " not in none and b"batch " not in none


def test_quick_is_another_set_of_defaults(bench):
    thorough, quick = bench("--help").stdout, bench("--quick", "--help").stdout
    assert b"(default 32,128,512)" in thorough and b"(default 32,128)" in quick


@pytest.mark.parametrize(
    "args, said",
    [
        (["--only", "prefil"], "drafts, with commas between them, not \"prefil\""),
        (["--only", "decode,"], "not \"\""),
        (["--batches", "65"], "--batches takes whole numbers from 1 to 64"),
        (["--prompt", "5000", "--only", "prefill"], "5000 tokens do not fit into a context of"),
    ],
)
def test_wrong_usage(bench, args, said):
    done = bench(*args, check=False)
    assert done.returncode == 2 and said in done.stderr.decode()


@pytest.mark.parametrize("kind", (("f16", "on"), ("int8", "on"), ("f16", "off")))
def test_decoding_in_a_long_context(bench, kind):
    kv_type, flash = kind
    done = bench("--only", "decode", "--depth", "70", "--generate", "3", "--repeat", "1", "--json",
                 "--kv-type", kv_type, "--flash-attn", flash)  # fmt: skip
    report = json.loads(done.stdout)
    assert report["depth"] == 70
    assert [(r["test"], r["n"], r["step_seconds"]["n"]) for r in report["results"]] == [
        ("decode", 3, 3)
    ]
    too_long = bench("--only", "decode", "--depth", "4090", "--generate", "7", check=False)
    assert too_long.returncode == 2 and b"4097 tokens do not fit" in too_long.stderr


@pytest.mark.parametrize(
    "option, value, said",
    [("--kv-type", "q4", "f16 or int8, found 'q4'"), ("--flash-attn", "1", "on or off, found '1'")],
)
def test_kinds_of_attention(bench, option, value, said):
    done = bench(option, value, check=False)
    assert done.returncode == 2 and f"{option}: expected {said}" in done.stderr.decode()


class Page(HTMLParser):
    """Collects a page's tags, the URLs it would load, and its text."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.links, self.open, self.text = [], [], [], ""
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        self.links += [v for k, v in attributes if k in ("src", "href", "srcset", "action")]
        if tag not in ("meta",):
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.tags.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text += data


def test_the_report_is_a_self_contained_page(bench, tiny_model_path, tmp_path):
    model = tmp_path / 'a<b>&"c.gguf'
    shutil.copy(tiny_model_path, model)
    path = tmp_path / "report.html"
    path.write_text("an older one")
    bench("--quick", "--repeat", "2", "--report", path, model=model)
    text = path.read_text()
    page = Page(text)
    assert page.open == []
    assert page.links == [] and "url(" not in text and "@import" not in text
    assert "script" not in page.tags and page.tags.count("b") == 5  # the figures at the top only
    # prefill, batches, shares, reading, multiplying, start, memory
    assert page.tags.count("svg") == page.tags.count("figure") == 7
    assert page.tags.count("table") == 2
    assert 'a<b>&"c' in page.text and str(model) in page.text
    assert "kinglet bench -m" in page.text and "--quick --repeat 2" in page.text
    assert "{{" not in text and "nan" not in text and "inf" not in text.replace("info", "")
    assert sorted(p.name for p in tmp_path.glob("report*")) == ["report.html"]


def test_the_report_of_few_parts(bench, tmp_path):
    path = tmp_path / "report.html"
    bench("--only", "decode", "--generate", "3", "--repeat", "1", "--report", path)
    page = Page(path.read_text())
    assert page.open == [] and "svg" not in page.tags
    assert "decode" in page.text and "prefill" not in page.text


def test_report_that_cannot_be_written(bench, tmp_path):
    path = tmp_path / "no" / "report.html"
    done = bench("--only", "decode", "--generate", "1", "--report", path, check=False)
    assert done.returncode == 1 and str(path).encode() in done.stderr


@pytest.mark.parametrize("part", ["prefill", "start", "first-token"])
def test_ctrl_c_stops_the_bench(kinglet, tiny_model_path, tmp_path, part):
    path = tmp_path / "report.html"
    process = subprocess.Popen(
        [kinglet, "bench", "-m", tiny_model_path, "--cpu", "scalar", "--prompt", "4000",
         "--repeat", "100", "--only", part, "--report", path],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        env={"XDG_CACHE_HOME": str(tmp_path / "cache")},
        # a shell's background job, as a test run may be, ignores Ctrl-C and hands that on
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )  # fmt: skip
    assert process.stdout.readline()
    assert process.stdout.readline()  # the machine; then the measuring begins
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=30)
    assert process.returncode == -signal.SIGINT, said
    assert said.endswith(b"kinglet bench: stopped\n")
    assert list(tmp_path.glob("report*")) == []
