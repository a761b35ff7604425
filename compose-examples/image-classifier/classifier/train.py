"""Trains the digit classifier and writes it as an ONNX model, with a few images to try it on.

Usage: train.py DIRECTORY. Ends with an error when the model is not good enough, so that the image's build fails.
"""

import sys
from pathlib import Path

import numpy as np
from PIL import Image
from skl2onnx import to_onnx
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from sklearn.neural_network import MLPClassifier

from preprocess import SIDE

SEED = 42
MIN_ACCURACY = 0.95
SAMPLE_SIDE = 128


def main() -> None:
    out = Path(sys.argv[1])
    samples = out / "samples"
    samples.mkdir(parents=True, exist_ok=True)

    digits = load_digits()
    # 0 (empty) to 16 (ink) becomes 0 to 1
    pixels = (digits.data / 16).astype(np.float32)
    images, test_images, labels, test_labels = train_test_split(
        pixels, digits.target, test_size=0.25, stratify=digits.target, random_state=SEED
    )
    model = MLPClassifier(hidden_layer_sizes=(64,), alpha=0.1, max_iter=400, random_state=SEED)
    model.fit(images, labels)
    accuracy = model.score(test_images, test_labels)
    print(f"train: {len(images)} images, {accuracy:.1%} of {len(test_images)} unseen ones right")
    if accuracy < MIN_ACCURACY:
        raise SystemExit(f"train: that is less than {MIN_ACCURACY:.0%}")

    # probabilities as one array of ten instead of a list of maps
    onnx = to_onnx(model, images[:1], options={"zipmap": False})
    (out / "digits.onnx").write_bytes(onnx.SerializeToString())
    for digit in range(10):
        unseen = test_images[test_labels == digit][0].reshape(SIDE, SIDE)
        image = Image.fromarray((unseen * 255).round().astype(np.uint8))
        image.resize((SAMPLE_SIDE, SAMPLE_SIDE), Image.Resampling.NEAREST).save(samples / f"{digit}.png")


if __name__ == "__main__":
    main()
