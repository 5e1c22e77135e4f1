"""bench/request-path: the parts of a request, from the events of its probes."""

from importlib.machinery import SourceFileLoader
from importlib.util import module_from_spec, spec_from_loader
from pathlib import Path

SCRIPT = Path(__file__).resolve().parents[2] / "bench" / "request-path"

LINES = """
0.5 sys_exit_readv
1.0 sys_exit_readv
1.1 kl_engine_submit
1.2 sys_enter_writev
1.3 kl_forward_run
2.0 kl_forward_run__return
2.1 kl_forward_run
3.0 kl_forward_run__return
3.1 kl_request_send_text
3.2 kl_forward_run
3.3 sys_enter_writev
4.0 kl_forward_run__return
4.1 kl_request_send_text
4.2 sys_enter_writev
"""


def test_the_parts_of_a_request():
    """The head of the stream is sent before the first pass; the prompt takes two of them."""
    loader = SourceFileLoader("request_path", str(SCRIPT))
    script = module_from_spec(spec_from_loader("request_path", loader))
    loader.exec_module(script)
    events = [(float(t), name) for t, name in map(str.split, LINES.strip().split("\n"))]
    later = [(t + 10, name) for t, name in events]
    found = list(script.times_of(events + later))
    assert [[round(part, 3) for part in parts] for parts in found] == [[0.1, 0.2, 1.7, 0.1, 0.2]] * 2
