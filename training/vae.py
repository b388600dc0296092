"""The video autoencoder: 32x smaller in space, 4x in time, 32 channels.

Gradient descent from noise does not reach usable colours in the time that two CPU cores have. So the encoder is
written down in closed form, a hierarchy of principal components put into the causal convolutions of
`AutoencoderKLLTXVideo`, and stays frozen: the transformer can begin at once, and its latents stay valid while the
decoder, which starts as the encoder's pseudo-inverse, is trained beside it (`python -m training.decoder`).

Two observations make this work. A large constant in a channel of its own makes the RMS norms of the blocks nearly
constant and keeps SiLU in its nearly linear part. And an autoencoder for 4x4-pixel patches at 96 px becomes one for
8x8 patches at 192 px by repeating `conv_in` (divided by 4) and `conv_out` over the sub-pixels: the latents of a 192
px clip are those of its 2x2 average, so clips are rendered and encoded at 96 px, four times as fast.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from diffusers import AutoencoderKLLTXVideo

from training import world

LATENT_CHANNELS = 32
WIDTH = 48
KEPT = WIDTH - 1
"""Components kept between the levels; the last channel holds the constant."""
SIDE = 192
HALF_SIDE = 96
GRID = 6
SPATIAL_RATIO = SIDE // GRID
TEMPORAL_RATIO = 4
ENCODER_CONSTANT = 104.0
DECODER_CONSTANT = 100.0
POSTERIOR_LOG_VARIANCE = -9.0

CONFIG: dict[str, Any] = {
    "in_channels": 3,
    "out_channels": 3,
    "latent_channels": LATENT_CHANNELS,
    "block_out_channels": (WIDTH, WIDTH),
    "down_block_types": ("LTXVideoDownBlock3D",) * 2,
    "decoder_block_out_channels": (WIDTH, WIDTH),
    "layers_per_block": (0, 1, 1),
    "decoder_layers_per_block": (1, 1, 1),
    "spatio_temporal_scaling": (True, True),
    "decoder_spatio_temporal_scaling": (True, True),
    "decoder_inject_noise": (False,) * 3,
    "downsample_type": ("conv",) * 2,
    "upsample_residual": (False,) * 2,
    "upsample_factor": (1, 1),
    "timestep_conditioning": False,
    "patch_size": 8,
    "patch_size_t": 1,
    "scaling_factor": 1.0,
    "encoder_causal": True,
    "decoder_causal": False,
}


def new(patch_size: int = 8) -> AutoencoderKLLTXVideo:
    """Return an autoencoder with random weights for patches of 4 (96 px) or 8 (192 px) pixels."""
    return AutoencoderKLLTXVideo(**{**CONFIG, "patch_size": patch_size})


def to_tensor(clips: np.ndarray) -> torch.Tensor:
    """Turn uint8 [batch, frames, height, width, 3] into float [batch, 3, frames, height, width] in -1..1."""
    return torch.from_numpy(clips).permute(0, 4, 1, 2, 3).float() / 127.5 - 1


def _components(samples: torch.Tensor, count: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the mean [d] and the `count` principal directions [count, d], largest variance first."""
    mean = samples.mean(0)
    centred = samples - mean
    _, directions = torch.linalg.eigh(centred.T @ centred / len(samples))
    return mean, directions[:, -count:].T.flip(0).contiguous()


