"""Ids of clusters to a byte each, eight or five at a time: three instructions that numba has no words for."""

from typing import Any

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from backcast.compress.vectors import _FEATURES, _I64

AVAILABLE = bool(_FEATURES.get("bmi2"))


def _put(typing: Any, address: Any, value: Any) -> Any:
    """Writes the eight bytes of ``value`` at an address, aligned or not."""
    del typing, address, value

    def emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        del signature
        place, eight = arguments
        builder.store(eight, builder.inttoptr(place, _I64.as_pointer()), align=1)
        return context.get_dummy_value()

    return types.void(types.int64, types.uint64), emit


def _deposit(typing: Any, bits: Any, mask: Any) -> Any:
    """The low ``bits``, one after the other, to where ``mask`` has ones (BMI2)."""
    del typing, bits, mask
    return types.uint64(types.uint64, types.uint64), _calling("llvm.x86.bmi.pdep.64", 2)


def _ones(typing: Any, value: Any) -> Any:
    """How many bits are set."""
    del typing, value
    return types.uint64(types.uint64), _calling("llvm.ctpop.i64", 1)


def _calling(name: str, count: int) -> Any:
    def emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        del context, signature
        function = builder.module.globals.get(name)
        if function is None:
            function = ir.Function(builder.module, ir.FunctionType(_I64, [_I64] * count), name=name)
        return builder.call(function, arguments)

    return emit


put: Any = intrinsic(_put)
deposit: Any = intrinsic(_deposit)
ones: Any = intrinsic(_ones)
