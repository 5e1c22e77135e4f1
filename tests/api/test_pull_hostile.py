"""`kinglet pull` from servers that never end, and from servers with a certificate of a company's CA."""

import hashlib
import os
import shutil
import ssl
import subprocess
from types import SimpleNamespace

import pytest
from hostile import HostileServer

CONTENT = bytes((i * 7) & 0xFF for i in range(100_000))
SHA256 = hashlib.sha256(CONTENT).hexdigest()
NO_MODEL = 3


def settings(cache, **more):
    env = {**os.environ, "XDG_CACHE_HOME": str(cache), "KINGLET_MODEL": "", "LOG_LEVEL": "",
           "http_proxy": "", "https_proxy": "", "HF_ENDPOINT": "http://127.0.0.1:1",
           "MODELSCOPE_ENDPOINT": "http://127.0.0.1:1"}  # fmt: skip
    for name in ("SSL_CERT_FILE", "SSL_CERT_DIR", "CURL_CA_BUNDLE"):
        env.pop(name, None)
    return {**env, **{name: str(value) for name, value in more.items()}}


def pull(kinglet, cache, url, **more):
    return subprocess.run([kinglet, "pull", "mine", "--url", url, "--sha256", SHA256, "--timeout",
                           "5"], env=settings(cache, **more), capture_output=True, timeout=60)


@pytest.fixture
def serve():
    servers = []

    def start(answer, tls=None):
        servers.append(HostileServer(lambda write, path: answer(write), tls))
        return servers[-1]

    yield start
    for server in servers:
        server.close()


def whole(write):
    write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\nConnection: close\r\n\r\n" % len(CONTENT))
    write(CONTENT)


# ---- the disk ------------------------------------------------------------------------------------


def on_a_small_disk(kinglet, directory, url, size):
    """Runs pull on a separate small file system; stdout ends with the list of the models directory."""
    directory.mkdir()
    script = ('mount -t tmpfs -o size="$2" none "$1" || exit 99; "$3" pull mine --url "$4" --sha256'
              ' "$5" --timeout 5; code=$?; ls "$1/kinglet/models"; exit $code')  # fmt: skip
    return subprocess.run(
        ["unshare", "-m", "--propagation", "private", "sh", "-c", script, "sh", directory, size,
         kinglet, url, SHA256],
        env=settings(directory), capture_output=True, timeout=60,
    )  # fmt: skip


@pytest.mark.parametrize("framing", ["chunked", "until the end of the connection"])
def test_an_endless_file_leaves_room(kinglet, serve, tmp_path, framing):
    def endless(write):
        piece = b"x" * 65536
        if framing == "chunked":
            write.stream()
            while True:
                write.chunk(piece)
        write(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n")
        while True:
            write(piece)

    server = serve(endless)
    done = on_a_small_disk(kinglet, tmp_path / "disk", server.url, "280m")
    assert done.returncode == 1, done.stderr
    assert b"does not say how long the file is; after 16.8 MB it was removed" in done.stderr
    assert b"268.4 MB must stay free" in done.stderr
    assert done.stdout == b""  # no .part either
    assert len(server.requests) == 1 and "Accept-Encoding" not in server.requests[0]


def test_an_announced_size_leaves_room_too(kinglet, serve, tmp_path):
    def large(write):
        write(b"HTTP/1.1 200 OK\r\nContent-Length: 40000000\r\n\r\n" + CONTENT)

    done = on_a_small_disk(kinglet, tmp_path / "disk", serve(large).url, "280m")
    assert done.returncode == 1 and done.stdout == b""
    assert b"40.0 MB are needed and 268.4 MB must stay free" in done.stderr


def test_a_file_without_a_length_is_fetched(kinglet, serve, tmp_path):
    def chunked(write):
        write.stream()
        for at in range(0, len(CONTENT), 9999):
            write.chunk(CONTENT[at : at + 9999])
        write.end()

    done = pull(kinglet, tmp_path, serve(chunked).url)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "kinglet" / "models" / "mine.gguf").read_bytes() == CONTENT


def test_an_endless_head_is_refused(kinglet, serve, tmp_path):
    def head(write):
        write(b"HTTP/1.1 200 OK\r\n")
        while True:
            write(b"X-More: " + b"a" * 1000 + b"\r\n")

    server = serve(head)
    done = pull(kinglet, tmp_path, server.url)
    assert done.returncode == NO_MODEL
    assert b"head of the server's answer is longer" in done.stderr or b"Too large" in done.stderr


