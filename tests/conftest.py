"""A shell that starts the tests in the background lets Ctrl-C be ignored, in them and in the processes they start."""

import signal

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
