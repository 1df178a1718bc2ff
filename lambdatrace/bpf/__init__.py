"""The probe: compiled once by bcc at build time, loaded anywhere at run time."""
