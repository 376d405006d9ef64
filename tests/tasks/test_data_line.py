"""The line about the data: what moves a metric is in it."""

from transfer.tasks.classification import Classification
from transfer.tasks.segmentation import Segmentation

MAPS = {
    "task": "segmentation", "dataset": "voc2012", "train_split": "train_aug", "split": "val", "image_size": 512,
    "protocol": "whole", "output_stride": 8,
}  # fmt: skip


def test_label_maps_name_splits_protocol_and_stride() -> None:
    line = "voc2012, trained on train_aug in crops of 512 px, tested on val, {}, output stride 8"
    assert Segmentation.data_line(MAPS) == line.format("whole images")
    assert Segmentation.data_line(MAPS | {"protocol": "center"}) == line.format("centre crops of 512 px")


def test_labels_name_splits_and_size() -> None:
    m = {"task": "classification", "dataset": "tiny-imagenet", "train_split": "train", "split": "val", "image_size": 64}
    assert Classification.data_line(m) == "tiny-imagenet, trained on train, tested on val, 64 px"
