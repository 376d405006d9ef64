"""Segmentation offline: prune a pretrained backbone, train it as DeepLabV3+, compare mIoU, look at the predictions.

The embedded ResNet-20, trained on Fashion-MNIST, learns to find and name handwritten digits on photographs (a small
data set in the layout of Pascal VOC, made on first use): dense, and with half of the weights of encoder, decoder and
head removed by the recommended method, by Path eXclusion, and by magnitude. Offline, about three minutes on two cores.
Ends with a table and a picture: image, truth, and the prediction of each model.

    python -m recipes.voc_quickstart
    python -m recipes.voc_quickstart --sparsities 0.8 0.95 --methods snip px
    python -m recipes.voc_quickstart --backbone imagenet-lite0 --output-stride 16
"""

from transfer.data.augment import MaskAugment
from transfer.recipe import Data, Prune, Recipe, Train
from transfer.recipe_cli import Comparing, run_comparison
from transfer.recommended import RECOMMENDED

RECIPE = Recipe(
    name="voc-quickstart",
    backbone="embedded",
    output_stride=4,
    data=Data(name="voc-sample", size=64, mask_augment=MaskAugment(scale=(1.0, 1.0), flip=False), workers=0),
    prune=Prune(sparsity=0.5, rounds=20, images=24, batch=12),
    train=Train(epochs=10, batch=4, optimizer="adamw", lr=3e-3, schedule="cosine", warmup=1),
)

if __name__ == "__main__":
    run_comparison(Comparing(RECIPE, methods=(RECOMMENDED, "px", "magnitude"), sparsities=(0.5,)))
