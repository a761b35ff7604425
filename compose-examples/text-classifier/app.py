"""The text classifier over HTTP."""

import os
from typing import Annotated

import joblib
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict, Field, StringConstraints

MAX_TEXTS = 256
MAX_LENGTH = 10_000
MAX_BODY = 4 << 20

trained = joblib.load(os.environ["MODEL_FILE"])
labels = [str(label) for label in trained["model"].classes_]

app = FastAPI(title="Text classifier", version="1.0", max_body_size=MAX_BODY)

Text = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=MAX_LENGTH)]


class Texts(BaseModel):
    # a misspelt key is an error, and 5 is not the text "5"
    model_config = ConfigDict(extra="forbid", strict=True)

    texts: list[Text] = Field(min_length=1, max_length=MAX_TEXTS, examples=[["Where is my parcel?"]])


class Prediction(BaseModel):
    label: str
    probability: float
    probabilities: dict[str, float]


class Predictions(BaseModel):
    predictions: list[Prediction]


@app.exception_handler(RequestValidationError)
async def unusable(request: Request, error: RequestValidationError):
    """Says what is wrong and where, without the input: that can be large, and not every JSON text can be sent back."""
    if not request.headers.get("content-type", "").startswith("application/json"):
        return JSONResponse({"detail": "send JSON, with the header Content-Type: application/json"}, status_code=415)
    detail = [{"loc": fault["loc"], "msg": fault["msg"]} for fault in error.errors()]
    return JSONResponse({"detail": detail}, status_code=422)


@app.get("/")
def index():
    return {
        "endpoints": {
            "POST /predict": 'JSON {"texts": ["…"]}: label and probabilities of each text',
            "GET /healthz": "200 when the model is there, with its labels and accuracy",
            "GET /docs": "this API as a page to try it on",
        }
    }


@app.get("/healthz")
def healthz():
    return {
        "status": "ok",
        "labels": labels,
        "accuracy": trained["accuracy"],
        "messages": trained["messages"],
        "sklearn_version": trained["sklearn_version"],
    }


# not `async`: FastAPI runs it in a thread, so that the worker goes on answering meanwhile
@app.post("/predict")
def predict(body: Texts) -> Predictions:
    rows = trained["model"].predict_proba(body.texts)
    return Predictions(
        predictions=[
            Prediction(
                label=labels[int(row.argmax())],
                probability=round(float(row.max()), 4),
                probabilities={label: round(float(share), 4) for label, share in zip(labels, row)},
            )
            for row in rows
        ]
    )
