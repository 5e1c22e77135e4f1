"""Lets allocations and writes of a running program fail, one by one: the test's side of faults.c."""

import mmap

# struct faults
FIELDS = ("allocation", "blocks", "disk", "error", "lasting")


class Faults:
    """.env is for the program that is to fail; the numbers are those of the program that runs."""

    def __init__(self, library, path):
        path.write_bytes(bytes(8 * len(FIELDS)))
        with open(path, "r+b") as f:
            self.numbers = memoryview(mmap.mmap(f.fileno(), 0)).cast("q")
        self.env = {"LD_PRELOAD": str(library), "KINGLET_FAULTS": str(path)}

    def set(self, **values):
        for name, value in values.items():
            self.numbers[FIELDS.index(name)] = value

    def get(self, name):
        return self.numbers[FIELDS.index(name)]

    def no_memory_at(self, number):
        """The allocation of this number from now on fails; 1 is the next one."""
        self.set(allocation=number)

    def had_no_memory(self):
        """Whether it did; if it did not yet, it will not any more."""
        left = self.get("allocation")
        self.set(allocation=0)
        return left <= 0

    def blocks(self):
        """How many are allocated now, give or take a number that does not change."""
        return self.get("blocks")

    def disk_fails_at(self, number, error, lasting=False):
        """The call that changes the prefix cache on disk; with lasting all from there on."""
        self.set(disk=0, error=error, lasting=lasting)
        self.set(disk=number)

    def killed_at(self, number):
        """As kill -9, at this call that changes the prefix cache on disk; of a write, in its middle."""
        self.disk_fails_at(number, 0)
