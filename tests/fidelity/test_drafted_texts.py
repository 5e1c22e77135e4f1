"""Answers of the real model with drafts are those without, alone and in company, at any temperature."""

import json
import urllib.request
from concurrent.futures import ThreadPoolExecutor

CODE = "def area(a, b):\n    return a * b\n\n\ndef perimeter(a, b):\n    return 2 * (a + b)\n"
QUESTIONS = [
    f"Rename a to width and b to height in this code, and answer with the code only:\n\n{CODE}",
    "请把下面的句子重复三遍：清风面馆的牛肉面十八元一碗。",
    "Count from one to thirty in words.",
]
SETTINGS = [
    {"temperature": 0},
    {"temperature": 0, "repetition_penalty": 1.1},
    {"temperature": 0.7, "top_p": 0.8, "top_k": 20, "seed": 1},
    {"temperature": 1.2, "seed": 2},
]


def ask(server, question, fields):
    body = {"messages": [{"role": "user", "content": question}], "max_tokens": 64, **fields}
    request = urllib.request.Request(
        f"{server.base_url}/v1/chat/completions",
        json.dumps(body).encode(),
        {"Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=300) as answer:
        document = json.load(answer)
    choice = document["choices"][0]
    said = (choice["message"]["content"], choice["finish_reason"])
    return said, document["usage"]["completion_tokens"], document["timings"]["draft_n_accepted"]


def test_answers_are_those_without_drafts(server_factory, model_path):
    plain = server_factory("--offline", "--draft-max", 0, model=model_path)
    wanted = {}
    for number, fields in enumerate(SETTINGS):
        for question in QUESTIONS:
            wanted[number, question] = ask(plain, question, fields)
    plain.end()
    drafting = server_factory("--offline", "--cache-disk", 0, model=model_path)
    accepted = 0
    for company in (1, 3):
        with ThreadPoolExecutor(company) as clients:
            found = {
                key: clients.submit(ask, drafting, key[1], SETTINGS[key[0]]) for key in wanted
            }
        for key, answer in found.items():
            said, n_tokens, n_accepted = answer.result()
            assert (said, n_tokens) == wanted[key][:2], key
            accepted += n_accepted
    assert accepted > 10  # how many depends on the cost of a pass, which is measured
    drafting.end()