def test_a_redirect_loop_ends(kinglet, serve, tmp_path):
    def away(write):
        write(b"HTTP/1.1 302 \x1b]2;owned\x07\r\nLocation: /again\r\nContent-Length: 0\r\n"
              b"Connection: close\r\n\r\n")  # fmt: skip

    server = serve(away)
    done = pull(kinglet, tmp_path, server.url)
    assert done.returncode == NO_MODEL and b"redirects" in done.stderr
    assert len(server.requests) == 11 and b"\x1b" not in done.stderr


def test_a_closed_standard_error_does_not_damage_the_file(kinglet, serve, tmp_path):
    """Otherwise the progress would be written to the file that got its descriptor."""
    done = subprocess.run(
        ["sh", "-c", 'exec "$0" "$@" 2>&-', kinglet, "pull", "mine", "--url",
         serve(whole).url, "--sha256", SHA256],
        env=settings(tmp_path), stdout=subprocess.PIPE, timeout=60,
    )  # fmt: skip
    assert done.returncode == 0
    assert (tmp_path / "kinglet" / "models" / "mine.gguf").read_bytes() == CONTENT


# ---- certificates --------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def company(tmp_path_factory):
    """A company's CA, as a file and as a directory for OpenSSL, and the TLS context of a server."""
    home = tmp_path_factory.mktemp("company")

    def openssl(*args):
        subprocess.run(["openssl", *map(str, args)], check=True, capture_output=True)

    ca, ca_key = home / "ca.pem", home / "ca.key"
    crt, key, csr = home / "server.pem", home / "server.key", home / "server.csr"
    new = ("-newkey", "rsa:2048", "-nodes")
    openssl("req", "-x509", *new, "-days", 2, "-subj", "/CN=A company", "-keyout", ca_key, "-out",
            ca)  # fmt: skip
    openssl("req", *new, "-subj", "/CN=localhost", "-keyout", key, "-out", csr)
    other = home / "other.pem"
    openssl("req", "-x509", *new, "-days", 2, "-subj", "/CN=Another", "-keyout", home / "other.key",
            "-out", other)  # fmt: skip
    names = home / "names"
    names.write_text("subjectAltName=DNS:localhost\n")
    openssl("x509", "-req", "-in", csr, "-CA", ca, "-CAkey", ca_key, "-set_serial", 1, "-days", 2,
            "-extfile", names, "-out", crt)  # fmt: skip
    directory = home / "directory"
    directory.mkdir()
    shutil.copy(ca, directory)
    openssl("rehash", directory)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(crt, key)
    return SimpleNamespace(ca=ca, directory=directory, context=context, other=other)


def test_an_unknown_ca_is_refused_with_advice(kinglet, serve, company, tmp_path):
    done = pull(kinglet, tmp_path, serve(whole, company.context).url)
    assert done.returncode == NO_MODEL
    assert b"the certificate is not trusted (" in done.stderr
    assert b"set SSL_CERT_FILE to the PEM file" in done.stderr
    assert b"check the connection" not in done.stderr


@pytest.mark.parametrize("trust", ["SSL_CERT_FILE", "CURL_CA_BUNDLE", "SSL_CERT_DIR"])
def test_a_companys_ca_is_trusted_when_configured(kinglet, serve, company, tmp_path, trust):
    path = company.directory if trust == "SSL_CERT_DIR" else company.ca
    done = pull(kinglet, tmp_path, serve(whole, company.context).url, **{trust: path})
    assert done.returncode == 0, done.stderr


def test_an_unsuitable_ca_file_is_named(kinglet, serve, company, tmp_path):
    url = serve(whole, company.context).url
    # curl's own variable has precedence
    done = pull(kinglet, tmp_path, url, SSL_CERT_FILE=company.ca, CURL_CA_BUNDLE=company.other)
    assert done.returncode == NO_MODEL
    assert f"trusted are those of CURL_CA_BUNDLE={company.other}".encode() in done.stderr
    missing = tmp_path / "missing.pem"
    done = pull(kinglet, tmp_path, url, SSL_CERT_FILE=missing)
    assert done.returncode == NO_MODEL and f"SSL_CERT_FILE={missing}".encode() in done.stderr


def test_doctor_trusts_the_same_certificates(run_kinglet, serve, company):
    def answer(write):
        write(b"HTTP/1.1 418 No\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")

    server = serve(answer, company.context)
    nobody = dict.fromkeys(("SSL_CERT_FILE", "SSL_CERT_DIR", "CURL_CA_BUNDLE"), "")
    looks = [run_kinglet("doctor", "--json", "--url", server.url, env=env, check=False).stdout
             for env in (nobody, {**nobody, "SSL_CERT_FILE": str(company.ca)})]  # fmt: skip
    assert b"the certificate is not trusted" in looks[0] and b"SSL_CERT_FILE" in looks[0]
    assert b"status 418" in looks[1]
