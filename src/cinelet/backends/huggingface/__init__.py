"""Models that others run: providers through the Hugging Face router or directly, and dedicated endpoints.

```
backend       the Backend: reference -> listing -> plan -> request -> job -> file
mapping       who serves a model, as the Hub says
choice        which of them can be used, and why not the others
access        the credentials, and which hosts see them
families      how each host names a model's parameters; parameters: a request in those names
picture       the image as a host takes it; body: the JSON around it
library       the private part of huggingface_hub: a provider's request is built there
job           sent once, saved, asked about, cancelled, downloaded; handle: what is saved
endpoint      a dedicated endpoint
providers/    what differs between providers, one file each
hf_client     the two calls of the specification
```

It loads the HTTP library and `huggingface_hub`, so it is imported late.
"""

from cinelet.backends.huggingface.backend import HuggingFaceBackend
from cinelet.backends.huggingface.hf_client import HuggingFaceClient

__all__ = ["HuggingFaceBackend", "HuggingFaceClient"]
