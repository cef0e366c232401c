"""Laws of what Triton's compiler writes for an H200; it needs no GPU for that."""

import json
import os
import subprocess
import sys

import pytest

pytest.importorskip("triton")

SHARED = 227 * 1024  # bytes of shared memory of a program on an H200


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    told = {"TRITON_INTERPRET": "0", "TRITON_CACHE_DIR": str(tmp_path_factory.mktemp("triton"))}
    ask = [sys.executable, "-m", "tests.compiled"]
    ran = subprocess.run(ask, env=os.environ | told, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
    return json.loads(ran.stdout)


def test_every_kernel_compiles_and_finds_room(written):
    names = {
        "multiply ieee",
        "multiply tf32x3",
        "activate",
        "pull",
        "follow",
        "descend_logits",
        "stay",
    }
    assert written.keys() == names
    assert all(kernel["shared"] <= SHARED for kernel in written.values())


def test_no_kernel_adds_in_an_order_that_hangs_on_time(written):
    assert all(kernel["atomics"] == 0 for kernel in written.values())


def test_ieee_products_are_chains_of_multiply_adds(written):
    assert written["multiply ieee"]["fma"] == 64 * 64 * 16 // 128  # of a thread in a step
    assert all(k["tensor cores"] == 0 for name, k in written.items() if "tf32" not in name)


def test_tf32_products_come_in_threes(written):
    count = written["multiply tf32x3"]["tensor cores"]
    assert count == 3 * 32 // 8 and written["multiply tf32x3"]["fma"] == 0


def test_rows_that_begin_at_multiples_of_16_are_copied_16_bytes_at_a_time(written):
    assert written["multiply ieee"]["wide copies"] == 3 * 64 * (16 + 16) // 4 // 128
    assert written["multiply tf32x3"]["wide copies"] == 3 * 64 * (32 + 32) // 4 // 128


def test_residents_alone_and_among_others_run_one_program(written):
    assert written["stay"]["programs"] == 1


def test_products_keep_their_sums_in_registers(written):
    assert written["multiply ieee"]["stack"] == written["multiply tf32x3"]["stack"] == 0
