"""What `wxgpt init` does: write a configuration, units and a web server's site; rotate keys."""
