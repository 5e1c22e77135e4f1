"""instructor in all its modes for OpenAI's API, and for Messages."""

import anthropic
import instructor
import openai
from features import KEY, URL, V1, feature, model_name, try_all
from pydantic import BaseModel, Field

MODEL = model_name()
CHAT_MODES = ("TOOLS", "TOOLS_STRICT", "FUNCTIONS", "JSON", "JSON_SCHEMA", "MD_JSON")
RESPONSES_MODES = ("RESPONSES_TOOLS",)
ASK = [{"role": "user", "content": "Ann is 41 years old. Extract the person."}]


class Person(BaseModel):
    """A person that the text names."""

    name: str = Field(description="the first name")
    age: int


def client(mode):
    return instructor.from_openai(openai.OpenAI(base_url=V1, api_key=KEY), mode=mode)


for name in CHAT_MODES + RESPONSES_MODES:

    @feature(f"mode {name}")
    def _(mode=instructor.Mode[name]):
        found = client(mode).chat.completions.create(
            model=MODEL, messages=ASK, response_model=Person, temperature=0
        )
        assert (found.name, found.age) == ("Ann", 41), found


@feature("mode PARALLEL_TOOLS")
def _():
    from collections.abc import Iterable

    found = client(instructor.Mode.PARALLEL_TOOLS).chat.completions.create(
        model=MODEL, messages=ASK, response_model=Iterable[Person], tool_choice="auto", temperature=0
    )
    assert all(isinstance(person, Person) for person in found)


@feature("a partial object that grows in a stream")
def _():
    stream = client(instructor.Mode.TOOLS).chat.completions.create_partial(
        model=MODEL, messages=ASK, response_model=Person, temperature=0
    )
    found = list(stream)
    assert found[-1].name == "Ann" and found[-1].age == 41 and len(found) > 1


@feature("a list of objects in a stream")
def _():
    found = client(instructor.Mode.TOOLS).chat.completions.create_iterable(
        model=MODEL, messages=ASK, response_model=Person, temperature=0, max_tokens=200
    )
    assert next(iter(found)).name


@feature("a validator that refuses the first answer: the next one is right")
def _():
    seen = []

    class Loud(BaseModel):
        name: str

        def model_post_init(self, context):
            seen.append(self.name)
            if len(seen) == 1:
                raise ValueError("write the name again")

    found = client(instructor.Mode.TOOLS).chat.completions.create(
        model=MODEL, messages=ASK, response_model=Loud, temperature=0, max_retries=2
    )
    assert found.name and len(seen) == 2


@feature("mode ANTHROPIC_TOOLS, of Messages")
def _():
    messages = anthropic.Anthropic(base_url=URL, api_key=KEY)
    found = instructor.from_anthropic(messages).messages.create(
        model=MODEL, messages=ASK, response_model=Person, max_tokens=64
    )
    assert (found.name, found.age) == ("Ann", 41)


try_all()
