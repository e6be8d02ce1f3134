"""What `wxgpt doctor` looks at: a module for each corner, and what a finding is."""
