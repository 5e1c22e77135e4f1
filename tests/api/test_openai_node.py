"""The openai package for Node, which test.sh installs (NODE_PATH is its directory)."""

import json
import subprocess
from pathlib import Path

from api_client import counts, health, wait_until

SCRIPT = Path(__file__).with_name("openai_client.mjs")


def test_node_client(server):
    before = health(server)["requests_cancelled"]
    done = subprocess.run(
        ["node", str(SCRIPT), server.base_url + "/v1"], capture_output=True, timeout=300
    )
    assert done.returncode == 0, done.stderr.decode()
    found = json.loads(done.stdout)
    assert len(found["models"]) == 1
    assert found["whole"] == found["streamed"] == found["helper"]
    assert len(found["whole"]) > 5 and "\ufffd" not in found["whole"][:-1]
    assert found["pieces"] > 5
    assert counts(found["usage"]) == counts(found["streamUsage"])
    assert found["error"] == {"name": "BadRequestError", "status": 400, "param": "temperature"}
    assert found["aborted"]
    wait_until(lambda: health(server)["requests_cancelled"] == before + 1, "the aborted stream still runs")
    wait_until(lambda: health(server)["running"] == 0, "its place is not free")
