"""Files of a question: dropped, chosen or pasted; their size in tokens; how they reach the model."""

import pytest
from seeds import open_chat

CSV = b"name,value\nalpha,1\nbeta,2\n"


@pytest.fixture(scope="module")
def tiny(server_factory, tiny_model_path):
    server = server_factory("--offline", model=tiny_model_path)
    yield server
    server.end()


@pytest.fixture
def page(tiny, open_page):
    page = open_page(tiny.base_url, {"maxTokens": 4}, locale="en-GB")
    page.wait_for_selector("#model:not(:empty)")
    return page


def add(page, name, data, kind="text/plain"):
    page.set_input_files("#file-input", [{"name": name, "mimeType": kind, "buffer": data}])


def chips(page):
    return [" ".join(text.split()) for text in page.locator(".chip").all_inner_texts()]


def counted(page, n=1):
    """Waits until the server has counted the tokens."""
    page.wait_for_function(
        """(n) => {
            const sizes = [...document.querySelectorAll('.chip .chip-size')];
            return sizes.length === n && sizes.every((e) => /^[\\d,]+ tokens$/.test(e.textContent));
        }""",
        arg=n,
    )


def paste(page, text):
    page.evaluate(
        """(text) => {
            const data = new DataTransfer();
            data.setData('text/plain', text);
            const event = new ClipboardEvent('paste', { clipboardData: data, cancelable: true, bubbles: true });
            if (document.getElementById('message').dispatchEvent(event)) {
                document.execCommand('insertText', false, text);
            }
        }""",
        text,
    )


def drop(page, name, text):
    page.evaluate(
        """({ name, text }) => {
            const data = new DataTransfer();
            data.items.add(new File([text], name, { type: 'text/plain' }));
            for (const type of ['dragover', 'drop']) {
                document.body.dispatchEvent(new DragEvent(type, {
                    dataTransfer: data, cancelable: true, bubbles: true,
                }));
            }
        }""",
        {"name": name, "text": text},
    )


def sent(page, text=""):
    """Sends the question and returns the messages of the request."""
    with page.expect_request("**/v1/chat/completions") as request:
        page.fill("#message", text)
        page.press("#message", "Enter")
    page.wait_for_selector(".message:last-child .again")
    return request.value.post_data_json["messages"]


def test_a_file_is_counted_sent_and_kept(page):
    with page.expect_request("**/tokenize") as counting:
        add(page, "data.csv", CSV, "text/csv")
    assert counting.value.post_data_json == {"content": CSV.decode(), "parse_special": False}
    counted(page)
    assert chips(page)[0].startswith("data.csv ")
    (message,) = sent(page, "Which is larger?")
    assert message == {
        "role": "user",
        "content": f"data.csv\n```csv\n{CSV.decode()}```\n\nWhich is larger?",
    }
    assert chips(page) == []
    assert page.inner_text(".bubble") == "Which is larger?"
    page.wait_for_timeout(1100)  # it is saved within a second
    page.reload()
    page.wait_for_selector(".sent-file")
    assert page.locator(".sent-file .chip-name").inner_text() == "data.csv"
    page.click(".sent-file summary")
    assert "alpha,1" in page.inner_text(".sent-file pre")
    messages = sent(page, "And smaller?")
    assert messages[0]["content"].startswith("data.csv\n```csv\n"), "later questions have it, too"


def test_an_edited_question_keeps_its_files(page):
    add(page, "data.csv", CSV, "text/csv")
    page.wait_for_selector(".chip")
    sent(page, "first")
    with page.expect_request("**/v1/chat/completions") as request:
        page.hover(".message.user")
        page.click(".message.user .edit")
        page.fill(".editor textarea", "second")
        page.press(".editor textarea", "Control+Enter")
    (message,) = request.value.post_data_json["messages"]
    assert message["content"].startswith("data.csv\n```csv\n") and message["content"].endswith("second")
    assert page.locator(".message.user .sent-file").count() == 1


def test_a_file_needs_no_words(page):
    assert page.is_disabled("#send")
    add(page, "notes.md", b"# Notes\n")
    page.wait_for_selector(".chip")
    assert page.is_enabled("#send")
    (message,) = sent(page)
    assert message["content"] == "notes.md\n```\n# Notes\n```"
    assert page.locator(".bubble").count() == 0
    assert page.inner_text("#rail [aria-current] .title") == "notes.md"


def test_a_fence_is_longer_than_those_of_the_file(page):
    add(page, "readme.md", b"text\n````\ncode\n````\n")
    page.wait_for_selector(".chip")
    (message,) = sent(page, "?")
    assert message["content"] == "readme.md\n`````\ntext\n````\ncode\n````\n`````\n\n?"


