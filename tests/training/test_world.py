"""The world of the embedded model: its clips show what its captions say."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from training import oracle, text, world

SIDE = 64


@pytest.mark.parametrize("motion", world.MOTIONS)
def test_the_oracle_reads_a_true_render_of_each_motion_without_a_mistake(motion):
    rng = np.random.default_rng(1)
    for shape in world.SHAPES:
        scene = world.scene_of(rng, ("green", shape, motion, "black"), 17)
        reading = oracle.read(world.render(scene, 17, 192))
        assert (reading.color, reading.shape, reading.motion, reading.background) == (*scene.combination[:3], "black")


def test_the_oracle_does_not_call_noise_or_an_empty_picture_a_shape():
    noise = np.random.default_rng(0).integers(0, 255, (17, SIDE, SIDE, 3), dtype=np.uint8)
    empty = np.full((17, SIDE, SIDE, 3), 122, np.uint8)
    assert oracle.read(empty).color is None
    assert oracle.read(noise).clean < 0.5


def test_a_held_out_combination_is_never_drawn_for_training():
    rng = np.random.default_rng(0)
    drawn = {world.sample(rng, 17).combination for _ in range(3000)}
    held_out = {combination for combination in world.combinations() if world.held_out(combination)}
    assert len(held_out) >= 40
    assert not drawn & held_out
    assert len(drawn) > 350


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), frames=st.sampled_from([9, 17, 49]))
def test_a_moving_object_stays_inside_the_picture_for_the_whole_clip(seed, frames):
    rng = np.random.default_rng(seed)
    clip = world.render(world.sample(rng, frames), frames, SIDE).astype(int)
    border = np.concatenate([clip[:, 0], clip[:, -1], clip[:, :, 0], clip[:, :, -1]], 1)
    touched = np.abs(border - border[0, 0]).max(-1) > 16
    # The tip of a triangle may lie on the first row, between two pixels; nothing else comes so far.
    assert touched.sum(1).max() <= 2


def test_a_scene_seen_later_is_the_same_scene_further_on():
    scene = world.scene_of(np.random.default_rng(4), ("red", "circle", "right", "black"), 25)
    whole = world.render(scene, 25, SIDE)
    later = world.render(replace(scene, start=1.0), 17, SIDE)
    assert np.array_equal(whole[world.FPS :], later)


@given(seed=st.integers(0, 2**32 - 1))
def test_every_word_of_a_caption_is_in_the_vocabulary_that_users_are_shown(seed):
    rng = np.random.default_rng(seed)
    caption = world.caption(rng, world.sample(rng, 17))
    known = {word for words in world.vocabulary().values() for word in words} | set(world.FILLER_WORDS)
    assert {word.strip(".,:").lower() for word in caption.split()} <= known


def test_the_tokenizer_gives_each_known_word_one_token_and_spells_the_others():
    tokenizer, _ = text.build()
    for words in world.vocabulary().values():
        for word in words:
            assert tokenizer.tokenize(word) == [f"▁{word}"]
    assert len(tokenizer.tokenize("hippo")) > 3
    assert tokenizer.unk_token not in tokenizer.tokenize("A hippo, 3 times!")
