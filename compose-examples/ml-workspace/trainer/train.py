"""Trains the digit classifier, stores its metrics in the database and the model in MODEL_FILE."""

import os
import time
from pathlib import Path

import joblib
import psycopg
import sklearn
from sklearn.calibration import CalibratedClassifierCV
from sklearn.datasets import load_digits
from sklearn.metrics import accuracy_score, precision_recall_fscore_support
from sklearn.model_selection import train_test_split
from sklearn.svm import SVC

DIGITS = range(10)
SEED = 42


def connect() -> psycopg.Connection:
    return psycopg.connect(
        host=os.environ["DB_HOST"],
        dbname=os.environ["DB_NAME"],
        user=os.environ["DB_USER"],
        password=Path(os.environ["DB_PASSWORD_FILE"]).read_text().strip(),
        connect_timeout=10,
    )


def store_metrics(connection, name, train_size, truth, predicted, seconds) -> int:
    """Stores one training run with its metrics for each digit; gives the run's id."""
    precision, recall, _, images = precision_recall_fscore_support(
        truth, predicted, labels=list(DIGITS), zero_division=0
    )
    (run_id,) = connection.execute(
        "INSERT INTO training_runs"
        " (model, sklearn_version, train_images, test_images, accuracy, seconds)"
        " VALUES (%s, %s, %s, %s, %s, %s) RETURNING id",
        (
            name,
            sklearn.__version__,
            train_size,
            len(truth),
            float(accuracy_score(truth, predicted)),
            seconds,
        ),
    ).fetchone()
    with connection.cursor() as cursor:
        cursor.executemany(
            'INSERT INTO digit_metrics (run_id, digit, "precision", recall, images)'
            " VALUES (%s, %s, %s, %s, %s)",
            [(run_id, d, float(precision[d]), float(recall[d]), int(images[d])) for d in DIGITS],
        )
    return run_id


def store_model(path: Path, content: dict) -> None:
    """Replaces the model file in one step, so that no reader meets half of it."""
    new = path.with_suffix(".new")
    joblib.dump(content, new, compress=3)
    new.replace(path)


def main() -> None:
    digits = load_digits()
    images, test_images, labels, test_labels = train_test_split(
        digits.data, digits.target, test_size=0.25, stratify=digits.target, random_state=SEED
    )
    # a support vector machine tells distances; calibration turns them into probabilities
    classifier = SVC(gamma=0.001, C=float(os.environ.get("SVM_C", "10")))
    model = CalibratedClassifierCV(classifier, ensemble=False)
    started = time.perf_counter()
    model.fit(images, labels)
    seconds = time.perf_counter() - started
    predicted = model.predict(test_images)

    # one transaction around both: a run is in the database only if its model is on disk
    with connect() as connection:
        run_id = store_metrics(
            connection, str(classifier), len(images), test_labels, predicted, seconds
        )
        store_model(
            Path(os.environ["MODEL_FILE"]),
            {
                "run_id": run_id,
                "model": model,
                "accuracy": float(accuracy_score(test_labels, predicted)),
                # images that the model has never seen, for the API to hand out as samples
                "samples": {d: test_images[test_labels == d].astype("uint8") for d in DIGITS},
            },
        )
    print(
        f"run {run_id}: {len(images)} images in {seconds:.1f} s,"
        f" {(predicted == test_labels).mean():.1%} of {len(test_images)} unseen ones right"
    )


if __name__ == "__main__":
    main()
