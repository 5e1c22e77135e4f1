"""The command llm, with the server as one of its models: an answer, a conversation, a schema, a tool."""

import json
import os
import subprocess

from features import KEY, V1, feature, model_name, scratch, try_all

USER = scratch()
(USER / "extra-openai-models.yaml").write_text(
    f"""- model_id: kinglet
  model_name: {model_name()}
  api_base: {V1}
  supports_tools: true
  supports_schema: true
"""
)
ENVIRONMENT = {**os.environ, "LLM_USER_PATH": str(USER), "OPENAI_API_KEY": KEY}
BRIEF = ("-m", "kinglet", "-o", "temperature", "0", "-o", "max_tokens", "64")


def llm(*arguments, input=None):
    done = subprocess.run(
        ["llm", *arguments], env=ENVIRONMENT, input=input, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@feature("an answer, streamed, then the next one of the conversation")
def _():
    assert "Paris" in llm("prompt", *BRIEF, "What is the capital of France? Answer briefly.")
    assert llm("prompt", "-c", *BRIEF, "And of Italy?").strip()


@feature("not streamed, with usage")
def _():
    assert "Paris" in llm("prompt", *BRIEF, "--no-stream", "What is the capital of France?")
    logged = json.loads(llm("logs", "list", "-n", "1", "--json"))[0]
    assert logged["input_tokens"] > 0 and logged["output_tokens"] > 0


@feature("a schema")
def _():
    found = json.loads(llm("prompt", *BRIEF, "--schema", "name, age int", "Ann is 41 years old."))
    assert found["name"] == "Ann" and found["age"] == 41


@feature("a tool that is run")
def _():
    code = 'def get_weather(city: str) -> str:\n    """Tells the weather in a city now."""\n    return "sunny"\n'
    ask = "Use the tool: what is the weather in Paris?"
    llm("prompt", *BRIEF, "--functions", code, ask)
    logged = json.loads(llm("logs", "list", "-n", "2", "--json"))
    results = [result for entry in logged for result in entry.get("tool_results", [])]
    assert any(result["output"] == "sunny" for result in results), logged


try_all()
