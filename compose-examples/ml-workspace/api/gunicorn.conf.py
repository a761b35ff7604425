"""Settings of the API's web server; the number of workers comes from WEB_CONCURRENCY."""

bind = "0.0.0.0:8000"
threads = 4
# the model is loaded once, and the workers share its memory
preload_app = True
# workers tell that they are alive through a file, which must not wait for a disk
worker_tmp_dir = "/dev/shm"
timeout = 30
graceful_timeout = 10
accesslog = "-"
access_log_format = '%(h)s "%(r)s" %(s)s %(b)s %(M)sms'
