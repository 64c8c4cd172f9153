"""The vector loop of ``vectors`` for one bit a weight: signs with one magnitude a block, in masked lanes (AVX-512).

A sum with signs is the sum of all numbers, less twice those with a minus. The first is the same for every row, and
the codes are, as they lie, the masks of the second: one instruction for sixteen weights.
"""

from typing import Any

from llvmlite import ir
from numba import types

from backcast.compress.vectors import (
    _F32,
    _V16F,
    _WIDE,
    ROWS,
    _across,
    _fma,
    _load,
    _splat,
    _whole,
    by_width,
    loop,
    prefetch,
    taken_apart,
)

AVAILABLE = _WIDE

_MASK = ir.IntType(16)


def _rows(builder: Any, arguments: Any, bits: int) -> None:
    """Writes, for each of ``ROWS`` rows, the sum over blocks of ``scale * (sum - sum of those with a set bit)``.

    ``places`` are addresses: of packed bytes; of twice the numbers, each 32 in the order of the bits; of the sums of
    numbers, sixteen lanes a block; of float32 scales, one a block; of what is written. ``extent`` is two tuples: the
    bytes from a row to the next of codes and of scales; the number of blocks, and the stretches of 32 codes in each but
    the last, and in the last. ``bits`` is 1.
    """
    assert bits == 1
    (codes, vector, whole_sums, scales, sums), extent = (taken_apart(builder, part) for part in arguments)
    steps, (blocks, whole, rest) = (taken_apart(builder, part) for part in extent)
    ahead = builder.add(codes, builder.mul(steps[0], _whole(ROWS)))
    codes, scales = (
        [builder.add(place, builder.mul(step, _whole(i))) for i in range(ROWS)]
        for place, step in zip((codes, scales), steps, strict=True)
    )

    def block(index: Any, totals: list[Any]) -> list[Any]:
        done, at = builder.mul(index, whole), builder.mul(index, _whole(4))
        last = builder.icmp_signed("==", index, builder.sub(blocks, _whole(1)))

        def stretch(inner: Any, found: list[Any]) -> list[Any]:
            step = builder.add(done, inner)
            four, there = builder.mul(step, _whole(4)), builder.add(vector, builder.mul(step, _whole(128)))
            found = list(found)
            prefetch(builder, builder.add(ahead, builder.mul(step, _whole(16))), 1)
            for half in range(2):
                x = _load(builder, there, 64 * half, _V16F, 4)
                for i, row in enumerate(codes):
                    bits = _load(builder, builder.add(row, four), 2 * half, _MASK, 1)
                    mask = builder.bitcast(bits, ir.VectorType(ir.IntType(1), 16))
                    found[i] = builder.select(mask, builder.fsub(found[i], x), found[i])
            return found

        start = _load(builder, builder.add(whole_sums, builder.mul(index, _whole(64))), 0, _V16F, 4)
        found = loop(builder, builder.select(last, rest, whole), [start] * ROWS, stretch)
        each = [_splat(builder, _load(builder, builder.add(row, at), 0, _F32, 4)) for row in scales]
        return [_fma(builder, *three) for three in zip(each, found, totals, strict=True)]

    for i, total in enumerate(loop(builder, blocks, [ir.Constant(_V16F, [0.0] * 16)] * ROWS, block)):
        place = builder.inttoptr(builder.add(sums, _whole(4 * i)), _F32.as_pointer())
        builder.store(_across(builder, total), place, align=4)


sign_product = by_width(_rows, types.void)
