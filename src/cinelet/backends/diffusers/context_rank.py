"""The process of another rank: has the same networks, and computes its part whenever the first rank calls one.

    python -m cinelet.backends.diffusers.context_rank FILE_DESCRIPTOR

The first rank starts it, sends what it needs over that connection, and ends it there. It knows of no request, no prompt
and no file: a cancel, a deadline or an error of the pipeline is the first rank's, and here is only no next call.
"""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Mapping
from contextlib import ExitStack
from datetime import timedelta
from multiprocessing.connection import Connection
from typing import Any

from cinelet.backends.diffusers.context_parallel import make_config, shared
from cinelet.backends.diffusers.context_wire import FAILED, READY, receive
from cinelet.backends.diffusers.quiet import quiet_libraries

COLLECTIVE_SECONDS = 600.0
"""How long a rank waits for the others at most: they are in the same step."""
LOOK_SECONDS = 1.0


def main() -> None:
    """Serve until the connection ends."""
    with quiet_libraries():
        _serve()


def _serve() -> None:
    import torch

    threading.Thread(target=_end_with, args=(os.getppid(),), daemon=True).start()
    connection = Connection(int(sys.argv[1]))
    try:
        told = receive(connection, device="cpu")
        torch.set_num_threads(told["threads"])
        networks = {name: build(spec, told["device"]) for name, spec in told["networks"].items()}
        # Only now: the others would wait for one whose device is missing or full.
        connection.send_bytes(READY)
        join(told["rank"], told["ranks"], told["device"], told["store"])
        for network in networks.values():
            spread(network)
        config = make_config(told["ranks"], told["rank"], told["device"])
        with ExitStack() as stack, torch.inference_mode():
            for network in networks.values():
                stack.enter_context(shared(network, config))
            while True:
                name, arguments, options = receive(connection, device=told["device"])
                networks[name](*arguments, **options)
    except (EOFError, ConnectionError):
        os._exit(0)  # what the libraries do at the interpreter's own end takes a second
    except Exception as error:  # noqa: BLE001  (the door of this process: whatever it is, the first rank is told)
        line = (str(error).splitlines() or [""])[0]
        connection.send_bytes(FAILED + f"{type(error).__name__}: {line:.200}".encode())
        # At once: the others wait for this one, and hear by its end that they need not.
        os._exit(1)


def join(rank: int, ranks: int, device: str, store: str) -> None:
    """Become one of so many processes. store: a file that all of them can write to. Blocks until all are there."""
    import torch
    import torch.distributed

    for variable in ("GLOO_SOCKET_IFNAME", "NCCL_SOCKET_IFNAME"):
        # All are on this machine, and nobody else is to reach them.
        os.environ.setdefault(variable, "lo")  # noqa: TID251  (other libraries', and set rather than read)
    on_gpu = device.startswith("cuda")
    if on_gpu:
        torch.cuda.set_device(device)
    torch.distributed.init_process_group(
        "nccl" if on_gpu else "gloo",
        store=torch.distributed.FileStore(store, ranks),
        rank=rank,
        world_size=ranks,
        timeout=timedelta(seconds=COLLECTIVE_SECONDS),
    )


def spec_of(network: Any) -> dict[str, Any]:
    """Return what a network is built from elsewhere, without its weights."""
    tensors = [*network.named_parameters(), *network.named_buffers()]
    return {
        "class": type(network).__name__,
        "config": {name: value for name, value in network.config.items() if not name.startswith("_")},
        "dtypes": {name: tensor.dtype for name, tensor in tensors},
    }


def build(spec: Mapping[str, Any], device: str) -> Any:
    """Return the network on a device, with whatever lies in the memory there."""
    import diffusers
    import torch

    with torch.device("meta"):
        network = getattr(diffusers, spec["class"]).from_config(spec["config"])
    for name, tensor in [*network.named_parameters(), *network.named_buffers()]:
        tensor.data = tensor.data.to(spec["dtypes"][name])
    return network.to_empty(device=device).eval()


def spread(network: Any) -> None:
    """Give the first rank's weights to all."""
    import torch

    with torch.no_grad():
        for tensor in (*network.parameters(), *network.buffers()):
            torch.distributed.broadcast(tensor.data, src=0)


def _end_with(parent: int) -> None:
    """End this process with the one that started it, which may have been killed while this one waits for it."""
    never = threading.Event()
    while os.getppid() == parent:
        never.wait(LOOK_SECONDS)
    os._exit(1)


if __name__ == "__main__":
    main()
