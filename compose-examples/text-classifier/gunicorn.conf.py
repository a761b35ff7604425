"""Settings of the web server, read from the working directory; the number of workers comes from WEB_CONCURRENCY."""

bind = "0.0.0.0:8000"
worker_class = "uvicorn_worker.UvicornWorker"
# the model is loaded once, and the workers share its memory
preload_app = True
# workers tell that they are alive through a file, which must not wait for a disk
worker_tmp_dir = "/dev/shm"
# nobody talks to it but by signals
control_socket_disable = True
timeout = 30
graceful_timeout = 10
accesslog = "-"
