raise OSError("libmissing.so: cannot open shared object file")
