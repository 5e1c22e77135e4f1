"""Answers of each kind that is costly to render, in pieces like tokens, and chats made of them."""

import json
import re

FUNCTION = '''def moving_average_{i}(values, width={i}):
    """Returns the average of each {i} neighbours."""
    total = sum(values[:width])  # of the first window
    averages = [total / width]
    for index in range(width, len(values)):
        total += values[index] - values[index - width]
        averages.append(round(total / width, 3))
    return averages


'''
SENTENCES = (
    "The **wind** over the lake was gentle, and the `boats` moved slowly from *shore* to shore. ",
    "Nobody had asked for \\(x_{%d}^2 + y^2 = r^2\\), but it was there, and it cost $5. ",
    "杭州的西湖湖光山色，**游人如织**，四季都有不同的风景。",
)

ANSWERS = {
    "code": "Here it is:\n\n```python\n" + "".join(FUNCTION.format(i=i) for i in range(2, 60)) + "```\n",
    "paragraph": "".join(
        SENTENCES[i % 3] % i if "%d" in SENTENCES[i % 3] else SENTENCES[i % 3] for i in range(300)
    ),
    "list": "".join(
        f"- **Item {i}**: it has a text of its own, and `code_{i}`\n  - a smaller one below it\n"
        for i in range(1, 300)
    ),
    "table": "| number | square | cube | remark |\n|---:|---:|---:|---|\n"
    + "".join(f"| {i} | {i * i} | {i**3} | a remark about `{i}` |\n" for i in range(1, 300)),
    "mixed": "".join(
        f"## Step {i}\n\n{SENTENCES[0]}{SENTENCES[2]}\n\n1. first\n2. second with \\(a_{i}\\)\n\n"
        f"\\[\n\\frac{{{i}}}{{n + 1}} = \\sum_{{k=1}}^n k\n\\]\n\n```js\nlet x = {i};\nalert(`${{x}}`);\n```\n\n"
        for i in range(1, 60)
    ),
}


def pieces_of(text, count):
    """Returns the first `count` tokens of a text, or so: about four letters, or one Chinese one."""
    tokens = re.findall(r" ?[A-Za-z]{1,7}|\d{1,3}|\s+|[^\w\s]+|\w", text)
    return tokens[:count]


SEED = """async ([chat, messages]) => {
    const opened = indexedDB.open('kinglet');
    await new Promise((resolve) => { opened.onsuccess = resolve; });
    const change = opened.result.transaction(['chats', 'messages'], 'readwrite');
    change.objectStore('chats').put(chat);
    for (const message of messages) change.objectStore('messages').put(message);
    await new Promise((resolve) => { change.oncomplete = resolve; });
    opened.result.close();
}"""


def seed_chat(page, count, length=1500):
    """Stores a chat of `count` messages in the browser; returns its ID."""
    chat = "00000000-0000-4000-8000-000000000000"
    ids = [f"{i:08x}-0000-4000-8000-000000000001" for i in range(count)]
    kinds = list(ANSWERS.values())
    messages = [
        {
            "id": ids[i], "chat": chat, "parent": ids[i - 1] if i > 0 else None, "created": i + 1,
            "role": "assistant" if i % 2 else "user", "state": "complete",
            "content": kinds[i // 2 % len(kinds)][:length] if i % 2 else f"Question {i}",
        }
        for i in range(count)
    ]  # fmt: skip
    head = {
        "id": chat, "title": "Many messages", "created": 1, "changed": 4102444800000, "pinned": False,
        "draft": "", "settings": {}, "current": ids[-1],
    }  # fmt: skip
    page.evaluate(SEED, [head, messages])
    return chat


def stream_body(pieces):
    """Returns the body of a chat completion that streams these pieces."""
    events = [{"choices": [{"delta": {"content": piece}}]} for piece in pieces]
    events.append({"choices": [{"delta": {}, "finish_reason": "stop"}]})
    return "".join(f"data: {json.dumps(event)}\n\n" for event in events) + "data: [DONE]\n\n"
