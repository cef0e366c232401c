"""Compile the kernels for an H200, which needs none, and print what the compiler wrote.

    python -m tests.compiled

One line of JSON a kernel. It runs in a process of its own, for in the interpreter nothing compiles.
"""

import json
import re
import subprocess
import tempfile
from pathlib import Path
from unittest import mock

import torch
import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource, make_backend
from triton.runtime.jit import create_function_from_signature

from tsframe.training.kernels import residents
from tsframe.training.kernels.losses import descend_logits
from tsframe.training.kernels.products import BEGINNINGS, DEPTHS, warps_of
from tsframe.training.kernels.steps import OF_THE_MATES, stay
from tsframe.training.kernels.tiles import multiply, OF_THE_BATCH
from tsframe.training.losses import Objective

TARGET = GPUTarget("cuda", 90, 32)
INTEGERS = {"targets", "sets", "order", "seats"}  # pointers to int64
POINTERS = INTEGERS | set(
    "left right out side rates momenta decays scales logits inputs first middle last "
    "first_velocity middle_velocity last_velocity".split()
)
NUMBERS = {"alpha", "beta", "scale"}
ONES = {"left_step", "right_column", "out_column", "side_column", "logit_column", "target_column"}


def compiled(kernel, warps, **constants):
    """Compile a kernel as for tensors that are contiguous and, where it asks that, aligned."""
    signature, aligned = {}, {}
    told = OF_THE_MATES if kernel is stay else OF_THE_BATCH
    for place, parameter in enumerate(kernel.params):
        name = parameter.name
        if name in ONES:
            constants[name] = 1
        signature[name] = "i32"
        if name in constants:
            signature[name] = "constexpr"
        elif name in POINTERS:
            signature[name] = "*i64" if name in INTEGERS else "*fp32"
        elif name in NUMBERS:
            signature[name] = "fp32"
        if signature[name] in ("i32", "*i64", "*fp32") and name not in told:
            aligned[place,] = [["tt.divisibility", 16]]
    source = ASTSource(kernel, signature, constants, aligned)
    stages = {"num_stages": 1} if kernel is stay else {}
    made = triton.compile(source, TARGET, {"num_warps": warps, **stages})
    ptx = made.asm["ptx"]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "kernel.cubin"
        path.write_bytes(made.asm["cubin"])
        ask = [triton.knobs.nvidia.cuobjdump.path, "--dump-resource-usage", str(path)]
        usage = subprocess.run(ask, capture_output=True, text=True, check=True).stdout
    return {
        "shared": made.metadata.shared,
        "wide copies": len(re.findall(r"cp\.async\S* [^;]*, 0x10", ptx)),
        "registers": int(re.findall(r"REG:(\d+)", usage)[0]),
        "stack": int(re.findall(r"STACK:(\d+)", usage)[0]),
        "fma": ptx.count("fma.rn.f32"),
        "tensor cores": len(re.findall(r"\b(?:wgmma\.mma_async|mma)\.sync", ptx)),
        "atomics": len(re.findall(r"^\s*(?:@\S+ )?(?:atom|red)\.", ptx, re.MULTILINE)),
    }


def kernels():
    """Compile one kernel after another.

    Yields
    ------
    name : str
    written : dict of str to int
    """
    aligned = dict.fromkeys(BEGINNINGS, 16)
    task = {
        **aligned,
        "TASK": "multiply",
        "ACTIVATION": "",
        "ADDS": False,
        "DECAYS": False,
        "NESTEROV": False,
    }
    for precision, depth in DEPTHS.items():
        tile = {"ROWS": 64, "COLUMNS": 64, "DEPTH": depth, "PRECISION": precision}
        warps = warps_of(64, 64, precision)
        yield f"multiply {precision}", compiled(multiply, warps, **tile, **task)
    small = {"ROWS": 16, "COLUMNS": 32, "DEPTH": DEPTHS["ieee"], "PRECISION": "ieee"}
    changes: dict[str, dict[str, object]]
    changes = {"activate": {"ACTIVATION": "tanh"}, "pull": {"ACTIVATION": "erf"}}
    changes["follow"] = dict.fromkeys(("ADDS", "DECAYS", "NESTEROV"), True)
    for name, change in changes.items():
        yield name, compiled(multiply, 1, **small, **{**task, "TASK": name, **change})
    loss = {"LOSS": "cross_entropy", "CODED": True}
    yield "descend_logits", compiled(descend_logits, 4, ROWS=16, COLUMNS=128, **loss)
    sizes = {"TERMS": 64, "WIDTH": 16, "OUTPUTS": 16, "SAMPLES": 16}
    found = compiled(stay, 4, DEPTH=2, ACTIVATION="relu", MOMENTUM=True, **sizes, **loss)
    yield "stay", found | {"programs": len(programs_of_residents())}


def programs_of_residents():
    """Give what Triton would compile for students of one shape, alone and among others."""
    found = set()
    bind = create_function_from_signature(stay.signature, stay.params, make_backend(TARGET))

    class Launches:
        def __getitem__(self, grid):
            return lambda *told, **how: found.add(str(bind(*told, **how)[1]))

    def part(*shape, dtype=torch.float32, behind=0):  # of a larger tensor
        return torch.zeros(behind + shape[0], *shape[1:], dtype=dtype)[behind:]

    with mock.patch.object(residents, "stay", Launches()):
        for groups, places, steps, n, behind in (
            (1, 1, 1, 50, 0),
            (3, 5, 7, 50, 1),
            (16, 16, 16, 64, 3),
            (1, 16, 32, 37, 1),
        ):
            slots, first = groups * places, part(groups, behind + 10 * places, 21)
            weights = [
                first[:, behind:].unflatten(1, (places, 10)),
                part(groups, places, 3, 11, behind=behind),
            ]
            residents.train_residents(
                weights,
                weights,
                part(groups, n, 21),
                part(slots, n, dtype=torch.int64, behind=behind),
                part(groups, dtype=torch.int64),
                part(groups, steps, 20, dtype=torch.int64),
                *(part(*shape, behind=behind) for shape in ((slots, steps), (slots, 2, 2))),
                *(part(slots, behind=behind) for _ in range(2)),
                objective=Objective("cross_entropy", 3),
                activation="relu",
            )
    return found


if __name__ == "__main__":
    print(json.dumps(dict(kernels())))
