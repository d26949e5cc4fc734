"""The base of all rooms: parameters, threads, files, random states, checks of arguments."""
