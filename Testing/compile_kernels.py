"""Compile all Triton kernels for an H100, which needs no GPU, and print the PTX of each as JSON.

Run by test_fused.py in a process of its own, because there Triton is its own interpreter.
"""

import json
from typing import Any

import triton
from mirrba import fused, fused_fields, fused_gradients, losses, schedule
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

H100 = GPUTarget("cuda", 90, 32)
IMAGES = {"image", "fixed", "warped", "sums", "sum_fixed", "var_fixed", "weight", "value", "out"}
FIELDS = {"field", "gradient", "parts", "by_image", "by_field"}
NUMBERS = {"volume", "sigma"}


WARP = {"CHANNELS": 3, "COMPOSED": True}
OF_FIELDS: dict[str, dict[str, Any]] = {
    "_warp": WARP,
    "_warp_back": {**WARP, "OF_IMAGE": True, "OF_FIELD": True},
    "_smooth": {"RADIUS": 3},
    "_smoothness": {},
    "_smoothness_back": {},
    "_folding": {},
    "_folding_back": {},
}


def kind(name: str, constants: dict) -> str:
    if name in constants:
        return "constexpr"
    return "*fp32" if name in IMAGES | FIELDS else "fp32" if name in NUMBERS else "i32"


def compiled(kernel, **constants) -> str:
    assert {p.name for p in kernel.params if p.do_not_specialize} == {
        name for name in kernel.arg_names if kind(name, constants) == "i32"
    }
    signature = {name: kind(name, constants) for name in kernel.arg_names}
    found = triton.compile(ASTSource(fn=kernel, signature=signature, constexprs=constants), target=H100)
    assert found.asm["cubin"]
    return found.asm["ptx"]


def main() -> None:
    ptx = {}
    for wide in (False, True):
        sizes = {"BLOCK": fused.BLOCK, "WIDE": wide}
        for kernel in (fused._sums, fused._product_sums):
            ptx[f"{kernel.__name__} {wide}"] = compiled(kernel, RADIUS=schedule.WIDEST // 2, **sizes)
        for slack in (None, losses.SLACK):
            name = f"{fused._terms.__name__} {slack} {wide}"
            ptx[name] = compiled(fused._terms, EPSILON=losses.EPSILON, SLACK=slack, **sizes)
        for name, constants in OF_FIELDS.items():
            module = fused_fields if hasattr(fused_fields, name) else fused_gradients
            ptx[f"{name} {wide}"] = compiled(getattr(module, name), **constants, **sizes)
    print(json.dumps(ptx))


if __name__ == "__main__":
    main()
