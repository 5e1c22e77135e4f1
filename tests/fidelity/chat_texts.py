"""Conversations for comparing logits: Chinese, English and code.

In the first three, the first answer is the model's own (greedy, right or wrong), like most text that
it reads in use. In the others, all answers were written by a person, which surprises the model more.
OWN_CHATS are questions with the greedy answers of SmolLM2 135M.
"""

import json
from pathlib import Path

CHINESE = [
    ("system", "你是一个乐于助人的助手。"),
    ("user", "为什么树叶到了秋天会变黄?请用几句话回答。"),
    (
        "assistant",
        "树叶到了秋天会变黄是因为阳光照射到树叶表面，导致其表面温度下降，从而导致其颜色变黄。",
    ),
    ("user", "我家的树莓派放在书房里,夏天很热,需要加风扇吗?"),
    (
        "assistant",
        "需要。树莓派5在持续高负载时温度会超过80摄氏度,芯片会自动降低频率,运行速度就会变慢。"
        "建议安装官方的主动散热器,或者使用带风扇的外壳,并且保持通风。如果只是偶尔使用,"
        "一块铝制散热片也可以满足要求。",
    ),
]

ENGLISH = [
    ("system", "You are a helpful assistant."),
    ("user", "How do I keep bread fresh for longer? Answer in a few sentences."),
    (
        "assistant",
        "To keep bread fresh for longer, you can use a baking soda solution to help it absorb "
        "moisture and prevent it from drying out. Additionally, you can use a baking soda solution "
        "to help it absorb moisture and prevent it from drying out.",
    ),
    ("user", "Why is the sky red in the evening, although it is blue at noon?"),
    (
        "assistant",
        "Sunlight contains all colours. Molecules of the air scatter short wavelengths, such as blue, "
        "much more strongly than long ones. At noon the light takes a short way through the "
        "atmosphere, so we see scattered blue light from every direction. In the evening the light "
        "travels a far longer distance near the horizon; most of the blue has been scattered out of "
        "the beam before it reaches us, and what is left looks orange or red.",
    ),
]

CODE = [
    ("system", "You are a careful programmer."),
    (
        "user",
        "Write a Python function that returns the n-th Fibonacci number, and explain it in one "
        "sentence.",
    ),
    (
        "assistant",
        "The n-th Fibonacci number is the sum of the two preceding ones, usually starting with 0 "
        "and 1. It is a classic example of a mathematical sequence where each number is the sum of "
        "the two preceding ones, with the first two numbers being 0 and 1.",
    ),
    ("user", "Write a Python function that checks whether a string is a palindrome, 忽略大小写和标点."),
    (
        "assistant",
        "```python\n"
        "def is_palindrome(text: str) -> bool:\n"
        '    """Return True if text reads the same in both directions."""\n'
        "    letters = [c.lower() for c in text if c.isalnum()]\n"
        "    left, right = 0, len(letters) - 1\n"
        "    while left < right:\n"
        "        if letters[left] != letters[right]:\n"
        "            return False\n"
        "        left += 1\n"
        "        right -= 1\n"
        "    return True\n\n\n"
        'assert is_palindrome("A man, a plan, a canal: Panama")\n'
        'assert not is_palindrome("kinglet")\n'
        "```\n"
        "It runs in O(n) time. The comparison stops at the first difference.",
    ),
]

CHINESE_BY_HAND = [
    ("system", "你是一个乐于助人的助手,回答要简短、准确。"),
    ("user", "我家的树莓派放在书房里,夏天很热,需要加风扇吗?"),
    (
        "assistant",
        "需要。树莓派5在持续高负载时温度会超过80摄氏度,芯片会自动降低频率,运行速度就会变慢。"
        "建议安装官方的主动散热器,或者使用带风扇的外壳,并且保持通风。如果只是偶尔使用,"
        "一块铝制散热片也可以满足要求。",
    ),
    ("user", "怎么查看现在的温度?"),
    (
        "assistant",
        "打开终端,输入命令 vcgencmd measure_temp,就会显示当前的温度,例如 temp=48.3'C。"
        "如果温度长期高于70度,就应该改善散热条件。",
    ),
]

ENGLISH_BY_HAND = [
    ("system", "You are a helpful assistant."),
    ("user", "Why is the sky red in the evening, although it is blue at noon?"),
    (
        "assistant",
        "Sunlight contains all colours. Molecules of the air scatter short wavelengths, such as blue, "
        "much more strongly than long ones. At noon the light takes a short way through the "
        "atmosphere, so we see scattered blue light from every direction. In the evening the light "
        "travels a far longer distance near the horizon; most of the blue has been scattered out of "
        "the beam before it reaches us, and what is left looks orange or red.",
    ),
    ("user", "And on Mars?"),
    (
        "assistant",
        "There it is the other way round: fine dust makes the daytime sky look butterscotch, while "
        "the sunset has a bluish glow around the Sun.",
    ),
]

CODE_BY_HAND = [
    ("system", "You are a careful programmer."),
    ("user", "Write a Python function that checks whether a string is a palindrome, 忽略大小写和标点."),
    (
        "assistant",
        "```python\n"
        "def is_palindrome(text: str) -> bool:\n"
        '    """Return True if text reads the same in both directions."""\n'
        "    letters = [c.lower() for c in text if c.isalnum()]\n"
        "    left, right = 0, len(letters) - 1\n"
        "    while left < right:\n"
        "        if letters[left] != letters[right]:\n"
        "            return False\n"
        "        left += 1\n"
        "        right -= 1\n"
        "    return True\n\n\n"
        'assert is_palindrome("A man, a plan, a canal: Panama")\n'
        'assert not is_palindrome("kinglet")\n'
        "```\n"
        "It runs in O(n) time. The comparison stops at the first difference.",
    ),
]

CHATS = {
    "chinese": CHINESE,
    "english": ENGLISH,
    "code": CODE,
    "chinese, by hand": CHINESE_BY_HAND,
    "english, by hand": ENGLISH_BY_HAND,
    "code, by hand": CODE_BY_HAND,
}

OWN_CHATS = [
    [("system", "You are a helpful assistant."), ("user", c["question"]), ("assistant", c["answer"])]
    for c in json.loads(Path(__file__).with_name("own_answers.json").read_text())
]
