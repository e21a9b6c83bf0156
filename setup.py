"""Package definition of codecbwe_jax."""

from pathlib import Path

from setuptools import find_packages, setup

REQUIRED = [
    "jax>=0.7.2",
    "flax>=0.11.2",
    "optax>=0.2.6",
    "orbax-checkpoint>=0.11.25",
    "grain>=0.2.14",
    "tensorflow-datasets>=4.9.9",
    "librosa>=0.11.0",
    "ml-collections>=1.1.0",
    "tensorboardX>=2.6.4",
    # audio files of every common format, and resampling on the host
    "soundfile>=0.13.0",
    "soxr>=0.5.0",
    # shards with random access, the format that TFDS and grain read
    "array-record>=0.7.0",
    # weights without pickle
    "safetensors>=0.6.0",
    # spectrograms in reports and TensorBoard
    "matplotlib>=3.9",
    # progress bars and tables
    "rich>=13.0",
]

EXTRAS = {
    # reading a PyTorch checkpoint (.pt) and verifying an export
    "torch": ["torch>=2.6"],
    # writing ONNX and verifying it
    "onnx": ["onnx>=1.17", "onnxruntime>=1.20"],
    # writing corpora as TFDS datasets, here or on a cluster
    "beam": ["apache-beam>=2.60"],
    # ViSQOL in reports: --visqol
    "visqol": ["visqol-python>=3.8.0"],
}
EXTRAS["test"] = [
    *EXTRAS["torch"],
    *EXTRAS["onnx"],
    *EXTRAS["beam"],
    # what a codec's folder must load in
    "transformers>=5.23",
    # in 9.2 tests lose the groups that pytest-xdist 3.8 gives them, and with them what they share
    "pytest>=8,<9.2",
    "pytest-xdist>=3.6",
    # runs the notebooks
    "nbclient>=0.10",
    "ipykernel>=6.29",
    "ruff>=0.12",
    "mypy>=2.0",
]

setup(
    name="codecbwe_jax",
    version="0.1.0",
    description="Train every known way to extend a speech codec's bandwidth, in JAX/Flax",
    long_description=Path(__file__).with_name("README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    python_requires=">=3.11",
    packages=[*find_packages(include=["codecbwe_jax", "codecbwe_jax.*"]), "codecbwe_jax.configs"],
    package_dir={"codecbwe_jax.configs": "configs"},
    package_data={"codecbwe_jax.systems": ["facts.json"]},
    install_requires=REQUIRED,
    extras_require=EXTRAS,
    entry_points={"console_scripts": ["codecbwe = codecbwe_jax.cli:main"]},
)
