"""Every video pipeline of the installed diffusers: what it can do here, or why it cannot."""

from __future__ import annotations

import inspect
import re

import diffusers
import pytest

from cinelet.backends.diffusers import arguments
from cinelet.backends.diffusers.families import FAMILIES, family_of, makes_videos
from cinelet.domain.errors import ModelUnsupportedError
from cinelet.domain.request import Task
from tests.backends.diffusers.stand_ins import stand_ins
from tests.backends.diffusers.video_pipelines import refused_pipelines, tasks_of, video_pipelines

_DRAWS = re.compile(r"torch\.rand\w*\((?:[^()]|\([^()]*\))*device=device(?:[^()]|\([^()]*\))*\)")
"""A call that draws random numbers where the run computes."""
TEXT, IMAGE = {Task.TEXT_TO_VIDEO}, {Task.IMAGE_TO_VIDEO}
BOTH = TEXT | IMAGE

ABLE: dict[str, set[Task]] = {
    "AllegroPipeline": TEXT,
    "AnimateDiffPAGPipeline": TEXT,
    "AnimateDiffPipeline": TEXT,
    "AnimateDiffSDXLPipeline": TEXT,
    "AnyFlowFARPipeline": TEXT,
    "AnyFlowPipeline": TEXT,
    "ChronoEditPipeline": IMAGE,
    "CogVideoXImageToVideoPipeline": IMAGE,
    "CogVideoXPipeline": TEXT,
    "Cosmos2VideoToWorldPipeline": IMAGE,
    "Cosmos2_5_PredictBasePipeline": BOTH,
    "Cosmos3OmniPipeline": BOTH,
    "CosmosTextToWorldPipeline": TEXT,
    "CosmosVideoToWorldPipeline": IMAGE,
    "EasyAnimatePipeline": TEXT,
    "HeliosPipeline": BOTH,
    "HeliosPyramidPipeline": BOTH,
    "HunyuanSkyreelsImageToVideoPipeline": IMAGE,
    "HunyuanVideo15ImageToVideoPipeline": IMAGE,
    "HunyuanVideo15Pipeline": TEXT,
    "HunyuanVideoFramepackPipeline": IMAGE,
    "HunyuanVideoImageToVideoPipeline": IMAGE,
    "HunyuanVideoPipeline": TEXT,
    "I2VGenXLPipeline": IMAGE,
    "Kandinsky5I2VPipeline": IMAGE,
    "Kandinsky5T2VPipeline": TEXT,
    "Kandinsky6TI2VAPipeline": BOTH,
    "LTX2ConditionPipeline": BOTH,
    "LTX2ImageToVideoPipeline": BOTH,
    "LTX2Pipeline": BOTH,
    "LTXConditionPipeline": BOTH,
    "LTXI2VLongMultiPromptPipeline": BOTH,
    "LTXImageToVideoPipeline": BOTH,
    "LTXPipeline": BOTH,
    "LattePipeline": TEXT,
    "MochiPipeline": TEXT,
    "MotifVideoImage2VideoPipeline": BOTH,
    "MotifVideoPipeline": BOTH,
    "PIAPipeline": IMAGE,
    "SanaImageToVideoPipeline": BOTH,
    "SanaVideoPipeline": BOTH,
    "SkyReelsV2DiffusionForcingImageToVideoPipeline": IMAGE,
    "SkyReelsV2DiffusionForcingPipeline": BOTH,
    "SkyReelsV2ImageToVideoPipeline": IMAGE,
    "SkyReelsV2Pipeline": TEXT,
    "StableVideoDiffusionPipeline": IMAGE,
    "TextToVideoSDPipeline": TEXT,
    "WanImageToVideoPipeline": IMAGE,
    "WanPipeline": TEXT,
    "WanVACEPipeline": TEXT,
}
REFUSED = {
    "AnimateDiffControlNetPipeline": "control frames",
    "AnimateDiffSparseControlNetPipeline": "control frames",
    "ConsisIDPipeline": "a face",
    "Cosmos2_5_TransferPipeline": "controls",
    "EasyAnimateControlPipeline": "a control video",
    "EasyAnimateInpaintPipeline": "a video and a mask",
    "LTX2DFRPipeline": "key frames",
    "LTX2DFRTemporalRefinePipeline": "key frames",
    "LTX2HDRPipeline": "a reference video",
    "LTX2InContextPipeline": "a reference video",
    "LTX2LatentUpsamplePipeline": "a video to enlarge",
    "LucyEditPipeline": "video",
    "SanaWMPipeline": "a camera path",
    "SkyReelsV2DiffusionForcingVideoToVideoPipeline": "video",
    "TextToVideoZeroPipeline": "still images",
    "TextToVideoZeroSDXLPipeline": "still images",
}


def test_every_video_pipeline_of_diffusers_is_known() -> None:
    assert video_pipelines() <= set(ABLE) | set(REFUSED)
    assert set(ABLE) <= video_pipelines()
    assert set(refused_pipelines()) == set(REFUSED)


