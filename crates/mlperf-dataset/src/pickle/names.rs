//! The names that a pickled table may refer to. Each is only a tag without any behaviour.

/// A name that a pickle may refer to. Each is only a tag without any behaviour.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Global {
    DataFrame,
    BlockManager,
    UnpickleBlock,
    Partial,
    NewIndex,
    Index,
    RangeIndex,
    ArrowStringArray,
    StringDtype,
    ArrowRestore,
    ArrowType,
    ArrowBuffer,
    ArrowChunked,
    Reconstruct,
    FromBuffer,
    NdArray,
    Dtype,
    Scalar,
    Slice,
    Encode,
    BytesClass,
    ByteArrayClass,
    NdArrayBacked,
    StringArray,
    Categorical,
    CategoricalDtype,
    /// A name that is not on the list: it is not executed, and a column that needs it is not read.
    Unknown,
}

/// All allowed names: those that pandas 1 to 3 and numpy 1 and 2 use to pickle a table of numbers, texts and
/// lists.
const ALLOWED: &[(&str, &str, Global)] = &[
    ("pandas.core.frame", "DataFrame", Global::DataFrame),
    ("pandas", "DataFrame", Global::DataFrame),
    (
        "pandas.core.internals.managers",
        "BlockManager",
        Global::BlockManager,
    ),
    ("pandas.core.internals", "BlockManager", Global::BlockManager),
    ("pandas._libs.internals", "_unpickle_block", Global::UnpickleBlock),
    ("pandas.core.internals.blocks", "new_block", Global::UnpickleBlock),
    // pandas 1.3 uses it to bind an argument of new_block; any other bound callable is refused where it is
    // called.
    ("functools", "partial", Global::Partial),
    ("pandas.core.indexes.base", "_new_Index", Global::NewIndex),
    ("pandas.core.indexes.base", "Index", Global::Index),
    ("pandas.core.indexes.numeric", "Int64Index", Global::Index),
    ("pandas.core.indexes.numeric", "UInt64Index", Global::Index),
    ("pandas.core.indexes.numeric", "Float64Index", Global::Index),
    ("pandas", "Index", Global::Index),
    ("pandas.core.indexes.range", "RangeIndex", Global::RangeIndex),
    ("pandas", "RangeIndex", Global::RangeIndex),
    ("pandas.arrays", "ArrowStringArray", Global::ArrowStringArray),
    (
        "pandas.core.arrays.string_arrow",
        "ArrowStringArray",
        Global::ArrowStringArray,
    ),
    ("pandas", "StringDtype", Global::StringDtype),
    (
        "pandas._libs.arrays",
        "__pyx_unpickle_NDArrayBacked",
        Global::NdArrayBacked,
    ),
    ("pandas.arrays", "StringArray", Global::StringArray),
    ("pandas.core.arrays.string_", "StringArray", Global::StringArray),
    ("pandas", "Categorical", Global::Categorical),
    (
        "pandas.core.arrays.categorical",
        "Categorical",
        Global::Categorical,
    ),
    ("pandas", "CategoricalDtype", Global::CategoricalDtype),
    ("pandas.api.types", "CategoricalDtype", Global::CategoricalDtype),
    (
        "pandas.core.dtypes.dtypes",
        "CategoricalDtype",
        Global::CategoricalDtype,
    ),
    ("pandas.core.arrays.string_", "StringDtype", Global::StringDtype),
    ("pyarrow.lib", "_restore_array", Global::ArrowRestore),
    ("pyarrow.lib", "type_for_alias", Global::ArrowType),
    ("pyarrow.lib", "py_buffer", Global::ArrowBuffer),
    ("pyarrow.lib", "chunked_array", Global::ArrowChunked),
    ("numpy.core.multiarray", "_reconstruct", Global::Reconstruct),
    ("numpy._core.multiarray", "_reconstruct", Global::Reconstruct),
    ("numpy.core.multiarray", "scalar", Global::Scalar),
    ("numpy._core.multiarray", "scalar", Global::Scalar),
    ("numpy.core.numeric", "_frombuffer", Global::FromBuffer),
    ("numpy._core.numeric", "_frombuffer", Global::FromBuffer),
    ("numpy", "ndarray", Global::NdArray),
    ("numpy", "dtype", Global::Dtype),
    ("builtins", "slice", Global::Slice),
    ("__builtin__", "slice", Global::Slice),
    ("_codecs", "encode", Global::Encode),
    ("__builtin__", "bytes", Global::BytesClass),
    ("builtins", "bytes", Global::BytesClass),
    ("__builtin__", "bytearray", Global::ByteArrayClass),
    ("builtins", "bytearray", Global::ByteArrayClass),
];

/// The tag of a name; `None` for any name that is not on the list.
pub(super) fn find(module: &str, name: &str) -> Option<Global> {
    ALLOWED
        .iter()
        .find(|(m, n, _)| *m == module && *n == name)
        .map(|(_, _, global)| *global)
}