def _blocks(values: torch.Tensor) -> torch.Tensor:
    """Cut [batch, channels, frames, height, width] as the causal downsampler sees it into [blocks, channels * 8]."""
    causal = torch.cat([values[:, :, :1], values], 2)
    batch, channels, frames, height, width = causal.shape
    cut = causal.reshape(batch, channels, frames // 2, 2, height // 2, 2, width // 2, 2)
    return cut.permute(0, 2, 4, 6, 1, 3, 5, 7).reshape(-1, channels * 8)


@torch.no_grad()
def closed_form(clips: np.ndarray, *, seed: int = 0) -> AutoencoderKLLTXVideo:
    """Build the autoencoder of 96 px clips (uint8 [n, frames, 96, 96, 3]) from their principal components."""
    torch.manual_seed(seed)
    vae = new(patch_size=4)
    encoder, decoder = vae.encoder, vae.decoder
    for module in vae.modules():
        if isinstance(module, torch.nn.Conv3d):
            torch.nn.init.normal_(module.weight, 0, module.weight[0].numel() ** -0.5)
            module.bias.zero_()

    pixels = to_tensor(clips)
    patched = _patch(pixels, 4)
    mean_0, basis_0 = _components(patched.movedim(1, -1).reshape(-1, patched.shape[1])[::3], KEPT)
    _write(encoder.conv_in.conv, basis_0, now=2)
    encoder.conv_in.conv.bias[:KEPT] = -basis_0 @ mean_0
    hidden = encoder.conv_in(patched)

    mean_1, basis_1, hidden = _fit_downsampler(encoder.down_blocks[0].downsamplers[0], hidden, constant=0.0)
    _silence(encoder.down_blocks[1].resnets)
    mean_2, basis_2, hidden = _fit_downsampler(
        encoder.down_blocks[1].downsamplers[0], hidden, constant=ENCODER_CONSTANT
    )
    _silence(encoder.mid_block.resnets)
    # rms ~ constant / sqrt(WIDTH), and SiLU halves small values
    linear = 2 / math.sqrt(WIDTH)
    _write(encoder.conv_out.conv, torch.eye(LATENT_CHANNELS) * linear * ENCODER_CONSTANT, now=2)
    encoder.conv_out.conv.bias[LATENT_CHANNELS] = POSTERIOR_LOG_VARIANCE

    decoder.conv_in.conv.weight.mul_(0.02)
    for channel in range(LATENT_CHANNELS):
        decoder.conv_in.conv.weight[channel, channel, 1, 1, 1] += 1.0
    _near_identity(decoder.mid_block.resnets)
    _invert(decoder.up_blocks[0].upsamplers[0], basis_2, mean_2)
    _near_identity(decoder.up_blocks[0].resnets)
    _invert(decoder.up_blocks[1].upsamplers[0], basis_1, mean_1)
    _near_identity(decoder.up_blocks[1].resnets)
    decoder.up_blocks[1].resnets[-1].conv2.conv.bias[KEPT] = DECODER_CONSTANT
    _write(decoder.conv_out.conv, basis_0.T * linear * DECODER_CONSTANT, now=1)
    decoder.conv_out.conv.bias[:] = mean_0
    return vae.eval()


def _patch(pixels: torch.Tensor, size: int) -> torch.Tensor:
    """Move patches of `size` pixels into the channels, in the order of the LTX encoder."""
    batch, channels, frames, height, width = pixels.shape
    cut = pixels.reshape(batch, channels, frames, 1, height // size, size, width // size, size)
    return cut.permute(0, 1, 3, 7, 5, 2, 4, 6).flatten(1, 4)


def _write(conv: torch.nn.Conv3d, matrix: torch.Tensor, *, now: int) -> None:
    """Make a convolution apply `matrix` at each point. `now`: the present frame in the kernel, 2 if causal, else 1."""
    conv.weight.zero_()
    conv.bias.zero_()
    conv.weight[: matrix.shape[0], : matrix.shape[1], now, 1, 1] = matrix


def _fit_downsampler(
    downsampler: torch.nn.Module, hidden: torch.Tensor, *, constant: float
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Write the components of 2x2x2 blocks into a strided causal convolution; return mean, basis and its output."""
    mean, basis = _components(_blocks(hidden[:, :KEPT]), KEPT)
    basis = basis * 8**-0.5  # keep the scale of the values
    conv = downsampler.conv
    conv.weight.zero_()
    conv.bias.zero_()
    conv.weight[:KEPT, :KEPT, 1:3, 1:3, 1:3] = basis.view(KEPT, KEPT, 2, 2, 2)
    conv.bias[:KEPT] = -basis @ mean
    conv.bias[KEPT] = constant
    return mean, basis, downsampler(hidden)


def _silence(resnets: torch.nn.ModuleList) -> None:
    """Make residual blocks pass their input unchanged, for good: the encoder is frozen."""
    for resnet in resnets:
        resnet.conv2.conv.weight.zero_()


def _near_identity(resnets: torch.nn.ModuleList) -> None:
    """Make residual blocks begin close to the identity, with enough signal to learn from."""
    for resnet in resnets:
        resnet.conv2.conv.weight.mul_(0.02)


def _invert(upsampler: torch.nn.Module, basis: torch.Tensor, mean: torch.Tensor) -> None:
    """Write the pseudo-inverse of a downsampler's components into an upsampler."""
    conv = upsampler.conv.conv
    conv.weight.mul_(0.02)
    inverse = torch.linalg.pinv(basis)  # [KEPT * 8, KEPT]
    conv.weight.view(WIDTH, 8, WIDTH, 3, 3, 3)[:KEPT, :, :KEPT, 1, 1, 1] += inverse.view(KEPT, 8, KEPT)
    conv.bias.view(WIDTH, 8)[:KEPT] = mean.view(KEPT, 8)


def double(vae: AutoencoderKLLTXVideo) -> AutoencoderKLLTXVideo:
    """Turn the autoencoder of 96 px clips into that of 192 px clips with the same latents."""
    old, new_size = vae.config.patch_size, 2 * vae.config.patch_size
    doubled = new(patch_size=new_size)
    state = vae.state_dict()
    weight = state["encoder.conv_in.conv.weight"]
    spread = weight.view(WIDTH, 3, old, old, *weight.shape[2:]).repeat_interleave(2, 2).repeat_interleave(2, 3) / 4
    state["encoder.conv_in.conv.weight"] = spread.reshape(WIDTH, 3 * new_size**2, *weight.shape[2:])
    for name in ("decoder.conv_out.conv.weight", "decoder.conv_out.conv.bias"):
        value = state[name]
        spread = value.view(3, old, old, *value.shape[1:]).repeat_interleave(2, 1).repeat_interleave(2, 2)
        state[name] = spread.reshape(3 * new_size**2, *value.shape[1:])
    doubled.load_state_dict(state)
    return doubled.eval()


def halve(vae: AutoencoderKLLTXVideo) -> AutoencoderKLLTXVideo:
    """Undo `double`; the decoder, if it was trained since, is only similar."""
    size = vae.config.patch_size // 2
    halved = new(patch_size=size)
    state = vae.state_dict()
    weight = state["encoder.conv_in.conv.weight"]
    blocks = weight.view(WIDTH, 3, size, 2, size, 2, *weight.shape[2:]).sum((3, 5))
    state["encoder.conv_in.conv.weight"] = blocks.reshape(WIDTH, 3 * size**2, *weight.shape[2:])
    for name in ("decoder.conv_out.conv.weight", "decoder.conv_out.conv.bias"):
        value = state[name]
        state[name] = value.view(3, size, 2, size, 2, *value.shape[1:]).mean((2, 4)).reshape(-1, *value.shape[1:])
    halved.load_state_dict(state)
    return halved.eval()


def sample_clips(count: int, frames: int, *, side: int = HALF_SIDE, seed: int = 11) -> np.ndarray:
    """Render random clips, half of them from any moment of their scene; uint8 [count, frames, side, side, 3]."""
    rng = np.random.default_rng(seed)
    scenes = (world.sample(rng, frames, anywhere=bool(i % 2)) for i in range(count))
    return np.stack([world.render(scene, frames, side) for scene in scenes])
