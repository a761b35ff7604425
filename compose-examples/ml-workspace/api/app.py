"""The digit classifier over HTTP. Every prediction becomes a row in the database."""

import os
from pathlib import Path

import joblib
import psycopg
from flask import Flask, Response, jsonify, request
from psycopg.rows import dict_row
from werkzeug.exceptions import HTTPException

import pixels as px

app = Flask(__name__)
app.config["MAX_CONTENT_LENGTH"] = 1 << 20
app.json.sort_keys = False

trained = joblib.load(os.environ["MODEL_FILE"])


def connect() -> psycopg.Connection:
    return psycopg.connect(
        host=os.environ["DB_HOST"],
        dbname=os.environ["DB_NAME"],
        user=os.environ["DB_USER"],
        password=Path(os.environ["DB_PASSWORD_FILE"]).read_text().strip(),
        connect_timeout=2,
        row_factory=dict_row,
    )


@app.get("/")
def index():
    return jsonify(
        endpoints={
            "POST /predict": "an image (PNG, JPEG, BMP), or JSON {\"pixels\": [64 numbers from 0 to 16]}",
            "GET /predictions?limit=20": "the newest predictions",
            "GET /sample/3.png?number=0&side=64": "an image of the digit 3 that the model has never seen",
            "GET /healthz": "200 when model and database are there",
        }
    )


@app.get("/healthz")
def healthz():
    with connect() as connection:
        connection.execute("SELECT 1")
    return jsonify(status="ok", run_id=trained["run_id"], accuracy=trained["accuracy"])


@app.get("/sample/<int:digit>.png")
def sample(digit: int):
    number = request.args.get("number", default=0, type=int)
    side = request.args.get("side", default=64, type=int)
    images = trained["samples"].get(digit, [])
    if not 0 <= number < len(images):
        return jsonify(error=f"there is no sample {number} of the digit {digit}"), 404
    if side % px.SIDE or not px.SIDE <= side <= px.MAX_SIDE:
        return jsonify(error=f"'side' must be a multiple of {px.SIDE} up to {px.MAX_SIDE}"), 400
    return Response(px.to_png(images[number].tolist(), side), mimetype="image/png")


def pixels_of_request() -> list[int]:
    """Takes the image from a form field `image`, from JSON, or from the body as it is."""
    if request.mimetype == "multipart/form-data":
        if "image" not in request.files:
            raise px.BadImage("the form has no file in a field named 'image'")
        return px.from_image(request.files["image"].read())
    if request.is_json:
        body = request.get_json(silent=True)
        return px.from_numbers(body.get("pixels") if isinstance(body, dict) else body)
    # whatever its content type: plain `curl --data-binary` calls it a form
    return px.from_image(request.get_data())


@app.post("/predict")
def predict():
    pixels = pixels_of_request()
    shares = trained["model"].predict_proba([pixels])[0]
    digit = int(shares.argmax())
    confidence = float(shares[digit])
    with connect() as connection:
        row = connection.execute(
            "INSERT INTO predictions (run_id, digit, confidence, pixels)"
            " VALUES (%s, %s, %s, %s) RETURNING id",
            (trained["run_id"], digit, confidence, pixels),
        ).fetchone()
    return jsonify(
        id=row["id"],
        digit=digit,
        confidence=round(confidence, 4),
        probabilities=[round(float(share), 4) for share in shares],
    )


@app.get("/predictions")
def predictions():
    limit = min(max(request.args.get("limit", default=20, type=int), 1), 1000)
    with connect() as connection:
        rows = connection.execute(
            "SELECT id, predicted_at, run_id, digit, confidence FROM predictions"
            " ORDER BY id DESC LIMIT %s",
            (limit,),
        ).fetchall()
    return jsonify([{**row, "predicted_at": row["predicted_at"].isoformat()} for row in rows])


@app.errorhandler(px.BadImage)
def bad_image(error):
    return jsonify(error=str(error)), 400


@app.errorhandler(psycopg.OperationalError)
def database_away(error):
    app.logger.error("database: %s", error)
    return jsonify(error="the database does not answer"), 503


@app.errorhandler(HTTPException)
def http_error(error):
    return jsonify(error=error.description), error.code
