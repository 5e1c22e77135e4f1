"""Makes single allocations and writes of a running program fail: the test's side of faults.c."""

import mmap

# struct faults
FIELDS = ("allocation", "blocks", "disk", "error", "lasting")


class Faults:
    """.env is the environment of the program under test; the numbers are those of the running one."""

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
        """Makes the allocation with this number fail; 1 is the next one."""
        self.set(allocation=number)

    def had_no_memory(self):
        """Returns whether it failed; if not, cancels the failure."""
        left = self.get("allocation")
        self.set(allocation=0)
        return left <= 0

    def blocks(self):
        """Returns the number of allocated blocks, up to a constant."""
        return self.get("blocks")

    def disk_fails_at(self, number, error, lasting=False):
        """Makes the call with this number that changes the prefix cache on disk fail; lasting: and all later
        ones."""
        self.set(disk=0, error=error, lasting=lasting)
        self.set(disk=number)

    def killed_at(self, number):
        """Kills the program at the call with this number that changes the prefix cache on disk; a write is
        done by half."""
        self.disk_fails_at(number, 0)
