import numpy as np
import pytest

from codecbwe_jax.audio import waveform
from codecbwe_jax.errors import UserError


@pytest.mark.parametrize("kind", [np.int8, np.int16, np.int32, np.uint8])
def test_integers_are_scaled_by_their_type(kind: type) -> None:
    limits = np.iinfo(kind)
    middle = (int(limits.max) + int(limits.min) + 1) // 2
    got = waveform.checked(np.array([limits.min, middle, limits.max], kind))
    assert got.dtype == np.float32
    # int32's largest value is not a float32: it rounds to full scale
    np.testing.assert_allclose(
        got, [-1, 0, limits.max / 2.0 ** (limits.bits - 1) if limits.min else 127 / 128], rtol=1e-7
    )


@pytest.mark.parametrize("shape", [(2, 48000), (100, 33), (2, 3, 4), (0,), (5, 0), ()])
def test_a_shape_that_is_no_waveform_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(UserError, match=r"shape \[.*\]; \[samples\] or \[samples, channels\]"):
        waveform.checked(np.zeros(shape))


def test_one_sample_is_a_waveform() -> None:
    assert waveform.checked(np.zeros(1)).shape == (1,)
    assert waveform.checked(np.zeros((1, 1))).shape == (1, 1)


@pytest.mark.parametrize(
    ("value", "told"),
    [
        (np.nan, "sample 7 is NaN or infinite"),
        (-np.inf, "sample 7 is NaN or infinite"),
        (1e300, "sample 7 is NaN or infinite"),
        (-3e38, "sample 7 is -3e\\+38"),
    ],
)
def test_a_sample_that_is_no_level_is_named(value: float, told: str) -> None:
    samples = np.zeros((10, 2))
    samples[7, 1] = value
    with pytest.raises(UserError, match=told):
        waveform.checked(samples)
    with pytest.raises(UserError, match=told):
        waveform.checked_mono(samples[:, 1])


@pytest.mark.parametrize("kind", [bool, complex, object])
def test_what_is_no_number_of_a_waveform_is_refused(kind: type) -> None:
    with pytest.raises(UserError, match="floats or integers are needed"):
        waveform.checked(np.zeros(4, kind))
