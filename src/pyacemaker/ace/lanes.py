"""Eight numbers at a time: the same step for eight atoms, in one processor instruction or a few.

Kernels keep a quantity of eight atoms in the last axis of an array, and work on it with `load`, `store`,
`splat` and + − ×. In plain Python (`NUMBA_DISABLE_JIT=1`) these are what is written here: arrays of length 8.
Compiled, a value is one LLVM vector of eight doubles, which every processor handles with its widest
instructions. Each lane is an IEEE 754 sequence of its own, never reordered or fused: the bits do not depend
on the processor or on the other lanes.
"""

import operator
from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import lower_builtin, models, register_model, type_callable
from numpy.typing import NDArray

LANES = 8
"""Atoms that are treated together."""

Floats = NDArray[np.float64]
Place = tuple[int, ...]


def load(array: Floats, place: Place) -> Floats:
    """The eight numbers array[place], a copy. place: as many indices as the array has axes, less one."""
    found: Floats = array[place].copy()
    return found


def store(array: Floats, place: Place, value: Floats) -> None:
    """Write eight numbers to array[place]."""
    array[place] = value


def splat(value: float) -> Floats:
    """The same number eight times."""
    return np.full(LANES, value)


def spread(array: Floats, first: int, stride: int, lane: int, value: Floats) -> None:
    """Write value[k] to place first + k·stride + lane of the flattened array: a column of lanes."""
    array.reshape(-1)[first + lane : first + lane + LANES * stride : stride] = value


def aligned(shape: tuple[int, ...]) -> Floats:
    """Zeros that start at a cache line, so that no load of eight numbers crosses one."""
    size = int(np.prod(shape))
    memory = np.zeros(size + LANES)
    start = -memory.ctypes.data % 64 // 8
    return memory[start : start + size].reshape(shape)


class _LanesType(types.Type):  # type: ignore[misc]
    def __init__(self) -> None:
        super().__init__(name="EightLanes")


_TYPE = _LanesType()
_VECTOR = ir.VectorType(ir.DoubleType(), LANES)


@register_model(_LanesType)
class _LanesModel(models.PrimitiveModel):  # type: ignore[misc]
    def __init__(self, manager: Any, kind: Any) -> None:
        super().__init__(manager, kind, _VECTOR)


@type_callable(load)  # type: ignore[untyped-decorator]
def _type_load(_context: Any) -> Any:
    return lambda array, place: _TYPE


@type_callable(store)  # type: ignore[untyped-decorator]
def _type_store(_context: Any) -> Any:
    return lambda array, place, value: types.none


@type_callable(splat)  # type: ignore[untyped-decorator]
def _type_splat(_context: Any) -> Any:
    return lambda value: _TYPE


@type_callable(spread)  # type: ignore[untyped-decorator]
def _type_spread(_context: Any) -> Any:
    return lambda array, first, stride, lane, value: types.none


def _pointer(context: Any, builder: Any, array_type: Any, array: Any, place: Any) -> Any:
    view = context.make_array(array_type)(context, builder, array)
    indices = [*cgutils.unpack_tuple(builder, place), context.get_constant(types.intp, 0)]
    item = cgutils.get_item_pointer(context, builder, array_type, view, indices, wraparound=False)
    return builder.bitcast(item, _VECTOR.as_pointer())


def _repeated(builder: Any, value: Any) -> Any:
    one = builder.insert_element(ir.Constant(_VECTOR, ir.Undefined), value, ir.IntType(32)(0))
    mask = ir.Constant(ir.VectorType(ir.IntType(32), LANES), [0] * LANES)
    return builder.shuffle_vector(one, ir.Constant(_VECTOR, ir.Undefined), mask)


@lower_builtin(load, types.Array, types.BaseTuple)  # type: ignore[untyped-decorator]
def _load(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
    return builder.load(_pointer(context, builder, signature.args[0], *arguments), align=8)


@lower_builtin(store, types.Array, types.BaseTuple, _LanesType)  # type: ignore[untyped-decorator]
def _store(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
    array, place, value = arguments
    builder.store(value, _pointer(context, builder, signature.args[0], array, place), align=8)
    return context.get_dummy_value()


@lower_builtin(splat, types.Float)  # type: ignore[untyped-decorator]
def _splat(_context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
    return _repeated(builder, arguments[0])


@lower_builtin(spread, types.Array, types.Integer, types.Integer, types.Integer, _LanesType)  # type: ignore[untyped-decorator]
def _spread(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
    array, first, stride, lane, value = arguments
    data = context.make_array(signature.args[0])(context, builder, array).data
    place = builder.add(first, lane)
    for k in range(LANES):
        builder.store(builder.extract_element(value, ir.IntType(32)(k)), builder.gep(data, [place]))
        place = builder.add(place, stride)
    return context.get_dummy_value()


def _register(symbol: Any, instruction: str) -> None:
    """Make an operator work between lanes, and between lanes and a number."""

    def typed(_context: Any) -> Any:
        def result(left: Any, right: Any) -> Any:
            kinds = (left, right)
            if _TYPE in kinds and all(kind in (_TYPE, types.float64) for kind in kinds):
                return _TYPE
            return None

        return result

    def lowered(_context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        both = (
            value if kind == _TYPE else _repeated(builder, value)
            for kind, value in zip(signature.args, arguments, strict=True)
        )
        return getattr(builder, instruction)(*both)

    type_callable(symbol)(typed)
    for kinds in ((_LanesType, _LanesType), (_LanesType, types.Float), (types.Float, _LanesType)):
        lower_builtin(symbol, *kinds)(lowered)


_register(operator.add, "fadd")
_register(operator.sub, "fsub")
_register(operator.mul, "fmul")
