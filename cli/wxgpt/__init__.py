"""wxgpt: the operator's command line for wxgptd."""
