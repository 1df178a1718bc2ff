"""The sensor for where the kernel says no: a C library in the function's own processes."""
