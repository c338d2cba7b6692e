"""Content addressing: CIDs, DAG-PB and UnixFS, CAR files, and the port of block stores."""
