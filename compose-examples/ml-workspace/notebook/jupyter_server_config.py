"""Settings of the notebook server; the token comes from JUPYTER_TOKEN."""

c = get_config()  # noqa: F821  (given by jupyter)

c.ServerApp.ip = "0.0.0.0"
c.ServerApp.port = 8888
c.ServerApp.port_retries = 0
c.ServerApp.root_dir = "/notebooks"
c.ServerApp.open_browser = False
# root in the container, unless compose.yaml is told another user
c.ServerApp.allow_root = True
# nothing to report to, and no network to look for updates in
c.LabApp.check_for_updates_class = "jupyterlab.NeverCheckForUpdate"
c.LabApp.news_url = None
# extensions come with the image
c.LabApp.extension_manager = "readonly"
