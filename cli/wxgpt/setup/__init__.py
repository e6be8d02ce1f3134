"""What `wxgpt init` writes: a configuration, units, a site for the web server; and changed keys."""
