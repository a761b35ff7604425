# Serves plumber.R to the outside.
library(plumber)

pr_run(pr("plumber.R"), host = "0.0.0.0", port = 8000, docs = FALSE, quiet = TRUE)
