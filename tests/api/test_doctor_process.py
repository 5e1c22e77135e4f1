"""kinglet doctor --pid, on programs that spin, wait for each other, or keep starting threads."""

import json
import os
import subprocess
import sys
import time

import pytest

GOOD, WARNINGS, BROKEN = 0, 1, 5

# Arguments: MODE THREADS. "spin" spins in sched_yield, "hand" passes a turn around; ends by itself.
THREADS = r"""
#include <pthread.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t changed = PTHREAD_COND_INITIALIZER;
static long turn, n;

static void *spin(void *context)
{
    for (;;)
        sched_yield();
    return context;
}

static void *hand(void *context)
{
    for (;;) {
        pthread_mutex_lock(&lock);
        while (turn % n != (long)context)
            pthread_cond_wait(&changed, &lock);
        turn++;
        pthread_cond_broadcast(&changed);
        pthread_mutex_unlock(&lock);
    }
}

int main(int argc, char **argv)
{
    pthread_t thread;
    (void)argc;
    prctl(PR_SET_PTRACER, PR_SET_PTRACER_ANY); /* doctor is no parent of ours */
    alarm(60);
    n = atol(argv[2]);
    for (long i = 0; i < n; i++)
        pthread_create(&thread, NULL, strcmp(argv[1], "spin") == 0 ? spin : hand, (void *)i);
    write(1, "\n", 1);
    pause();
}
"""

STORM = """
import sys, threading, time
print(flush=True)
end = time.monotonic() + 60
while time.monotonic() < end:
    t = threading.Thread(target=time.sleep, args=(0.015,))
    t.start()
    t.join()
    sys.stderr.write("x" * 65536)
"""


@pytest.fixture(scope="module")
def threads(tmp_path_factory):
    """The program above."""
    path = tmp_path_factory.mktemp("threads") / "threads"
    subprocess.run(["cc", "-O1", "-pthread", "-x", "c", "-", "-o", path], input=THREADS.encode(), check=True)
    return path


@pytest.fixture
def run(tmp_path):
    """run(*command, **environment) -> pid, once the program has written a line; ended afterwards."""
    running = []

    def start(*command, **environment):
        with open(tmp_path / "stderr", "wb") as log:
            running.append(subprocess.Popen(command, stdout=subprocess.PIPE, stdin=subprocess.DEVNULL,
                                            stderr=log, env={**os.environ, **environment}))  # fmt: skip
        assert running[-1].stdout.readline() == b"\n"
        return running[-1].pid

    yield start
    for process in running:
        process.kill()
        process.wait()
        process.stdout.close()


@pytest.fixture
def doctor(run_kinglet):
    """doctor(pid, *args) -> (exit code, findings)."""

    def look(pid, *args):
        done = run_kinglet("doctor", "--json", "--pid", pid, *args, check=False)
        return done.returncode, json.loads(done.stdout)["findings"]

    return look


def found(findings, part):
    matching = [f for f in findings if part in f["text"]]
    assert matching, f"nothing about {part!r} in {findings}"
    return matching[0]


def test_a_server_without_requests(doctor, start_server):
    server = start_server("--offline")
    deadline = time.monotonic() + 60
    while True:  # greetings are precomputed right after the start
        code, findings = doctor(server.pid)
        idle = [f for f in findings if "is idle" in f["text"]]
        if idle or time.monotonic() > deadline:
            break
    assert code == GOOD and idle, findings
    assert idle[0]["text"].startswith(f"kinglet (pid {server.pid}) is idle")
    found(findings, "of memory")


def test_threads_that_spin(doctor, run, threads):
    pid = run(threads, "spin", str(2 * os.cpu_count() + 2))
    for _ in range(10):  # threads that hardly run are not judged
        code, findings = doctor(pid)
        if any("spinning: " in f["text"] for f in findings):
            break
    assert code == WARNINGS
    many = found(findings, "oversubscribed: ")
    assert "OMP_NUM_THREADS=" in many["remedy"] and "waits" in many["cost"]
    assert "OMP_WAIT_POLICY=passive" in found(findings, "spinning: ")["remedy"]


def test_a_thread_that_spins_without_requests(doctor, run, threads, tiny):
    """Given the server's address, doctor knows that the process has no request."""
    code, findings = doctor(run(threads, "spin", "1"), "--url", tiny.base_url)
    assert code == WARNINGS
    found(findings, "works on no request")
    found(findings, "the work stops")


def test_threads_that_wait_for_each_other(doctor, run, threads):
    code, findings = doctor(run(threads, "hand", "3"))
    assert code == WARNINGS
    contention = found(findings, "3 threads wait for each other")
    assert contention["weight"] == "warning" and "futex" in contention["text"]


def test_short_lived_threads_and_a_growing_log(doctor, run, tmp_path):
    code, findings = doctor(run(sys.executable, "-c", STORM, LOG_LEVEL="debug"))
    assert code == WARNINGS
    assert "a pool" in found(findings, "clone storm")["remedy"]
    log = found(findings, f"its log {tmp_path}/stderr grows by")
    assert "level debug" in log["text"] and "--log-level warning" in log["remedy"]


def test_no_such_process(doctor):
    process = subprocess.Popen(["true"])
    process.wait()
    code, findings = doctor(process.pid)
    assert code == BROKEN and len(findings) == 1
    assert f"no process {process.pid}" in findings[0]["text"]
