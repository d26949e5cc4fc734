import os

# Read when the OpenMP runtime is loaded: threads that wait do not spin, so that the suite's time
# does not depend on what else the machine does.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")
