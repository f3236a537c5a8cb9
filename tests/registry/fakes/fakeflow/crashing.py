raise RuntimeError("no GPU\nfound")
