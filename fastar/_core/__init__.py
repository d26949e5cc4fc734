"""What all rooms stand on: parameters, threads, files, random states, checks of arguments."""
