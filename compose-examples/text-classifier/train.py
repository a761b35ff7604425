"""Trains the classifier on corpus/<label>.txt (one message a line) and stores it in MODEL_FILE.

Ends with an error when the model is not good enough, so that a bad corpus fails the image's build.
"""

import os
from pathlib import Path

import joblib
import sklearn
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold, cross_val_score
from sklearn.pipeline import make_pipeline

SEED = 42
MIN_ACCURACY = 0.85


def load_corpus(directory: Path) -> tuple[list[str], list[str]]:
    """Gives the messages and the label of each."""
    texts, labels = [], []
    for file in sorted(directory.glob("*.txt")):
        lines = [line.strip() for line in file.read_text(encoding="utf-8").splitlines()]
        lines = [line for line in lines if line]
        texts += lines
        labels += [file.stem] * len(lines)
    if len(set(labels)) < 2:
        raise SystemExit(f"train: {directory} must hold a file of messages for each of two labels or more")
    return texts, labels


def new_model():
    # pieces of words, so that "return", "returns" and "returned" have most of their features in common
    features = TfidfVectorizer(analyzer="char_wb", ngram_range=(2, 5), sublinear_tf=True)
    return make_pipeline(features, LogisticRegression(C=10, max_iter=1000))


def main() -> None:
    texts, labels = load_corpus(Path("corpus"))
    folds = StratifiedKFold(n_splits=5, shuffle=True, random_state=SEED)
    accuracy = float(cross_val_score(new_model(), texts, labels, cv=folds).mean())
    print(f"train: {len(texts)} messages, {accuracy:.1%} of unseen ones right")
    if accuracy < MIN_ACCURACY:
        raise SystemExit(f"train: that is less than {MIN_ACCURACY:.0%}")
    content = {
        "model": new_model().fit(texts, labels),
        "accuracy": round(accuracy, 4),
        "messages": len(texts),
        "sklearn_version": sklearn.__version__,
    }
    path = Path(os.environ["MODEL_FILE"])
    path.parent.mkdir(parents=True, exist_ok=True)
    joblib.dump(content, path, compress=3)


if __name__ == "__main__":
    main()
