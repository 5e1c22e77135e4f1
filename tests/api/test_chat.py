"""kinglet chat: reading of standard input, and safe output on a terminal."""

import os
import pty
import re
import socket
import subprocess
import threading

import pytest

QUESTION = "what is this"


@pytest.fixture
def chat(kinglet, tiny_model_path):
    """chat(*words, stdin, shell) -> (stdout, stderr) of a short greedy answer of the tiny model."""

    def run(*words, options=("-n", "12"), **how):
        done = subprocess.run([kinglet, "chat", "-m", tiny_model_path, "--offline", *options,
                               *words], capture_output=True, timeout=60, **how)  # fmt: skip
        assert done.returncode == 0, done.stderr
        return done.stdout, done.stderr.decode()

    return run


def prompt_tokens(stderr):
    return int(re.search(r"prompt (\d+) tokens", stderr)[1])


# ---- standard input ------------------------------------------------------------------------------


def test_the_text_of_a_pipe_precedes_the_question(chat):
    text = "some text, 你好\n" * 80
    both, said = chat(QUESTION, input=text.encode() + b"\n\n")
    assert f"read {len(text.encode()) + 2:,} bytes from standard input\n" in said
    assert "read 1,442 bytes" in said
    alone, _ = chat(f"{text.rstrip()}\n\n{QUESTION}", stdin=subprocess.DEVNULL)
    assert both == alone
    question, short = chat(QUESTION, stdin=subprocess.DEVNULL)
    assert both != question and "bytes from standard input" not in short
    assert prompt_tokens(said) > prompt_tokens(short) + 80


def test_a_nul_does_not_end_the_text(chat):
    cut, with_nul = (prompt_tokens(chat(QUESTION, input=text)[1]) for text in (b"ab", b"ab\0" * 20))
    assert with_nul > cut + 20


def test_a_file_is_read_from_its_beginning_only(chat, tmp_path):
    path = tmp_path / "text"
    path.write_bytes(b"one line\nand one more\n")
    with open(path, "rb") as file:
        whole, said = chat(QUESTION, stdin=file)
        assert "read 22 bytes from standard input" in said
    with open(path, "rb") as file:
        file.seek(9)  # as `while read` leaves it
        later, said = chat(QUESTION, stdin=file)
        assert "standard input" not in said and file.tell() == 9
    nothing, _ = chat(QUESTION, stdin=subprocess.DEVNULL)
    assert later == nothing != whole


def test_no_input_does_not_consume_the_lines_of_a_loop(kinglet, tiny_model_path):
    command = f"'{kinglet}' chat -m '{tiny_model_path}' --offline -n 4"
    loop = 'while read q; do %s %s "$q" >/dev/null && echo "asked $q"; done'
    for option, asked in (("--no-input", b"asked one\nasked two\nasked three\n"),
                          ("", b"asked one\n")):  # fmt: skip
        done = subprocess.run(["sh", "-c", loop % (command, option)], input=b"one\ntwo\nthree\n",
                              stdout=subprocess.PIPE, timeout=60)  # fmt: skip
        assert done.stdout == asked


def test_a_closed_standard_input_is_empty(chat):
    _, said = chat(QUESTION, preexec_fn=lambda: os.close(0))
    assert "standard input" not in said


def test_a_socket_is_read_like_a_pipe(chat):
    ours, its = socket.socketpair()
    with ours, its:
        ours.sendall(b"from a socket")
        ours.shutdown(socket.SHUT_WR)
        _, said = chat(QUESTION, stdin=its)
    assert "read 13 bytes from standard input" in said


def test_waiting_for_a_silent_pipe_is_reported(kinglet, tiny_model_path):
    process = subprocess.Popen([kinglet, "chat", "-m", tiny_model_path, "--offline", "-n", "4",
                                QUESTION], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL,
                               stderr=subprocess.PIPE)  # fmt: skip
    # the line comes while nothing else happens: without it this waits for ever
    first = process.stderr.readline()
    assert first == b"waiting for the end of standard input (--no-input: do not read it)\n"
    _, rest = process.communicate(b"late", timeout=60)
    assert process.returncode == 0
    assert b"read 4 bytes from standard input\n" in rest and b"waiting" not in rest


def test_an_endless_pipe_is_refused(kinglet, tiny_model_path):
    endless, its = os.pipe()
    writer = threading.Thread(target=write_until_closed, args=(its,))
    with open(endless, "rb") as pipe:
        writer.start()
        done = subprocess.run([kinglet, "chat", "-m", tiny_model_path, "--offline", QUESTION],
                              stdin=pipe, capture_output=True, timeout=60)  # fmt: skip
    writer.join()
    assert done.returncode == 1 and done.stdout == b""
    assert b"standard input is longer than 1048576 bytes" in done.stderr


