"""How a remote host is asked: what may be sent twice, how long to wait, which addresses are safe, how a file arrives.

```
client       one HTTP client for many hosts
replies      what a reply says: its JSON, when to come back, which of our errors a refusal is
submission   a POST that makes a host work: sent once, and never again unless it surely did not arrive
polling      asking about a job until it is done, whatever a single poll says
addresses    which addresses may be connected to
pinning      a request that goes to the address that was checked
download     a file from an address that nobody vouches for
part_file    the file while it grows
stopping     a cancel and a deadline end any wait, and the job at the host
```

Its modules load the HTTP library, so what imports them is itself imported late.
"""
