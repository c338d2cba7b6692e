"""The command line."""

def main() -> None:
    """Thin for now."""
    import sys, logging, time
    from pathlib import Path
    from muniment.bootstrap import Archive, create_archive, default_home
    from muniment.archive.manifest import Organization
    logging.basicConfig()
    cmd, *args = sys.argv[1:]
    home = default_home()
    if cmd == "init":
        create_archive(home, Organization("bench", "Bench")); return
    a = Archive(home)
    if cmd == "archive":
        import os
        from muniment.adapters.scan import scan
        t=time.time()
        with a.lock():
            batch=[]; n=0
            for f in scan([os.fsencode(p) for p in args], lambda p,m: print(p,m), skip=[os.fsencode(a.home)]):
                batch.append(f)
                if len(batch)==5000: a.catalog.record_scan(batch); batch=[]
            if batch: print(a.catalog.record_scan(batch))
            print("scan", time.time()-t)
            class P:
                def stage(self, c, s, b): print(f"{time.time()-t:.2f} {s} {b}")
                def advance(self, b, f=0): pass
            r=a.pipeline(P()).run()
            print(f"{time.time()-t:.2f} done", r)
    if cmd == "verify":
        from muniment.adapters.verifying import verify_commit
        for c in a.store.ids():
            t=time.time()
            r=verify_commit(a.store.open(c), worker_count=a.worker_count, expected_signer=a.verify_key, keyring=a.open_keyring(c) if args else None)
            print(time.time()-t, r); r.require_whole()
    if cmd == "restore":
        from muniment.adapters.restoring import restore_files
        from muniment.archive.restore import select
        import os
        t=time.time()
        Path(args[0]).mkdir(exist_ok=True)
        r=restore_files(select(a.catalog, [os.fsencode(p) for p in args[1:]]), a.store.commits, Path(args[0]), keyring=a.open_keyring, worker_count=a.worker_count)
        print(time.time()-t, r)
    a.close()