@pytest.mark.parametrize("class_name", ABLE)
def test_a_pipeline_does_the_tasks_that_its_arguments_allow(class_name: str) -> None:
    with stand_ins():
        assert tasks_of(class_name) == ABLE[class_name]


@pytest.mark.parametrize("class_name", REFUSED)
def test_a_pipeline_that_needs_more_than_a_request_is_refused_with_the_reason(class_name: str) -> None:
    with pytest.raises(ModelUnsupportedError, match=f"{class_name} also needs .*{REFUSED[class_name]}"):
        tasks_of(class_name)


@pytest.mark.parametrize(
    "class_name",
    ["StableDiffusionPipeline", "FluxPipeline", "WanVideoToVideoPipeline", "DDPMPipeline", "DiffusionPipeline"],
)
def test_a_pipeline_of_something_else_is_refused(class_name: str) -> None:
    with pytest.raises(ModelUnsupportedError, match="makes no video from a text or an image"):
        tasks_of(class_name)


@pytest.mark.parametrize("class_name", ["NoSuchPipeline", "AutoencoderKLWan", "pipelines", "utils", "__name__"])
def test_a_name_that_is_no_pipeline_of_diffusers_is_refused(class_name: str) -> None:
    with pytest.raises(ModelUnsupportedError, match=f"{class_name} is no pipeline of diffusers"):
        tasks_of(class_name)


def test_weights_of_wan_make_videos_of_images_only_if_they_say_so() -> None:
    assert tasks_of("WanPipeline", expand_timesteps=True) == BOTH
    assert tasks_of("WanPipeline", expand_timesteps=False) == TEXT


@pytest.mark.parametrize("name", FAMILIES)
def test_a_family_names_classes_that_can_share_its_weights(name: str) -> None:
    family = FAMILIES[name]
    owners = [cls for cls in video_pipelines() if family_of(cls) is family]
    if family.refused:
        return
    classes = (family.image_class, family.text_class, family.condition_class, family.video_class)
    siblings = [sibling for sibling in classes if sibling]
    assert owners, "no pipeline is of this family"
    for owner in owners:
        given = set(inspect.signature(getattr(diffusers, owner)).parameters)
        for sibling in siblings:
            parameters = inspect.signature(getattr(diffusers, sibling)).parameters.values()
            needed = {parameter.name for parameter in parameters if parameter.default is parameter.empty}
            assert needed <= given, f"{owner} has no {needed - given} for {sibling}"


PACKAGED = {
    "CosmosTextToWorldPipeline": r"cosmos_guardrail \(the safety checker .*\) and torchvision \(",
    "CosmosVideoToWorldPipeline": r"cosmos_guardrail \(the safety checker .*\) and torchvision \(",
    "Cosmos2VideoToWorldPipeline": r"cosmos_guardrail \(the safety checker .*\) and torchvision \(",
    "Cosmos2_5_PredictBasePipeline": r"cosmos_guardrail \(the safety checker .*\) and torchvision \(",
    "Cosmos3OmniPipeline": r"cosmos_guardrail \(the safety checker",
}


@pytest.mark.parametrize("class_name", PACKAGED)
def test_a_pipeline_that_needs_a_package_says_which_and_what_for(
    class_name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(arguments, "find_spec", lambda _: None)
    why = f"{class_name} needs packages .* not installed: {PACKAGED[class_name]}"
    with pytest.raises(ModelUnsupportedError, match=why):
        tasks_of(class_name)


def test_a_model_that_does_without_the_guardrail_needs_no_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(arguments, "find_spec", lambda _: None)
    assert tasks_of("Cosmos3OmniPipeline", enable_safety_checker=False) == BOTH


def test_the_most_specific_family_counts() -> None:
    assert family_of("HunyuanVideo15Pipeline") is FAMILIES["HunyuanVideo15"]
    assert family_of("Kandinsky5I2VPipeline") is FAMILIES["Kandinsky5I2V"]
    assert family_of("HunyuanVideoPipeline") is FAMILIES["Hunyuan"]
    assert family_of("CosmosTextToWorldPipeline") is FAMILIES["Cosmos"]
    assert family_of("BrandNewPipeline").native_fps is None


def test_its_name_alone_tells_what_a_pipeline_makes() -> None:
    names = [name for name in dir(diffusers) if name.endswith("Pipeline")]
    assert {name for name in names if makes_videos(name)} == set(ABLE)
    assert not makes_videos("AutoencoderKLWan")
    assert not makes_videos("WanTransformer3DModel")


@pytest.mark.parametrize("name", sorted(ABLE))
def test_a_pipeline_that_draws_on_the_device_gets_its_random_numbers_from_there(name: str) -> None:
    source = inspect.getsource(getattr(diffusers, name))
    draws = any("generator=" in call for call in _DRAWS.findall(source))
    assert draws == family_of(name).draws_on_device
