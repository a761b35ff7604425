# Reports on the predictions that the classifier writes: as JSON, as a picture, and as a page of both.

path <- Sys.getenv("PREDICTIONS")
digits <- 0:9

# One row a prediction: time, digit, confidence. No file yet is no prediction yet.
read_predictions <- function() {
  none <- data.frame(time = character(), digit = integer(), confidence = numeric())
  if (!file.exists(path) || file.size(path) == 0) {
    return(none)
  }
  text <- readChar(path, file.size(path), useBytes = TRUE)
  # the line that is being written right now has no end yet
  lines <- strsplit(sub("[^\n]*$", "", text), "\n", fixed = TRUE)[[1]]
  if (length(lines) == 0) {
    return(none)
  }
  jsonlite::fromJSON(paste0("[", paste(lines, collapse = ","), "]"))
}

summarise <- function(predictions) {
  by_digit <- factor(predictions$digit, levels = digits)
  means <- tapply(predictions$confidence, by_digit, mean)
  data.frame(
    digit = digits,
    count = as.integer(table(by_digit)),
    mean_confidence = round(as.numeric(means), 4)
  )
}

# NA becomes null: there is no mean of nothing
to_mean <- function(values) if (length(values) == 0) NA else round(mean(values), 4)

#* @get /healthz
#* @serializer unboxedJSON
function() {
  list(status = "ok", r_version = as.character(getRversion()))
}

#* Counts and mean confidence, in all and by digit
#* @get /report
#* @serializer unboxedJSON list(na = "null")
function() {
  predictions <- read_predictions()
  list(
    predictions = nrow(predictions),
    mean_confidence = to_mean(predictions$confidence),
    digits = summarise(predictions)
  )
}

#* Counts by digit, darker where the model is surer
#* @get /report.svg
#* @serializer svg list(width = 7, height = 4)
function() {
  report <- summarise(read_predictions())
  shares <- ifelse(is.na(report$mean_confidence), 0, report$mean_confidence)
  colours <- rgb(colorRamp(c("#dbe7f6", "#1f4e9c"))(shares), maxColorValue = 255)
  most <- max(report$count, 1)
  par(mar = c(4, 4, 1, 1))
  barplot(
    report$count,
    names.arg = report$digit, col = colours, border = NA,
    ylim = c(0, most), yaxt = "n", xlab = "digit", ylab = "predictions"
  )
  # there are no halves of a prediction
  axis(2, at = unique(floor(pretty(c(0, most)))), las = 1)
}

#* @get /
#* @serializer html
function() {
  predictions <- read_predictions()
  report <- summarise(predictions)
  confidence <- ifelse(is.na(report$mean_confidence), "-", sprintf("%.1f %%", 100 * report$mean_confidence))
  rows <- sprintf("<tr><td>%d</td><td>%d</td><td>%s</td></tr>", report$digit, report$count, confidence)
  paste0(
    '<!doctype html><html lang="en"><head><meta charset="utf-8"><title>Predictions</title>',
    "<style>body { font: 1rem/1.5 system-ui, sans-serif; max-width: 45rem; margin: 2rem auto; padding: 0 1rem }",
    " td, th { padding: 0 1rem; text-align: right }</style></head><body><h1>Predictions</h1>",
    "<p>", nrow(predictions), " so far.</p>",
    '<img src="/report.svg" alt="predictions by digit">',
    "<table><tr><th>digit</th><th>predictions</th><th>mean confidence</th></tr>",
    paste(rows, collapse = ""), "</table></body></html>"
  )
}
