from __future__ import annotations

import pickle
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from restorekit.errors import UsageError
from restorekit.inference import Pipeline, Restorer
from restorekit.io import ImageData
from tests.unit.inference.fakes import ANY_SIZE, RULE, Identity, Invert


def restorer(model: torch.nn.Module | None = None) -> Restorer:
    return Restorer(model or Invert(), size=ANY_SIZE, rule=RULE, device="cpu")


def darken(image: Tensor) -> Tensor:
    return image / 2


def picture(seed: int, *size: int) -> Tensor:
    return torch.rand(3, *(size or (20, 30)), generator=torch.Generator().manual_seed(seed))


def test_steps_follow_each_other() -> None:
    image = picture(0)
    assert torch.allclose(Pipeline([darken, restorer()])(image), 1 - image / 2)
    assert torch.allclose(Pipeline([restorer(), darken])(image), (1 - image) / 2)
    nested = Pipeline([Pipeline([restorer(), restorer()]), darken])
    assert torch.allclose(nested(image), image / 2, atol=1e-6)


def test_one_picture_of_any_kind_comes_back_as_it_came(tmp_path: Path) -> None:
    array = np.full((4, 5, 3), 55, np.uint8)
    path = tmp_path / "a.png"
    Image.fromarray(array).save(path)
    pipeline = Pipeline([restorer()])
    assert (pipeline(array) == 200).all()
    assert pipeline(Image.fromarray(array)).getpixel((0, 0)) == (200, 200, 200)
    for source in (path, str(path)):
        data = pipeline(source)
        assert isinstance(data, ImageData)
        assert (data.pixels == 200).all()
    assert (pipeline(data).pixels == 55).all()
    assert pipeline(torch.zeros(2, 3, 4, 5)).eq(1).all()


def test_a_list_keeps_order_kinds_and_sizes() -> None:
    given = [picture(0), picture(1, 300, 400), np.zeros((1, 1), np.uint8), picture(2, 16, 256), picture(3)]
    results = Pipeline([restorer()], batch_size=3)(given)
    assert isinstance(results, list)
    for result, image in zip(results, given, strict=True):
        assert type(result) is type(image)
        assert result.shape == image.shape
    assert torch.allclose(results[1], 1 - given[1])
    assert results[2].tolist() == [[255]]
    assert Pipeline([restorer()])(()) == []


def test_pictures_of_equal_size_share_a_pass() -> None:
    model = Identity()
    Pipeline([restorer(model)], batch_size=4)([picture(seed) for seed in range(6)])
    assert [shape[0] for shape in model.sizes] == [4, 2]


def test_a_stream_is_taken_as_it_is_asked_for() -> None:
    taken = 0

    def endless() -> Iterator[Tensor]:
        nonlocal taken
        while True:
            taken += 1
            yield picture(taken)

    stream = Pipeline([restorer()], batch_size=2)(endless())
    assert taken == 0
    assert torch.allclose(next(stream), 1 - picture(1))
    assert taken == 2
    assert torch.allclose(next(stream), 1 - picture(2))
    assert torch.allclose(next(stream), 1 - picture(3))
    assert taken == 4


class Pictures(Dataset[Tensor]):
    """Six pictures, restored by a transform if there is one."""

    def __init__(self, transform: Pipeline | None = None, *, labels: bool = False) -> None:
        self.transform = transform
        self.labels = labels

    def __len__(self) -> int:
        return 6

    def __getitem__(self, index: int) -> Tensor:
        image = picture(index) if self.transform is None else self.transform(picture(index))
        return (image, index) if self.labels else image  # type: ignore[return-value]  # only some tests ask for labels


EXPECTED = torch.stack([1 - picture(index) for index in range(6)])


@pytest.mark.parametrize("workers", [0, 2])
def test_as_a_transform_in_a_data_loader(workers: int) -> None:
    loader = DataLoader(Pictures(Pipeline([restorer()])), batch_size=4, num_workers=workers)
    batches = list(loader)
    assert [len(batch) for batch in batches] == [4, 2]
    assert torch.allclose(torch.cat(batches), EXPECTED)


@pytest.mark.parametrize("workers", [0, 2])
def test_as_the_collate_function_of_a_data_loader(workers: int) -> None:
    collate = Pipeline([restorer()]).collate
    plain = list(DataLoader(Pictures(), batch_size=4, num_workers=workers, collate_fn=collate))
    assert torch.allclose(torch.cat(plain), EXPECTED)
    labelled = list(DataLoader(Pictures(labels=True), batch_size=4, num_workers=workers, collate_fn=collate))
    assert torch.allclose(torch.cat([images for images, _ in labelled]), EXPECTED)
    assert torch.cat([labels for _, labels in labelled]).tolist() == list(range(6))


def test_over_a_data_loader() -> None:
    batches = Pipeline([restorer()], batch_size=1)(DataLoader(Pictures(), batch_size=4))
    assert torch.allclose(next(batches), EXPECTED[:4])
    assert torch.allclose(next(batches), EXPECTED[4:])


def test_collate_leaves_pictures_that_cannot_be_stacked_in_a_list() -> None:
    pipeline = Pipeline([restorer()])
    assert [tuple(one.shape) for one in pipeline.collate([picture(0), picture(1, 5, 5)])] == [(3, 20, 30), (3, 5, 5)]
    images, labels = pipeline.collate([(picture(0), 7), (picture(1, 5, 5), 8)])
    assert isinstance(images, list)
    assert labels.tolist() == [7, 8]
    assert isinstance(pipeline.collate([Image.new("RGB", (4, 4))])[0], Image.Image)
    assert pipeline.collate([np.zeros((4, 5, 3), np.uint16)] * 2).shape == (2, 4, 5, 3)


def test_a_pipeline_survives_pickling() -> None:
    pipeline = pickle.loads(pickle.dumps(Pipeline([darken, restorer()], batch_size=3)))  # noqa: S301 (our own bytes)
    assert torch.allclose(pipeline(picture(0)), 1 - picture(0) / 2)
    assert pipeline.batch_size == 3


def test_what_is_no_pipeline_is_refused() -> None:
    with pytest.raises(UsageError, match="needs at least one step"):
        Pipeline([])
    with pytest.raises(UsageError, match="step 1 of the pipeline, a str, cannot be called"):
        Pipeline([darken, "resunet"])  # type: ignore[list-item]
    with pytest.raises(UsageError, match="batch_size is at least 1, got 0"):
        Pipeline([darken], batch_size=0)
    with pytest.raises(UsageError, match="takes a picture, a list or an iterator of pictures, not a int"):
        Pipeline([darken])(3)
