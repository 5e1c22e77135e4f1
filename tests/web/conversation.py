"""A conversation on the page, as its user has it."""


def ask(page, text):
    page.fill("#message", text)
    page.press("#message", "Enter")


def wait_for_answer(page):
    page.wait_for_selector(".message:last-child .again")


def wait_for_text(page, length):
    page.wait_for_function(
        "(n) => document.querySelector('.message:last-child .prose')?.textContent.length >= n",
        arg=length,
    )
