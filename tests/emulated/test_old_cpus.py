"""Old x86 CPUs under qemu's user emulation: each gets the right tier, and the program uses no
instruction that the CPU lacks (the emulator would end it with SIGILL)."""

import os
import subprocess

import pytest

EMULATOR = "qemu-x86_64-static"
# Features are removed one by one; without XSAVE the system could not save AVX's registers.
CPUS = {
    "Nehalem": "sse4.1",
    "Nehalem,-sse4.1": "scalar",
    "Haswell": "avx2",
    "Haswell,-avx2": "sse4.1",
    "Haswell,-fma": "sse4.1",
    "Haswell,-f16c": "sse4.1",
    "Haswell,-xsave": "sse4.1",
    "Skylake-Server": "avx2",  # the emulator does not have its AVX-512
}
# Short checks; equality with the scalar tier is checked natively. Not "attend": qemu 7.2 reads 16 bytes
# for the operand of a scalar FMA, which hits the guard page.
CHECKS = ("matmul_company", "matmul_halves", "quantize", "rmsnorm", "rope", "swiglu", "kv_store")


def emulated(cpu, *command):
    return subprocess.run(
        [EMULATOR, *command],
        env={**os.environ, "QEMU_CPU": cpu},
        capture_output=True,
        timeout=600,
    )


@pytest.mark.parametrize("cpu", CPUS)
def test_kernels(cpu, build_dir):
    program = build_dir / "tests/kernels/check_kernels"
    done = emulated(cpu, program, "--seed", "20261122", "--best", CPUS[cpu], *CHECKS)
    said = done.stdout.decode() + done.stderr.decode()
    assert done.returncode == 0, said
    for check in CHECKS:
        assert f"ok      {check} of {CPUS[cpu]}\n" in said


def test_attention_without_avx(build_dir):
    program = build_dir / "tests/kernels/check_kernels"
    done = emulated("Nehalem", program, "--seed", "20261122", "--best", "sse4.1", "attend_company")
    assert done.returncode == 0, done.stdout.decode() + done.stderr.decode()


@pytest.mark.parametrize("cpu", CPUS)
def test_the_answer_is_the_same_as_on_this_cpu(cpu, kinglet, tiny_model_path):
    command = (kinglet, "chat", "-m", tiny_model_path, "--offline", "--threads", "2", "-n", "12",
               "--log-level", "info", "hello")  # fmt: skip
    here = subprocess.run(command, capture_output=True, timeout=60, check=True)
    done = emulated(cpu, *command)
    assert done.returncode == 0, done.stderr.decode()
    assert done.stdout == here.stdout and len(here.stdout) > 12
    assert f"kernels: {CPUS[cpu]} (the best; " in done.stderr.decode()
