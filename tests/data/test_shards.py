import uuid
from pathlib import Path

import numpy as np
import pytest
import tensorflow_datasets as tfds

from codecbwe_jax import atomic
from codecbwe_jax.data import shards
from codecbwe_jax.errors import UserError


@pytest.fixture
def features() -> tfds.features.FeaturesDict:
    return tfds.features.FeaturesDict({"number": tfds.features.Scalar(dtype=np.int64)})


def test_a_full_disk_is_one_line(
    tmp_path: Path, features: tfds.features.FeaturesDict, monkeypatch: pytest.MonkeyPatch
) -> None:
    """/dev/full takes no byte: what is written to it fails as on a full disk."""
    monkeypatch.setattr(uuid, "uuid4", lambda: uuid.UUID(int=0))
    atomic.temporary(tmp_path / "shard", unique=True).symlink_to("/dev/full")
    shard = shards.NewShard(tmp_path / "shard", features)
    shard.write({"number": 1})
    with pytest.raises(UserError, match="shard: cannot be written") as told:
        shard.close()
    assert "No space left on device" in str(told.value)
    assert list(tmp_path.iterdir()) == []


def test_two_writers_of_one_shard_leave_one(
    tmp_path: Path, features: tfds.features.FeaturesDict
) -> None:
    """As when a cluster gives the work of a slow machine to another one too."""
    name = shards.shard_name("numbers", "train", 0, 1)
    first, second = (shards.NewShard(tmp_path / name, features) for _ in range(2))
    for number in range(3):
        first.write({"number": number})
        second.write({"number": number})
    second.close()
    first.close()
    assert [path.name for path in tmp_path.iterdir()] == [name]
    split = shards.split_info(str(tmp_path), "numbers", "train", [3], 1)
    tfds.folder_dataset.write_metadata(
        data_dir=str(tmp_path), features=features, split_infos=[split], check_data=False
    )
    assert [row["number"] for row in shards.open_split(tmp_path, "train")] == [0, 1, 2]


def test_what_is_no_dataset_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="not a complete dataset"):
        shards.open_split(tmp_path, "train")
