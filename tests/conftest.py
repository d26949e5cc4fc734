import os
import signal

# Read when the OpenMP runtime is loaded: threads that wait do not spin, so that the suite's time
# does not depend on what else the machine does.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")

# A shell starts what runs in the background with this signal ignored.
signal.signal(signal.SIGINT, signal.default_int_handler)
