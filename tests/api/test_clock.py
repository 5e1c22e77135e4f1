"""The wall clock jumps by a day and a year, forward and back: durations, deadlines and the order of
use do not depend on it."""

import json
import re
import time

from api_client import complete, health


def test_a_server_whose_clock_jumps(start_server, jumping_clock, tiny_model_path, tmp_path):
    options = ("--offline", "--log-format", "json", "--max-seconds", 60)
    env = {**jumping_clock, "XDG_CACHE_HOME": str(tmp_path)}
    begin = time.monotonic()
    for start in range(2):  # the second one finds the files of the first, from every year
        server = start_server(*options, model=tiny_model_path, env=env)
        texts = {complete(server, max_tokens=20)["choices"][0]["message"]["content"]
                 for _ in range(3)}  # fmt: skip
        assert len(texts) == 1
        seen = health(server)
        lasted = time.monotonic() - begin
        assert seen["requests_cancelled"] == 0
        assert 0 <= seen["uptime_seconds"] < lasted
        for name in ("request_seconds", "first_token_seconds", "queue_seconds"):
            assert 0 <= seen["statistics"][name]["sum"] < lasted * 3
        assert server.stop() == 0
        lines = [json.loads(line) for line in server.log_text().splitlines() if line[0] == "{"]
        assert any("mapped" in line["message"] for line in lines) == (start == 1)
        assert len({line["time"][:4] for line in lines}) > 1  # the years of the log's own dates
        seconds = [float(s) for line in lines
                   for s in re.findall(r"\((-?[\d.]+) s", line["message"])]  # fmt: skip
        assert seconds and all(0 <= s < lasted + 1 for s in seconds)
