"""The checks of `wxgpt doctor`, one module for each area, and the findings they return."""
