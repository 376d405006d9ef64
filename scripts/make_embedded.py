"""Train the backbone that ships with the package: ResNet-20 on Fashion-MNIST.

    python scripts/make_embedded.py            # about 15 minutes on 2 cores; resumes if interrupted

Writes the weights and their card into ``checkpoints/embedded/``.
"""

import argparse
import dataclasses
import platform
from pathlib import Path

import torch

import transfer
from checkpoints import embedded
from recipes.fashion_mnist import RECIPE
from transfer import data as datasets
from transfer.recipe import Prune
from transfer.runs.finished import load_run

EPOCHS = 6
LEAST_ACCURACY = 0.90


def main() -> None:
    """Train, check the accuracy, write weights and card."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("runs"), help="folder that holds the run folder")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--folder", type=Path, default=Path("checkpoints/embedded"), help="folder for weights and card")
    args = parser.parse_args()
    train = dataclasses.replace(RECIPE.train, epochs=EPOCHS)
    recipe = dataclasses.replace(RECIPE, name="embedded", prune=Prune(sparsity=0.0), train=train, seed=args.seed)
    result = transfer.run(recipe, out=args.out, progress=True)
    accuracy = result.metrics["accuracy"]
    if accuracy < LEAST_ACCURACY:
        raise SystemExit(f"accuracy {accuracy:.4f} is below {LEAST_ACCURACY}: not a backbone to ship")
    job, model = load_run(result.folder)
    trunk = {key: value for key, value in model.state_dict().items() if not key.startswith("fc.")}
    classes = datasets.load("fashion-mnist").classes
    card = {
        "arch": "resnet20",
        "data": "Fashion-MNIST (Xiao, Rasul, Vollgraf 2017), 60,000 images of 28 px padded to 32, three equal channels",
        "data_licence": "MIT",
        "licence": "Apache-2.0",
        "paper": "He et al. 2016, arXiv:1512.03385",
        "classes": list(classes),
        "accuracy": round(100 * accuracy, 2),
        "accuracy_of": "percent of the 10,000 test images, last epoch, with the head that is not shipped",
        "epochs": recipe.train.epochs,
        "command": f"python scripts/make_embedded.py --seed {args.seed}",
        "seed": args.seed,
        "made_with": f"torch {torch.__version__}, Python {platform.python_version()}, CPU",
        "mean": list(job.backbone.mean),
        "std": list(job.backbone.std),
        "interpolation": job.backbone.interpolation,
        "input_size": list(job.backbone.input_size),
    }
    print(embedded.write(trunk, card, args.folder))


if __name__ == "__main__":
    main()