def test_a_long_paste_becomes_a_file(page):
    page.focus("#message")
    paste(page, "short text")
    assert page.input_value("#message") == "short text" and chips(page) == []
    paste(page, "x" * 2000)
    assert chips(page) == []
    page.fill("#message", "")
    paste(page, "word " * 401)
    assert page.input_value("#message") == ""
    counted(page)
    assert chips(page)[0].startswith("Pasted text ")
    paste(page, "other " * 400)
    counted(page, 2)
    assert chips(page)[1].startswith("Pasted text 2 ")
    page.get_by_role("button", name="Remove Pasted text", exact=True).click()
    assert len(chips(page)) == 1 and chips(page)[0].startswith("Pasted text 2")
    assert page.evaluate("document.activeElement.id") == "message"


def test_files_are_dropped_anywhere(page):
    drop(page, "main.py", "print(1)\n")
    counted(page)
    assert chips(page)[0].startswith("main.py ")
    page.click("#open-settings")
    drop(page, "other.py", "print(2)\n")
    page.keyboard.press("Escape")
    assert len(chips(page)) == 1, "a dialog is open: the file is not taken, and the page not left"
    (message,) = sent(page, "?")
    assert "```python\nprint(1)\n```" in message["content"]


NOT_READ = [
    ("paper.pdf", b"%PDF-1.7\n", "application/pdf", "PDF is not read here"),
    ("renamed.txt", b"%PDF-1.7\n", "text/plain", "PDF is not read here"),
    ("photo.png", b"\x89PNG\r\n\x1a\n", "image/png", "no pictures"),
    ("program", b"\x7fELF\x02\x01\x01\0\0\0", "", "not a text file"),
    ("empty.txt", b" \n", "text/plain", "is empty"),
    ("large.txt", b"x" * (512 * 1024 + 1), "text/plain", "larger than 512 KB"),
]


def test_what_is_not_read_is_said(page):
    for name, data, kind, said in NOT_READ:
        add(page, name, data, kind)
        note = page.locator("#files-note", has_text=name)
        note.wait_for()
        assert said in note.inner_text()
        assert note.inner_text() in page.inner_text("#say")
        assert chips(page) == []


ENCODED = {
    "de": [
        ("größer".encode("utf-16"), "größer"),
        ("\ufeffname;größe".encode(), "name;größe"),
        ("name;größe".encode("windows-1252"), "name;größe"),
        (b"a\r\nb\rc", "a\nb\nc"),
    ],
    "zh-CN": [("姓名,数量".encode("gb18030"), "姓名,数量")],
    "zh-TW": [("姓名,數量".encode("big5"), "姓名,數量")],
}


@pytest.mark.parametrize("locale", ENCODED)
def test_encodings(tiny, open_page, locale):
    page = open_page(tiny.base_url, {"maxTokens": 2}, locale=locale)
    page.wait_for_selector("#model:not(:empty)")
    for i, (data, _) in enumerate(ENCODED[locale]):
        add(page, f"{i}.txt", data)
        page.wait_for_selector(f".chip >> nth={i}")
    (message,) = sent(page)
    expected = [f"{i}.txt\n```\n{text}\n```" for i, (_, text) in enumerate(ENCODED[locale])]
    assert message["content"] == "\n\n".join(expected)


def test_more_than_the_model_reads(page):
    add(page, "long.txt", b"word " * 6000)
    counted(page)
    page.wait_for_selector("#files-note:not([hidden])")
    assert "the model reads at most 4,096 at a time" in page.inner_text("#files-note")
    page.get_by_role("button", name="Remove long.txt").click()
    assert not page.is_visible("#files-note")


def test_without_the_count_there_is_an_estimate(page):
    page.route("**/tokenize", lambda route: route.abort())
    add(page, "a.txt", b"word " * 80)
    page.wait_for_selector(".chip")
    assert chips(page) == ["a.txt about 100 tokens"]


def test_files_of_a_draft_stay(page):
    add(page, "draft.txt", b"not sent yet")
    counted(page)
    page.wait_for_timeout(1100)
    page.reload()
    page.wait_for_selector(".chip")
    assert chips(page)[0].startswith("draft.txt ")


def test_files_are_text_and_never_markup(page):
    hostile = '<img src=x onerror="window.hit = true"><script>window.hit = true</script>'
    open_chat(page, [{"role": "user", "content": "?", "files": [{"name": hostile, "text": hostile}]}])
    page.click(".sent-file summary")
    assert hostile in page.inner_text(".sent-file pre")
    assert page.evaluate("window.hit") is None
    assert page.locator(".message img").count() == 0


def test_an_imported_chat_may_have_anything_there(page):
    strange = ["text", 7, {"name": "a"}, [None, 1, {"name": 1, "text": "x"}, []]]
    open_chat(page, [{"role": "user", "content": "fine", "files": files} for files in strange])
    assert page.locator(".bubble").all_inner_texts() == ["fine"] * len(strange)
    assert page.locator(".sent-file").count() == 0
