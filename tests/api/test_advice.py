"""How to sample: as the makers of a model advise, told to clients, and changing no request."""

from api_client import complete, get


def advice(server):
    (model,) = get(server, "/v1/models").json()["data"]
    return model["meta"]["sampling"]


def test_a_file_without_advice(tiny):
    assert advice(tiny) == {
        "temperature": 0.7, "top_p": 0.8, "top_k": 20, "repetition_penalty": 1.1,
    }  # fmt: skip


def test_the_advice_of_a_file(server_factory, make_tiny_model):
    model = make_tiny_model("--sampling", "0.3", "0.95", "64", "1.05")
    server = server_factory("--offline", model=model)
    told = advice(server)
    assert told == {"temperature": 0.3, "top_p": 0.95, "top_k": 64, "repetition_penalty": 1.05}
    same = [complete(server, [{"role": "user", "content": "Hello"}], max_tokens=8)["choices"][0]["message"] for _ in range(2)]
    assert same[0] == same[1], "a request that says nothing is greedy, as ever"
    server.end()


def test_senseless_advice_is_ignored(server_factory, make_tiny_model):
    model = make_tiny_model("--sampling", "-1", "7", "-5", "0.95")
    server = server_factory("--offline", model=model)
    assert advice(server)["temperature"] == 0.7
    assert advice(server)["top_p"] == 0.8
    assert advice(server)["top_k"] == 20
    assert advice(server)["repetition_penalty"] == 1.1
    server.end()
