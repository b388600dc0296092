"""The stages of the training, run small: each goes on from its checkpoint, and what comes out loads anywhere."""

import json

import numpy as np
import pytest
import torch
from diffusers import DiffusionPipeline, LTXImageToVideoPipeline

from cinelet.backends import embedded
from training import checkpoint, decoder, export, restart, text, transformer, vae, world

RECIPE = transformer.Recipe({1: 0.4, 17: 0.6}, 0.3, 0.3)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run of a few seconds: encoder in closed form, a little of everything else."""
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("run")
    small = vae.closed_form(vae.sample_clips(24, 9))
    state = vae.double(small).state_dict()
    checkpoint.save({"vae": small.state_dict()}, folder / "encoder.pt")
    checkpoint.save({"vae": state, "average": state, "step": 0}, folder / "vae.pt")
    text.train(folder, steps=3, batch=4)
    return folder


@pytest.fixture
def short_batches(monkeypatch):
    monkeypatch.setattr(transformer, "BATCH_SIZES", {1: 4, 17: 3})
    monkeypatch.setattr(transformer.Trainer, "_measure_latents", lambda *_: (torch.zeros(32), torch.ones(32)))


def test_the_latents_of_a_clip_are_those_of_its_half_size_average(run):
    small = vae.new(4)
    small.load_state_dict(checkpoint.load(run / "encoder.pt")["vae"])
    clip = vae.to_tensor(vae.sample_clips(2, 5, side=192))
    half = torch.nn.functional.avg_pool3d(clip, (1, 2, 2))
    with torch.no_grad():
        latents = vae.double(small).encode(clip).latent_dist.mean
        assert torch.allclose(latents, small.encode(half).latent_dist.mean, atol=1e-4)
    assert latents.shape == (2, vae.LATENT_CHANNELS, 2, vae.GRID, vae.GRID)


def test_the_closed_form_keeps_what_a_clip_shows_before_any_training(run):
    small = vae.new(4)
    small.load_state_dict(checkpoint.load(run / "encoder.pt")["vae"])
    clips = vae.to_tensor(vae.sample_clips(6, 9, seed=99))
    with torch.no_grad():
        output = small.decode(small.encode(clips).latent_dist.mean).sample
    flat, rebuilt = clips.flatten(1), output.flatten(1)
    for one, other in zip(flat, rebuilt, strict=True):
        assert torch.corrcoef(torch.stack([one, other]))[0, 1] > 0.8


def test_the_decoder_goes_on_from_its_last_checkpoint(run, monkeypatch):
    monkeypatch.setattr(decoder, "BATCH", 1)
    before = checkpoint.load(run / "vae.pt")
    decoder.train(run, seconds=0.1, seed=0)
    after = checkpoint.load(run / "vae.pt")
    assert after["step"] > before["step"]
    for name, value in before["vae"].items():
        if name.startswith("encoder."):
            assert torch.equal(value, after["vae"][name]), "the encoder must stay as the transformer knows it"


@pytest.mark.usefixtures("short_batches")
def test_the_transformer_goes_on_from_its_last_checkpoint_and_the_result_is_a_pipeline(run, tmp_path):
    def trainer():
        return transformer.Trainer(run, rank=0, processes=1, recipe=RECIPE, learning_rate=1e-3)

    trainer().run(seconds=0.5, decay_from=0.5, report=str)
    first = checkpoint.load(run / "transformer.pt")
    again = trainer()
    assert again.step == first["step"] > 0
    assert torch.equal(again.optimizer.velocities[0], first["optimizer"]["velocities"][0])
    again.run(seconds=0.3, decay_from=1.0, report=str)
    assert checkpoint.load(run / "transformer.pt")["samples"] > first["samples"]

    size = export.export(run, tmp_path / "weights")
    assert size < 15_000_000
    card = json.loads((tmp_path / "weights" / "cinelet.json").read_text())
    assert card["vocabulary"]["color"] == list(world.COLORS)
    shipped = json.loads((embedded.directory() / "cinelet.json").read_text())
    assert card["examples"] == shipped["examples"]
    assert card["signature"] == shipped["signature"]
    pipeline = DiffusionPipeline.from_pretrained(tmp_path / "weights", dtype=torch.float32, use_safetensors=True)
    pipeline.set_progress_bar_config(disable=True)
    image_pipeline = LTXImageToVideoPipeline.from_pipe(pipeline)
    frames = pipeline("a red circle", num_frames=9, height=192, width=192, num_inference_steps=1, frame_rate=8,
                      output_type="np").frames  # fmt: skip
    assert frames.shape == (1, 9, 192, 192, 3)
    assert image_pipeline.transformer is pipeline.transformer


def test_a_run_begins_again_from_exported_weights(tmp_path):
    weights = embedded.directory()
    restart.restart(weights, tmp_path / "again", samples=5)
    state = checkpoint.load(tmp_path / "again" / "transformer.pt")
    shipped = DiffusionPipeline.from_pretrained(weights, dtype=torch.float32, use_safetensors=True)
    assert state["samples"] == 5
    for name, value in shipped.transformer.state_dict().items():
        assert torch.equal(state["average"][name], value)
    small = vae.new(4)
    small.load_state_dict(checkpoint.load(tmp_path / "again" / "encoder.pt")["vae"])
    clip = vae.sample_clips(1, 9, side=96)
    doubled = clip.repeat(2, axis=2).repeat(2, axis=3)
    with torch.no_grad():
        seen_small, seen_large = (
            autoencoder.encode(vae.to_tensor(pixels)).latent_dist.mean
            for autoencoder, pixels in ((small, clip), (shipped.vae, doubled))
        )
    assert torch.allclose(seen_small, seen_large, atol=1e-3)


def test_the_loss_of_a_clean_first_frame_ignores_its_tokens(run):
    trainer = transformer.Trainer(run, rank=0, processes=1, recipe=RECIPE, learning_rate=1e-3)
    samples = trainer.pools[17, False].batch(3)
    torch.manual_seed(0)
    loss = trainer.loss(samples, clean=5, condition_positions=False)
    assert torch.isnan(loss), "with every frame given nothing is left to learn"
    torch.manual_seed(0)
    assert torch.isfinite(trainer.loss(samples, clean=1, condition_positions=False))


def test_the_positions_of_a_continuation_are_those_of_the_condition_pipeline():
    from diffusers import LTXConditionPipeline

    ids = LTXConditionPipeline._prepare_video_ids(1, 5, vae.GRID, vae.GRID)
    scaled = LTXConditionPipeline._scale_video_ids(
        ids, scale_factor=vae.SPATIAL_RATIO, scale_factor_t=vae.TEMPORAL_RATIO
    )
    expected = scaled.float()
    expected[:, 0] /= world.FPS
    assert torch.equal(transformer.coordinates(5), expected)


def test_half_of_the_noise_levels_lie_where_shape_is_decided():
    torch.manual_seed(0)
    sigmas = transformer.draw_sigmas(20_000)
    assert sigmas.min() > 0
    assert sigmas.max() <= 1
    assert np.isclose((sigmas > 0.8).float().mean(), 0.36, atol=0.06)
