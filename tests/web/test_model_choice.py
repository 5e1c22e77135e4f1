"""The choice of the model, which the page has where the server has several."""

import pytest


@pytest.fixture(scope="module")
def several(server_factory, make_tiny_model, tiny_model_path):
    other = make_tiny_model("--sampling", "0.3", "0.95", "64", "1.05", "--seed", "2")
    directory = other.parent / "other"
    directory.mkdir()
    (directory / "other.gguf").symlink_to(other)
    embedding = make_tiny_model("--architecture", "qwen3", "--pooling", "LAST", "--no-template", "--seed", "3")
    (directory / "embedding.gguf").symlink_to(embedding)  # no choice: it answers nothing
    server = server_factory("--offline", "--models", directory, "--alias", "more", model=tiny_model_path)
    yield server
    server.end()


def ask(page, text="Hello"):
    """Returns the body of the request."""
    with page.expect_request("**/v1/chat/completions") as request:
        page.fill("#message", text)
        page.press("#message", "Enter")
    page.wait_for_selector(".message:last-child .again")
    return request.value.post_data_json


def test_each_chat_has_its_model(several, open_page, tiny_model_path):
    page = open_page(several.base_url, locale="en-GB")
    page.wait_for_selector("#model:not(:empty)")
    page.wait_for_function("() => localStorage.getItem('kinglet.model') !== null")
    assert "model" not in ask(page)
    page.click("#open-settings")
    assert page.locator("#model-choice option").all_inner_texts() == [tiny_model_path.stem, "other"]
    assert page.input_value("#model-choice") == ""
    page.select_option("#model-choice", "other")
    assert page.input_value("#temperature") == "0.3"  # another model brings its own defaults
    page.click("#settings .primary")
    page.wait_for_selector("#settings", state="hidden")
    body = ask(page)
    assert body["model"] == "other" and body["temperature"] == 0.3
    page.reload()
    page.wait_for_selector(".message:last-child .again")
    page.wait_for_function("() => localStorage.getItem('kinglet.model') !== null")
    assert ask(page)["model"] == "other"
    page.click("#new-chat")
    body = ask(page)
    assert "model" not in body and body["temperature"] == 0.7
