"""Which way round an encoder is, told by its bias, which has an entry for each feature."""

from acdc.dictionaries.tensors import TensorFile
from acdc.errors import InputError


def features_last(file: TensorFile, encoder: str, bias: str) -> tuple[int, int]:
    """(F, d_in) of an encoder that is stored [d_in, F]. Raises InputError where it is not."""
    return _sizes(file, encoder, bias, 1)


def features_first(file: TensorFile, encoder: str, bias: str) -> tuple[int, int]:
    """(F, d_in) of an encoder that is stored [F, d_in]. Raises InputError where it is not."""
    return _sizes(file, encoder, bias, 0)


def _sizes(file: TensorFile, encoder: str, bias: str, axis: int) -> tuple[int, int]:
    if missing := next((name for name in (encoder, bias) if name not in file.shapes), None):
        raise InputError(f"{file.path} lacks {missing!r}")
    shape, features = file.shapes[encoder], file.shapes[bias]
    if len(shape) != 2 or len(features) != 1 or features[0] not in shape:
        raise InputError(
            f"{file.path}: {encoder} has shape {list(shape)} and {bias} {list(features)}, which do not fit"
        )
    if shape[axis] != features[0]:
        raise InputError(f"{file.path}: {encoder} has shape {list(shape)}, not {list(shape[::-1])}: it is transposed")
    return shape[axis], shape[1 - axis]
