"""Settings of the web server, read from the working directory; the number of workers comes from WEB_CONCURRENCY."""

bind = "0.0.0.0:5000"
threads = 4
# workers tell that they are alive through a file, which must not wait for a disk
worker_tmp_dir = "/dev/shm"
# nobody talks to it but by signals
control_socket_disable = True
timeout = 30
graceful_timeout = 10
accesslog = "-"
access_log_format = '%(h)s "%(r)s" %(s)s %(b)s %(M)sms'
