CREATE TABLE training_runs (
    id              bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    trained_at      timestamptz NOT NULL DEFAULT now(),
    model           text NOT NULL,
    sklearn_version text NOT NULL,
    train_images    integer NOT NULL,
    test_images     integer NOT NULL,
    accuracy        double precision NOT NULL CHECK (accuracy BETWEEN 0 AND 1),
    seconds         double precision NOT NULL
);

CREATE TABLE digit_metrics (
    run_id      bigint NOT NULL REFERENCES training_runs ON DELETE CASCADE,
    digit       smallint NOT NULL CHECK (digit BETWEEN 0 AND 9),
    "precision" double precision NOT NULL,
    recall      double precision NOT NULL,
    images      integer NOT NULL,
    PRIMARY KEY (run_id, digit)
);

CREATE TABLE predictions (
    id           bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    predicted_at timestamptz NOT NULL DEFAULT now(),
    run_id       bigint NOT NULL REFERENCES training_runs,
    digit        smallint NOT NULL CHECK (digit BETWEEN 0 AND 9),
    confidence   double precision NOT NULL CHECK (confidence BETWEEN 0 AND 1),
    pixels       smallint[] NOT NULL CHECK (cardinality(pixels) = 64)
);

CREATE INDEX predictions_predicted_at ON predictions (predicted_at DESC);
