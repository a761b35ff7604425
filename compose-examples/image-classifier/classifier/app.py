"""The digit classifier as a page with an upload form, and as an API. Every prediction is a line in PREDICTIONS."""

import base64
import json
import os
from datetime import datetime, timezone
from pathlib import Path

import onnxruntime
from flask import Flask, jsonify, render_template, request, send_from_directory
from werkzeug.exceptions import HTTPException

import preprocess

MODEL_DIR = Path(os.environ["MODEL_DIR"])
PREDICTIONS = Path(os.environ["PREDICTIONS"])

app = Flask(__name__)
app.config["MAX_CONTENT_LENGTH"] = 8 << 20
app.json.sort_keys = False

options = onnxruntime.SessionOptions()
# a small model: more threads would only wait for each other
options.intra_op_num_threads = 1
model = onnxruntime.InferenceSession(str(MODEL_DIR / "digits.onnx"), options, providers=["CPUExecutionProvider"])


def classify(content: bytes) -> tuple[dict, bytes]:
    """Gives the prediction, and as PNG what the model has seen. The prediction is stored before anybody gets it."""
    levels = preprocess.from_file(content)
    (shares,) = model.run(["probabilities"], {"X": levels.reshape(1, -1)})
    digit = int(shares[0].argmax())
    prediction = {
        "time": datetime.now(timezone.utc).isoformat(timespec="milliseconds"),
        "digit": digit,
        "confidence": round(float(shares[0][digit]), 4),
    }
    store(prediction)
    prediction["probabilities"] = [round(float(share), 4) for share in shares[0]]
    return prediction, preprocess.to_png(levels, 160)


def store(prediction: dict) -> None:
    """Appends one line; a single write, so that lines of several workers do not mix."""
    file = os.open(PREDICTIONS, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    try:
        os.write(file, (json.dumps(prediction) + "\n").encode())
    finally:
        os.close(file)


def page(status: int = 200, **values):
    return render_template("index.html", formats=preprocess.FORMATS, **values), status


@app.get("/")
def index():
    return page()


@app.post("/")
def upload():
    file = request.files.get("image")
    try:
        prediction, seen = classify(file.read() if file else b"")
    except preprocess.BadImage as error:
        return page(400, error=str(error))
    return page(prediction=prediction, seen=base64.b64encode(seen).decode())


@app.post("/api/predict")
def predict():
    """Takes the image from the form field `image`, or the body as it is."""
    if request.mimetype == "multipart/form-data":
        if "image" not in request.files:
            return jsonify(error="the form has no file in a field named 'image'"), 400
        content = request.files["image"].read()
    else:
        # whatever its content type: plain `curl --data-binary` calls it a form
        content = request.get_data()
    return jsonify(classify(content)[0])


@app.get("/samples/<name>")
def sample(name: str):
    return send_from_directory(MODEL_DIR / "samples", name)


@app.get("/healthz")
def healthz():
    return jsonify(status="ok", runtime=f"onnxruntime {onnxruntime.__version__}")


@app.errorhandler(preprocess.BadImage)
def bad_image(error):
    return jsonify(error=str(error)), 400


@app.errorhandler(OSError)
def not_stored(error):
    app.logger.error("prediction not stored: %s", error)
    return failure("the prediction cannot be stored", 503)


@app.errorhandler(HTTPException)
def http_error(error):
    return failure(error.description, error.code)


def failure(text: str, status: int):
    """For a program as JSON, for a person as the page."""
    if request.path == "/":
        return page(status, error=text)
    return jsonify(error=text), status
