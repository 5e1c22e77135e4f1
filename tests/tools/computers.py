"""Two simulated computers on one cable, for tests that loopback addresses do not allow: network namespaces
with a pair of virtual Ethernet devices between them. Needs root."""

import contextlib
import ctypes
import os
import socket
import subprocess
import threading
import time

SECONDS = 900  # their lifetime if the test is killed
CLONE_NEWNET = 0x40000000
DEVICE = "cable"
libc = ctypes.CDLL(None, use_errno=True)


class Computer:
    """A separate network, with .addresses (IPv4, IPv6) on the cable."""

    def __init__(self, *addresses):
        self.addresses = addresses
        self.process = subprocess.Popen(["unshare", "--net", "sleep", str(SECONDS)])
        self.network = f"/proc/{self.process.pid}/ns/net"
        ours = os.readlink("/proc/self/ns/net")
        deadline = time.monotonic() + 30
        while os.readlink(self.network) == ours:
            assert self.process.poll() is None, "a network namespace cannot be created"
            assert time.monotonic() < deadline
            time.sleep(0.005)

    def command(self, *words):
        """Returns the command that runs this one on the computer."""
        return ["nsenter", f"--net={self.network}", *map(str, words)]

    def ip(self, *words):
        subprocess.run(self.command("ip", *words), check=True)

    def plug_in(self):
        self.ip("link", "set", "lo", "up")
        for address in self.addresses:
            self.add_address(address)
        self.ip("link", "set", DEVICE, "up")

    def add_address(self, address):
        v6 = ":" in address
        self.ip("addr", "add", f"{address}/{48 if v6 else 24}", "dev", DEVICE, *["nodad"] * v6)

    def run(self, function, *arguments, **options):
        """Runs function on the computer and returns its result: a socket keeps its network."""
        result = []

        def enter_and_run():
            try:
                with open(self.network) as network:
                    if libc.setns(network.fileno(), CLONE_NEWNET) != 0:
                        raise OSError(ctypes.get_errno(), "setns")
                result.append((function(*arguments, **options), None))
            except BaseException as error:  # for the caller
                result.append((None, error))

        thread = threading.Thread(target=enter_and_run)
        thread.start()
        thread.join()
        value, error = result[0]
        if error is not None:
            raise error
        return value

    def connect(self, address, port, timeout=30, source=""):
        """Connects from the computer, from one of its addresses."""
        return self.run(
            socket.create_connection, (address, port), timeout, (source, 0) if source else None
        )


@contextlib.contextmanager
def two_computers():
    """Yields (box, other): 10.77.0.1 and fd77::1, 10.77.0.2 and fd77::2."""
    assert os.geteuid() == 0, "network namespaces need root: run this test as root"
    made = []
    try:
        for n in (1, 2):
            made.append(Computer(f"10.77.0.{n}", f"fd77::{n}"))
        box, other = made
        box.ip("link", "add", DEVICE, "type", "veth", "peer", "name", DEVICE, "netns",
               other.process.pid)  # fmt: skip
        for computer in made:
            computer.plug_in()
        yield box, other
    finally:
        for computer in made:
            computer.process.kill()
            computer.process.wait()