def write_until_closed(fd):
    try:
        while True:
            os.write(fd, b"x" * 65536)
    except BrokenPipeError:
        os.close(fd)


def test_no_input_without_a_question_is_wrong_usage(run_kinglet):
    done = run_kinglet("chat", "--no-input", check=False)
    assert done.returncode == 2 and b"--no-input needs a PROMPT" in done.stderr


# ---- a terminal ----------------------------------------------------------------------------------


def unsafe(text):
    return re.findall("[\0-\x08\x0b-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069]", text)


def on_a_terminal(command, **how):
    """Runs a command with its standard output on a terminal; returns the bytes written, with their
    original line ends."""
    master, slave = pty.openpty()
    process = subprocess.Popen(command, stdout=slave, stderr=subprocess.PIPE, **how)
    os.close(slave)
    seen = b""
    try:
        while data := os.read(master, 65536):
            seen += data
    except OSError:  # the other end is closed
        pass
    os.close(master)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 0, said
    return seen.replace(b"\r\n", b"\n")


def test_a_terminal_gets_no_control_characters(kinglet, tiny_model_path):
    """The tiny model samples random bytes, with ESC and C1 among them."""
    command = [kinglet, "chat", "-m", tiny_model_path, "--offline", "--temperature", "10",
               "-n", "300", "--no-input", "hello", "--seed"]  # fmt: skip
    for seed in range(1, 60):
        piped = subprocess.run([*command, str(seed)], capture_output=True, check=True).stdout
        found = set(unsafe(piped.decode()))
        if "\x1b" in found and any("\x80" <= c <= "\x9f" for c in found):
            break
    else:
        pytest.fail("no seed makes the tiny model write ESC and C1")
    shown = on_a_terminal([*command, str(seed)]).decode()
    assert unsafe(shown) == []
    assert shown == re.sub("[\0-\x08\x0b-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069]", "\ufffd",
                           piped.decode())  # fmt: skip


def test_decoded_ids_are_safe_on_a_terminal(kinglet, tiny_model_path):
    text = "\x1b]52;c;QUJD\x07 \x9b2J 你好\n\tend".encode()
    ids = subprocess.run([kinglet, "tokenize", "-m", tiny_model_path, "--ids"], input=text,
                         capture_output=True, check=True).stdout  # fmt: skip
    decode = [kinglet, "tokenize", "-m", tiny_model_path, "--decode"]
    assert subprocess.run(decode, input=ids, capture_output=True).stdout == text
    read, write = os.pipe()
    os.write(write, ids)
    os.close(write)
    shown = on_a_terminal(decode, stdin=read)
    os.close(read)
    assert shown.decode() == "\ufffd]52;c;QUJD\ufffd \ufffd2J 你好\n\tend"


def test_pieces_escape_unsafe_bytes(run_kinglet, tiny_model_path):
    shown = run_kinglet("tokenize", "-m", tiny_model_path, input="\x9b\u202e".encode()).stdout
    joined = b"".join(line.split(b"\t")[1] for line in shown.splitlines())
    assert joined == rb"\xc2\x9b\xe2\x80\xae"


# ---- names ---------------------------------------------------------------------------------------


def test_file_names_are_safe_on_a_terminal(kinglet, run_kinglet, tiny_model_path, tmp_path):
    models = tmp_path / "kinglet" / "models"
    models.mkdir(parents=True)
    hostile = b"\x1b]2;owned\x07\xc2\x9b\xe2\x80\xae\x9b\nforged.gguf"
    path = os.path.join(os.fsencode(models), hostile)
    os.symlink(tiny_model_path, path)
    listed = run_kinglet("pull", "--list", env={"XDG_CACHE_HOME": str(tmp_path)}).stdout
    assert b"?]2;owned?????forged" in listed
    assert unsafe(listed.decode()) == []
    done = subprocess.run([kinglet, "tokenize", "-m", path, "--log-level", "info"], input=b"x",
                          capture_output=True)  # fmt: skip
    assert done.returncode == 0 and rb"\x1b]2;owned\x07\u009b\u202e\x9b\x0aforged" in done.stderr
    assert unsafe(done.stderr.decode()) == []
    os.unlink(path)
    done = subprocess.run([kinglet, "tokenize", "-m", path], input=b"x", capture_output=True)
    assert done.returncode == 3 and b"?]2;owned?????forged" in done.stderr
    assert unsafe(done.stderr.decode()) == []
