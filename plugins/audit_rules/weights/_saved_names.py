"""Models that transformers saves under other names than they have in memory; written by a survey, not by hand.

See ``tests/backends/hf_trainer/saved_names.py``. 322 model classes; the newest version has 1460 that can be built.
"""

VERSIONS = ("4.57.6", "5.0.0", "5.12.0", "5.24.0")
"""The versions of transformers that were surveyed, the oldest first."""

# fmt: off
NAMES: dict[str, tuple[str, str, tuple[str, ...]]] = {
    "ASTForAudioClassification audio-spectrogram-transformer": ("5.12.0", "5.24.0", (
        "audio_spectrogram_transformer.encoder.layer.#.attention.attention.key.bias",
        "audio_spectrogram_transformer.encoder.layer.#.attention.attention.key.weight",
    )),
    "ASTModel audio-spectrogram-transformer": ("5.12.0", "5.24.0", (
        "encoder.layer.#.attention.attention.key.bias",
        "encoder.layer.#.attention.attention.key.weight",
    )),
    "AXK1ForCausalLM axk1": ("5.24.0", "5.24.0", (
        "model.layers.#.mlp.experts.#.down_proj.weight",
        "model.layers.#.mlp.experts.#.gate_proj.weight",
    )),
    "AXK1ForSequenceClassification axk1": ("5.24.0", "5.24.0", (
        "model.layers.#.mlp.experts.#.down_proj.weight",
        "model.layers.#.mlp.experts.#.gate_proj.weight",
    )),
    "AXK1ForTokenClassification axk1": ("5.24.0", "5.24.0", (
        "model.layers.#.mlp.experts.#.down_proj.weight",
        "model.layers.#.mlp.experts.#.gate_proj.weight",
    )),
    "AXK1Model axk1": ("5.24.0", "5.24.0", (
        "layers.#.mlp.experts.#.down_proj.weight",
        "layers.#.mlp.experts.#.gate_proj.weight",
    )),
    "AXK2ForCausalLM axk2": ("5.24.0", "5.24.0", (
        "model.layers.#.mlp.experts.#.down_proj.weight",
        "model.layers.#.mlp.experts.#.gate_proj.weight",
    )),
    "AXK2ForSequenceClassification axk2": ("5.24.0", "5.24.0", (
        "model.layers.#.mlp.experts.#.down_proj.weight",
        "model.layers.#.mlp.experts.#.gate_proj.weight",
    )),
    "AXK2ForTokenClassification axk2": ("5.24.0", "5.24.0", (
        "model.layers.#.mlp.experts.#.down_proj.weight",
        "model.layers.#.mlp.experts.#.gate_proj.weight",
    )),
    "AXK2Model axk2": ("5.24.0", "5.24.0", (
        "layers.#.mlp.experts.#.down_proj.weight",
        "layers.#.mlp.experts.#.gate_proj.weight",
    )),
    "AfmoeForCausalLM afmoe": ("5.12.0", "5.24.0", (
        "model.layers.#.mlp.experts.#.down_proj.weight",
        "model.layers.#.mlp.experts.#.gate_proj.weight",
    )),
    "AfmoeModel afmoe": ("5.12.0", "5.24.0", (
        "layers.#.mlp.experts.#.down_proj.weight",
        "layers.#.mlp.experts.#.gate_proj.weight",
    )),
    "AltCLIPModel altclip": ("5.12.0", "5.24.0", (
        "text_model.roberta.encoder.layer.#.attention.output.LayerNorm.bias",
        "text_model.roberta.encoder.layer.#.attention.output.LayerNorm.weight",
        "vision_model.vision_model.encoder.layer.#.layer_norm1.bias",
        "vision_model.vision_model.encoder.layer.#.layer_norm1.weight",
    )),
    "Apertus1p5TextForCausalLM apertus1p5_text": ("5.24.0", "5.24.0", (
        "model.language_model.layers.#.attention_layernorm.weight",
        "model.language_model.layers.#.feedforward_layernorm.weight",
    )),
    "AriaTextForCausalLM aria_text": ("5.24.0", "5.24.0", (
        "model.layers.#.mlp.experts.fc1.weight",
        "model.layers.#.mlp.experts.fc2.weight",
    )),
    "AriaTextModel aria_text": ("5.24.0", "5.24.0", (
        "layers.#.mlp.experts.fc1.weight",
        "layers.#.mlp.experts.fc2.weight",
    )),
    "AudioFlamingo3ForConditionalGeneration audioflamingo3": ("5.12.0", "5.24.0", (
        "audio_tower.layers.#.fc1.bias",
        "audio_tower.layers.#.fc1.weight",
    )),
    "BailingHybridForCausalLM bailing_hybrid": ("5.24.0", "5.24.0", (
        "model.layers.#.mlp.experts.#.down_proj.weight",
        "model.layers.#.mlp.experts.#.gate_proj.weight",
    )),
    "BailingHybridModel bailing_hybrid": ("5.24.0", "5.24.0", (
        "layers.#.mlp.experts.#.down_proj.weight",
        "layers.#.mlp.experts.#.gate_proj.weight",
    )),
    "BeamForCausalLM beam": ("5.24.0", "5.24.0", (
        "model.layers.#.mlp.experts.#.down_proj.weight",
        "model.layers.#.mlp.experts.#.gate_proj.weight",
    )),
    "BeamForTokenClassification beam": ("5.24.0", "5.24.0", (
        "model.layers.#.mlp.experts.#.down_proj.weight",
        "model.layers.#.mlp.experts.#.gate_proj.weight",
    )),
    "BeamModel beam": ("5.24.0", "5.24.0", (
        "layers.#.mlp.experts.#.down_proj.weight",
        "layers.#.mlp.experts.#.gate_proj.weight",
    )),
    "BeitBackbone beit": ("5.12.0", "5.24.0", (
        "encoder.layer.#.attention.attention.key.weight",
        "encoder.layer.#.attention.attention.query.bias",
    )),
    "BeitForImageClassification beit": ("5.12.0", "5.24.0", (
        "beit.encoder.layer.#.attention.attention.key.weight",
        "beit.encoder.layer.#.attention.attention.query.bias",
    )),
    "BeitModel beit": ("5.12.0", "5.24.0", (
        "encoder.layer.#.attention.attention.key.weight",
        "encoder.layer.#.attention.attention.query.bias",
    )),
    "CLIPForImageClassification clip": ("5.12.0", "5.24.0", (
        "vision_model.vision_model.encoder.layers.#.layer_norm1.bias",
        "vision_model.vision_model.encoder.layers.#.layer_norm1.weight",
    )),
    "CLIPModel clip": ("5.12.0", "5.24.0", (
        "text_model.text_model.encoder.layers.#.layer_norm1.bias",
        "text_model.text_model.encoder.layers.#.layer_norm1.weight",
    )),
    "CLIPSegModel clipseg": ("5.12.0", "5.24.0", (
        "text_model.text_model.encoder.layers.#.layer_norm1.bias",
        "text_model.text_model.encoder.layers.#.layer_norm1.weight",
    )),
    "CLIPTextModel clip_text_model": ("5.12.0", "5.24.0", (
        "text_model.encoder.layers.#.layer_norm1.bias",
        "text_model.encoder.layers.#.layer_norm1.weight",
    )),
    "CLIPVisionModel clip_vision_model": ("5.12.0", "5.24.0", (
        "vision_model.encoder.layers.#.layer_norm1.bias",
        "vision_model.encoder.layers.#.layer_norm1.weight",
    )),
    "ChineseCLIPModel chinese_clip": ("5.12.0", "5.24.0", (
        "vision_model.vision_model.encoder.layers.#.layer_norm1.bias",
        "vision_model.vision_model.encoder.layers.#.layer_norm1.weight",
    )),
    "ChineseCLIPVisionModel chinese_clip_vision_model": ("5.12.0", "5.24.0", (
        "vision_model.encoder.layers.#.layer_norm1.bias",
        "vision_model.encoder.layers.#.layer_norm1.weight",
    )),
    "Cohere2MoeForCausalLM cohere2_moe": ("5.12.0", "5.24.0", (
        "model.layers.#.mlp.experts.#.down_proj.weight",
        "model.layers.#.mlp.experts.#.gate_proj.weight",
    )),
    "Cohere2MoeModel cohere2_moe": ("5.12.0", "5.24.0", (
        "layers.#.mlp.experts.#.down_proj.weight",
        "layers.#.mlp.experts.#.gate_proj.weight",
    )),
    "CohereAsrForConditionalGeneration cohere_asr": ("5.12.0", "5.24.0", (
        "log_softmax.mlp.layer0.bias",
        "log_softmax.mlp.layer0.weight",
    )),
    "CohereAsrModel cohere_asr": ("5.12.0", "5.24.0", (
        "transf_decoder._decoder.layers.#.first_sub_layer.key_net.bias",
        "transf_decoder._decoder.layers.#.first_sub_layer.key_net.weight",
    )),
    "ColModernVBertForRetrieval colmodernvbert": ("5.12.0", "5.12.0", (
        "vlm.vision_model.vision_model.encoder.layers.#.layer_norm1.bias",
        "vlm.vision_model.vision_model.encoder.layers.#.layer_norm1.weight",
    )),
    "ColQwen2ForRetrieval colqwen2": ("5.12.0", "5.12.0", (
        "vlm.model.language_model.layers.#.input_layernorm.weight",
        "vlm.model.language_model.layers.#.mlp.down_proj.weight",
    )),
    "Cosmos3EdgeForConditionalGeneration cosmos3_edge": ("5.24.0", "5.24.0", (
        "layers.#.input_layernorm.weight",
        "layers.#.mlp.down_proj.weight",
    )),
    "Cosmos3EdgeModel cosmos3_edge": ("5.24.0", "5.24.0", (
        "language_model.layers.#.mlp.down_proj.weight",
        "language_model.layers.#.mlp.up_proj.weight",
    )),
    "Cosmos3OmniForConditionalGeneration cosmos3_omni": ("5.12.0", "5.24.0", (
        "layers.#.input_layernorm.weight",
        "layers.#.mlp.down_proj.weight",
    )),
    "DINOv3ConvNextBackbone dinov3_convnext": ("5.12.0", "5.24.0", (
        "stages.#.layers.#.depthwise_conv.bias",
        "stages.#.layers.#.depthwise_conv.weight",
    )),
    "DINOv3ConvNextModel dinov3_convnext": ("5.12.0", "5.24.0", (
        "stages.#.layers.#.depthwise_conv.bias",
        "stages.#.layers.#.depthwise_conv.weight",
    )),
    "DINOv3ViTBackbone dinov3_vit": ("5.12.0", "5.24.0", (
        "layer.#.attention.k_proj.weight",
        "layer.#.attention.o_proj.bias",
    )),
    "DINOv3ViTModel dinov3_vit": ("5.12.0", "5.24.0", (
        "layer.#.attention.k_proj.weight",
        "layer.#.attention.o_proj.bias",
    )),
    "DeepseekV2ForCausalLM deepseek_v2": ("5.0.0", "5.24.0", (
        "model.layers.#.mlp.experts.#.down_proj.weight",
        "model.layers.#.mlp.experts.#.gate_proj.weight",
    )),
    "DeepseekV2ForSequenceClassification deepseek_v2": ("5.0.0", "5.24.0", (
        "model.layers.#.mlp.experts.#.down_proj.weight",
        "model.layers.#.mlp.experts.#.gate_proj.weight",
    )),
    "DeepseekV2Model deepseek_v2": ("5.0.0", "5.24.0", (
        "layers.#.mlp.experts.#.down_proj.weight",
        "layers.#.mlp.experts.#.gate_proj.weight",
    )),
    "DeepseekV32ForCausalLM deepseek_v32": ("5.12.0", "5.24.0", (
        "model.layers.#.mlp.experts.#.down_proj.weight",
        "model.layers.#.mlp.experts.#.gate_proj.weight",
    )),
    "DeepseekV32Model deepseek_v32": ("5.12.0", "5.24.0", (
        "layers.#.mlp.experts.#.down_proj.weight",
        "layers.#.mlp.experts.#.gate_proj.weight",
    )),
    "DeepseekV3ForCausalLM deepseek_v3": ("5.0.0", "5.24.0", (
        "model.layers.#.mlp.experts.#.down_proj.weight",
        "model.layers.#.mlp.experts.#.gate_proj.weight",
    )),
    "DeepseekV3ForCausalLM sarvam_mla": ("5.24.0", "5.24.0", (
        "model.layers.#.mlp.experts.#.down_proj.weight",
        "model.layers.#.mlp.experts.#.gate_proj.weight",
    )),
    "DeepseekV3ForSequenceClassification deepseek_v3": ("5.0.0", "5.24.0", (
        "model.layers.#.mlp.experts.#.down_proj.weight",
        "model.layers.#.mlp.experts.#.gate_proj.weight",
    )),
    "DeepseekV3ForTokenClassification deepseek_v3": ("5.0.0", "5.24.0", (
        "model.layers.#.mlp.experts.#.down_proj.weight",
        "model.layers.#.mlp.experts.#.gate_proj.weight",
    )),
    "DeepseekV3Model deepseek_v3": ("5.0.0", "5.24.0", (
        "layers.#.mlp.experts.#.down_proj.weight",
        "layers.#.mlp.experts.#.gate_proj.weight",
    )),
    "DeepseekV3Model sarvam_mla": ("5.24.0", "5.24.0", (
        "layers.#.mlp.experts.#.down_proj.weight",
        "layers.#.mlp.experts.#.gate_proj.weight",
    )),
    "DeepseekV4ForCausalLM deepseek_v4": ("5.12.0", "5.24.0", (
        "head.weight",
    )),
    "DeepseekV4Model deepseek_v4": ("5.12.0", "5.24.0", (
        "layers.#.ffn.experts.#.w1.weight",
        "layers.#.ffn.experts.#.w2.weight",
    )),
    "DeiTForImageClassification deit": ("5.12.0", "5.24.0", (
        "deit.encoder.layer.#.attention.attention.key.bias",
        "deit.encoder.layer.#.attention.attention.key.weight",
    )),
    "DeiTForImageClassificationWithTeacher deit": ("5.12.0", "5.24.0", (
        "deit.encoder.layer.#.attention.attention.key.bias",
        "deit.encoder.layer.#.attention.attention.key.weight",
    )),
    "DeiTForMaskedImageModeling deit": ("5.12.0", "5.24.0", (
        "deit.encoder.layer.#.attention.attention.key.bias",
        "deit.encoder.layer.#.attention.attention.key.weight",
    )),
    "DeiTModel deit": ("5.12.0", "5.24.0", (
        "encoder.layer.#.attention.attention.key.bias",
        "encoder.layer.#.attention.attention.key.weight",
    )),
    "Dinov2Backbone dinov2": ("5.24.0", "5.24.0", (
        "encoder.layer.#.attention.attention.key.bias",
        "encoder.layer.#.attention.attention.key.weight",
    )),
    "Dinov2ForImageClassification dinov2": ("5.24.0", "5.24.0", (
        "dinov2.encoder.layer.#.attention.attention.key.bias",
        "dinov2.encoder.layer.#.attention.attention.key.weight",
    )),
    "Dinov2Model dinov2": ("5.24.0", "5.24.0", (
        "encoder.layer.#.attention.attention.key.bias",
        "encoder.layer.#.attention.attention.key.weight",
    )),
    "Dinov2WithRegistersBackbone dinov2_with_registers": ("5.24.0", "5.24.0", (
        "encoder.layer.#.attention.attention.key.bias",
        "encoder.layer.#.attention.attention.key.weight",
    )),
    "Dinov2WithRegistersForImageClassification dinov2_with_registers": ("5.24.0", "5.24.0", (
        "dinov2_with_registers.encoder.layer.#.attention.attention.key.bias",
        "dinov2_with_registers.encoder.layer.#.attention.attention.key.weight",
    )),
    "Dinov2WithRegistersModel dinov2_with_registers": ("5.24.0", "5.24.0", (
        "encoder.layer.#.attention.attention.key.bias",
        "encoder.layer.#.attention.attention.key.weight",
    )),
    "DoryForCausalLM dory": ("5.24.0", "5.24.0", (
        "backbone.layers.#.lambda_1",
        "backbone.layers.#.lambda_2",
    )),
    "DoryModel dory": ("5.24.0", "5.24.0", (
        "layers.#.self_attn.g_proj.weight",
    )),
    "Dots3NoteForCausalLM dots3_note_text": ("5.24.0", "5.24.0", (
        "model.layers.#.mlp.experts.#.down_proj.weight",
        "model.layers.#.mlp.experts.#.gate_proj.weight",
    )),
    "Dots3NoteForConditionalGeneration dots3_note": ("5.24.0", "5.24.0", (
        "model.layers.#.mlp.experts.#.down_proj.weight",
        "model.layers.#.mlp.experts.#.gate_proj.weight",
        "model.model.layers.#.mlp.experts.#.down_proj.weight",
        "model.model.layers.#.mlp.experts.#.gate_proj.weight",
    )),
    "Dots3NoteModel dots3_note": ("5.24.0", "5.24.0", (
        "layers.#.mlp.experts.#.down_proj.weight",
        "layers.#.mlp.experts.#.gate_proj.weight",
        "model.layers.#.mlp.experts.#.down_proj.weight",
        "model.layers.#.mlp.experts.#.gate_proj.weight",
    )),
    "Dots3NoteTextModel dots3_note_text": ("5.24.0", "5.24.0", (
        "layers.#.mlp.experts.#.down_proj.weight",
        "layers.#.mlp.experts.#.gate_proj.weight",
    )),
    "Ernie4_5_MoeForCausalLM ernie4_5_moe": ("5.0.0", "5.24.0", (
        "model.layers.#.mlp.experts.#.down_proj.weight",
        "model.layers.#.mlp.experts.#.gate_proj.weight",
    )),
    "Ernie4_5_MoeModel ernie4_5_moe": ("5.0.0", "5.24.0", (
        "layers.#.mlp.experts.#.down_proj.weight",
        "layers.#.mlp.experts.#.gate_proj.weight",
    )),
    "Ernie4_5_VLMoeForConditionalGeneration ernie4_5_vl_moe": ("5.12.0", "5.24.0", (
        "model.layers.#.mlp.experts.#.down_proj.weight",
        "model.layers.#.mlp.experts.#.gate_proj.weight",
    )),
    "Ernie4_5_VLMoeModel ernie4_5_vl_moe": ("5.12.0", "5.24.0", (
        "layers.#.mlp.experts.#.down_proj.weight",
        "layers.#.mlp.experts.#.gate_proj.weight",
    )),
    "Ernie4_5_VL_MoeForConditionalGeneration ernie4_5_vl_moe": ("5.0.0", "5.0.0", (
        "model.layers.#.mlp.experts.#.down_proj.weight",
        "model.layers.#.mlp.experts.#.gate_proj.weight",
    )),
    "Ernie4_5_VL_MoeModel ernie4_5_vl_moe": ("5.0.0", "5.0.0", (
        "layers.#.mlp.experts.#.down_proj.weight",
        "layers.#.mlp.experts.#.gate_proj.weight",
    )),
    "ExaoneMoeForCausalLM exaone_moe": ("5.12.0", "5.24.0", (
        "model.layers.#.mlp.experts.#.down_proj.weight",
        "model.layers.#.mlp.experts.#.gate_proj.weight",
    )),
    "ExaoneMoeModel exaone_moe": ("5.12.0", "5.24.0", (
        "layers.#.mlp.experts.#.down_proj.weight",
        "layers.#.mlp.experts.#.gate_proj.weight",
    )),
    "FlexOlmoForCausalLM flex_olmo": ("5.0.0", "5.24.0", (
        "model.layers.#.mlp.experts.#.down_proj.weight",
        "model.layers.#.mlp.experts.#.gate_proj.weight",
    )),
    "FlexOlmoModel flex_olmo": ("5.0.0", "5.24.0", (
        "layers.#.mlp.experts.#.down_proj.weight",
        "layers.#.mlp.experts.#.gate_proj.weight",
    )),
    "FlintForCausalLM flint": ("5.24.0", "5.24.0", (
        "model.layers.#.mlp.experts.#.down_proj.weight",
        "model.layers.#.mlp.experts.#.gate_proj.weight",
    )),
    "FlintModel flint": ("5.24.0", "5.24.0", (
        "layers.#.mlp.experts.#.down_proj.weight",
        "layers.#.mlp.experts.#.gate_proj.weight",
    )),
    "FuyuForCausalLM fuyu": ("4.57.6", "5.24.0", (
        "language_model.model.layers.#.input_layernorm.bias",
        "language_model.model.layers.#.input_layernorm.weight",
    )),
    "GPTNeoXForCausalLM gpt_neox": ("5.24.0", "5.24.0", (
        "embed_out.weight",
    )),
    "Gemma3ForConditionalGeneration gemma3": ("4.57.6", "5.24.0", (
        "language_model.model.layers.#.input_layernorm.weight",
        "language_model.model.layers.#.mlp.down_proj.weight",
    )),
    "Gemma3ForConditionalGeneration shieldgemma2": ("4.57.6", "5.0.0", (
        "language_model.model.layers.#.input_layernorm.weight",
        "language_model.model.layers.#.mlp.down_proj.weight",
    )),
    "Gemma3ForSequenceClassification gemma3": ("4.57.6", "5.24.0", (
        "language_model.model.layers.#.input_layernorm.weight",
        "language_model.model.layers.#.mlp.down_proj.weight",
    )),
    "Gemma3Model gemma3": ("4.57.6", "5.12.0", (
        "language_model.model.layers.#.input_layernorm.weight",
        "language_model.model.layers.#.mlp.down_proj.weight",
    )),
    "Glm4MoeForCausalLM glm4_moe": ("5.0.0", "5.24.0", (
        "model.layers.#.mlp.experts.#.down_proj.weight",
        "model.layers.#.mlp.experts.#.gate_proj.weight",
    )),
    "Glm4MoeForCausalLM sarvam_moe": ("5.24.0", "5.24.0", (
        "model.layers.#.mlp.experts.#.down_proj.weight",
        "model.layers.#.mlp.experts.#.gate_proj.weight",
    )),
    "Glm4MoeLiteForCausalLM glm4_moe_lite": ("5.0.0", "5.24.0", (
        "model.layers.#.mlp.experts.#.down_proj.weight",
        "model.layers.#.mlp.experts.#.gate_proj.weight",
    )),
    "Glm4MoeLiteModel glm4_moe_lite": ("5.0.0", "5.24.0", (
        "layers.#.mlp.experts.#.down_proj.weight",
        "layers.#.mlp.experts.#.gate_proj.weight",
    )),
    "Glm4MoeModel glm4_moe": ("5.0.0", "5.24.0", (
        "layers.#.mlp.experts.#.down_proj.weight",
        "layers.#.mlp.experts.#.gate_proj.weight",
    )),
    "Glm4MoeModel sarvam_moe": ("5.24.0", "5.24.0", (
        "layers.#.mlp.experts.#.down_proj.weight",
        "layers.#.mlp.experts.#.gate_proj.weight",
    )),
    "Glm4vMoeForConditionalGeneration glm4v_moe": ("5.0.0", "5.24.0", (
        "model.language_model.layers.#.mlp.experts.#.down_proj.weight",
        "model.language_model.layers.#.mlp.experts.#.gate_proj.weight",
    )),
    "Glm4vMoeModel glm4v_moe": ("5.0.0", "5.24.0", (
        "language_model.layers.#.mlp.experts.#.down_proj.weight",
        "language_model.layers.#.mlp.experts.#.gate_proj.weight",
    )),
    "Glm5NextForConditionalGeneration glm5_next": ("5.24.0", "5.24.0", (
        "model.language_model.layers.#.mlp.experts.#.down_proj.weight",
        "model.language_model.layers.#.mlp.experts.#.gate_proj.weight",
    )),
    "Glm5NextModel glm5_next": ("5.24.0", "5.24.0", (
        "language_model.layers.#.mlp.experts.#.down_proj.weight",
        "language_model.layers.#.mlp.experts.#.gate_proj.weight",
    )),
    "Glm5NextTextModel glm5_next_text": ("5.24.0", "5.24.0", (
        "layers.#.mlp.experts.#.down_proj.weight",
        "layers.#.mlp.experts.#.gate_proj.weight",
    )),
    "GlmAsrForConditionalGeneration glmasr": ("5.12.0", "5.24.0", (
        "audio_tower.layers.#.input_layernorm.bias",
        "audio_tower.layers.#.input_layernorm.weight",
    )),
    "GlmMoeDsaForCausalLM glm_moe_dsa": ("5.12.0", "5.24.0", (
        "model.layers.#.mlp.experts.#.down_proj.weight",
        "model.layers.#.mlp.experts.#.gate_proj.weight",
    )),
    "GlmMoeDsaModel glm_moe_dsa": ("5.12.0", "5.24.0", (
        "layers.#.mlp.experts.#.down_proj.weight",
        "layers.#.mlp.experts.#.gate_proj.weight",
    )),
    "GotOcr2ForConditionalGeneration got_ocr2": ("4.57.6", "5.24.0", (
        "language_model.model.layers.#.input_layernorm.weight",
        "language_model.model.layers.#.mlp.down_proj.weight",
    )),
    "GotOcr2ForConditionalGeneration pp_chart2table": ("5.12.0", "5.24.0", (
        "language_model.model.layers.#.input_layernorm.weight",
        "language_model.model.layers.#.mlp.down_proj.weight",
    )),
    "GradiumPhononTTSForConditionalGeneration gradium_phonon_tts": ("5.24.0", "5.24.0", (
        "flow_lm.flow_net.res_blocks.#.mlp.#.bias",
        "flow_lm.flow_net.res_blocks.#.mlp.#.weight",
    )),
    "GradiumPhononTTSModel gradium_phonon_tts": ("5.24.0", "5.24.0", (
        "layers.#.self_attn.in_proj.weight",
    )),
    "GraniteMoeForCausalLM granitemoe": ("5.24.0", "5.24.0", (
        "model.layers.#.block_sparse_moe.input_linear.weight",
        "model.layers.#.block_sparse_moe.output_linear.weight",
    )),
    "GraniteMoeHybridForCausalLM granitemoehybrid": ("5.24.0", "5.24.0", (
        "model.layers.#.block_sparse_moe.input_linear.weight",
        "model.layers.#.block_sparse_moe.output_linear.weight",
    )),
    "GraniteMoeHybridModel granitemoehybrid": ("5.24.0", "5.24.0", (
        "layers.#.block_sparse_moe.input_linear.weight",
        "layers.#.block_sparse_moe.output_linear.weight",
    )),
    "GraniteMoeModel granitemoe": ("5.24.0", "5.24.0", (
        "layers.#.block_sparse_moe.input_linear.weight",
        "layers.#.block_sparse_moe.output_linear.weight",
    )),
    "GraniteMoeSharedForCausalLM granitemoeshared": ("5.24.0", "5.24.0", (
        "model.layers.#.block_sparse_moe.input_linear.weight",
        "model.layers.#.block_sparse_moe.output_linear.weight",
    )),
    "GraniteMoeSharedModel granitemoeshared": ("5.24.0", "5.24.0", (
        "layers.#.block_sparse_moe.input_linear.weight",
        "layers.#.block_sparse_moe.output_linear.weight",
    )),
    "GraniteSpeechForConditionalGeneration granite_speech": ("5.12.0", "5.24.0", (
        "projector.qformer.encoder.layer.#.attention.attention.key.bias",
        "projector.qformer.encoder.layer.#.attention.attention.key.weight",
    )),
    "GraniteSpeechPlusForConditionalGeneration granite_speech_plus": ("5.12.0", "5.24.0", (
        "projector.qformer.encoder.layer.#.attention.attention.key.bias",
        "projector.qformer.encoder.layer.#.attention.attention.key.weight",
    )),
    "GteForMaskedLM gte": ("5.24.0", "5.24.0", (
        "gte.encoder.layer.#.attention.o_proj.bias",
        "gte.encoder.layer.#.attention.o_proj.weight",
        "new.gte.encoder.layer.#.attention.o_proj.bias",
        "new.gte.encoder.layer.#.attention.o_proj.weight",
    )),
    "GteForSequenceClassification gte": ("5.24.0", "5.24.0", (
        "gte.encoder.layer.#.attention.o_proj.bias",
        "gte.encoder.layer.#.attention.o_proj.weight",
        "new.gte.encoder.layer.#.attention.o_proj.bias",
        "new.gte.encoder.layer.#.attention.o_proj.weight",
    )),
    "GteForTokenClassification gte": ("5.24.0", "5.24.0", (
        "gte.encoder.layer.#.attention.o_proj.bias",
        "gte.encoder.layer.#.attention.o_proj.weight",
        "new.gte.encoder.layer.#.attention.o_proj.bias",
        "new.gte.encoder.layer.#.attention.o_proj.weight",
    )),
    "GteModel gte": ("5.24.0", "5.24.0", (
        "encoder.layer.#.attention.o_proj.bias",
        "encoder.layer.#.attention.o_proj.weight",
        "new.encoder.layer.#.attention.o_proj.bias",
        "new.encoder.layer.#.attention.o_proj.weight",
    )),
    "HYV3ForCausalLM hy_v3": ("5.12.0", "5.24.0", (
        "model.layers.#.mlp.experts.#.down_proj.weight",
        "model.layers.#.mlp.experts.#.gate_proj.weight",
    )),
    "HYV3Model hy_v3": ("5.12.0", "5.24.0", (
        "layers.#.mlp.experts.#.down_proj.weight",
        "layers.#.mlp.experts.#.gate_proj.weight",
    )),
    "HYV4ForCausalLM hy_v4": ("5.24.0", "5.24.0", (
        "model.layers.#.hc_pre.hc_attn_layer.hc_base",
        "model.layers.#.hc_pre.hc_attn_layer.hc_fn",
    )),
    "HYV4Model hy_v4": ("5.24.0", "5.24.0", (
        "layers.#.hc_pre.hc_attn_layer.hc_base",
        "layers.#.hc_pre.hc_attn_layer.hc_fn",
    )),
    "HYV4VLForConditionalGeneration hy_v4_vl": ("5.24.0", "5.24.0", (
        "model.layers.#.hc_pre.hc_attn_layer.hc_base",
        "model.layers.#.hc_pre.hc_attn_layer.hc_fn",
    )),
    "HYV4VLModel hy_v4_vl": ("5.24.0", "5.24.0", (
        "language_model.layers.#.hc_pre.hc_attn_layer.hc_base",
        "language_model.layers.#.hc_pre.hc_attn_layer.hc_fn",
    )),
    "HYV4VLTextModel hy_v4_vl_text": ("5.24.0", "5.24.0", (
        "layers.#.hc_pre.hc_attn_layer.hc_base",
        "layers.#.hc_pre.hc_attn_layer.hc_fn",
    )),
    "HrmTextForCausalLM hrm_text": ("5.12.0", "5.24.0", (
        "model.H_module.layers.#.attn.gqkv_proj.weight",
        "model.H_module.layers.#.attn.o_proj.weight",
    )),
    "HrmTextModel hrm_text": ("5.12.0", "5.24.0", (
        "H_module.layers.#.attn.gqkv_proj.weight",
        "H_module.layers.#.attn.o_proj.weight",
    )),
    "IJepaForImageClassification ijepa": ("5.12.0", "5.24.0", (
        "ijepa.encoder.layer.#.attention.attention.key.bias",
        "ijepa.encoder.layer.#.attention.attention.key.weight",
    )),
    "IJepaModel ijepa": ("5.12.0", "5.24.0", (
        "encoder.layer.#.attention.attention.key.bias",
        "encoder.layer.#.attention.attention.key.weight",
    )),
    "Inkling2ForCausalLM inkling2_text": ("5.24.0", "5.24.0", (
        "model.llm.attn_res.mlp_queries.#",
        "model.llm.layers.#.attn.attn_sink_proj.weight",
    )),
    "Inkling2ForConditionalGeneration inkling2": ("5.24.0", "5.24.0", (
        "model.llm.attn_res.mlp_queries.#",
        "model.llm.layers.#.attn.attn_sink_proj.weight",
    )),
    "Inkling2LoopForCausalLM inkling2_loop_text": ("5.24.0", "5.24.0", (
        "model.llm.attn_res.mlp_queries.#",
        "model.llm.layers.#.attn.attn_sink_proj.weight",
    )),
    "Inkling2LoopTextModel inkling2_loop_text": ("5.24.0", "5.24.0", (
        "attn_res.mlp_queries.#",
        "layers.#.attn.attn_sink_proj.weight",
    )),
    "Inkling2Model inkling2": ("5.24.0", "5.24.0", (
        "language_model.attn_res.mlp_queries.#",
        "language_model.layers.#.attn.attn_sink_proj.weight",
    )),
    "Inkling2TextModel inkling2_text": ("5.24.0", "5.24.0", (
        "attn_res.mlp_queries.#",
        "layers.#.attn.attn_sink_proj.weight",
    )),
    "InklingForConditionalGeneration inkling_mm_model": ("5.24.0", "5.24.0", (
        "model.llm.layers.#.attn.k_norm.weight",
        "model.llm.layers.#.attn.k_sconv.weight",
    )),
    "InklingModel inkling_mm_model": ("5.24.0", "5.24.0", (
        "language_model.layers.#.attn.k_norm.weight",
        "language_model.layers.#.attn.k_sconv.weight",
    )),
    "InternVLForConditionalGeneration internvl": ("4.57.6", "5.24.0", (
        "language_model.model.layers.#.input_layernorm.weight",
        "language_model.model.layers.#.mlp.down_proj.weight",
    )),
    "JambaForCausalLM jamba": ("5.0.0", "5.24.0", (
        "model.layers.#.feed_forward.experts.#.down_proj.weight",
        "model.layers.#.feed_forward.experts.#.gate_proj.weight",
    )),
    "JambaForSequenceClassification jamba": ("5.0.0", "5.24.0", (
        "model.layers.#.feed_forward.experts.#.down_proj.weight",
        "model.layers.#.feed_forward.experts.#.gate_proj.weight",
    )),
    "JambaModel jamba": ("5.0.0", "5.24.0", (
        "layers.#.feed_forward.experts.#.down_proj.weight",
        "layers.#.feed_forward.experts.#.gate_proj.weight",
    )),
    "JevForDecision jev": ("5.24.0", "5.24.0", (
        "weight",
    )),
    "JinaEmbeddingsV3ForMaskedLM jina_embeddings_v3": ("5.12.0", "5.24.0", (
        "roberta.encoder.layers.#.mixer.Wqkv.bias",
        "roberta.encoder.layers.#.mixer.Wqkv.weight",
    )),
    "JinaEmbeddingsV3ForQuestionAnswering jina_embeddings_v3": ("5.12.0", "5.24.0", (
        "roberta.encoder.layers.#.mixer.Wqkv.bias",
        "roberta.encoder.layers.#.mixer.Wqkv.weight",
    )),
    "JinaEmbeddingsV3ForSequenceClassification jina_embeddings_v3": ("5.12.0", "5.24.0", (
        "roberta.encoder.layers.#.mixer.Wqkv.bias",
        "roberta.encoder.layers.#.mixer.Wqkv.weight",
    )),
    "JinaEmbeddingsV3ForTokenClassification jina_embeddings_v3": ("5.12.0", "5.24.0", (
        "roberta.encoder.layers.#.mixer.Wqkv.bias",
        "roberta.encoder.layers.#.mixer.Wqkv.weight",
    )),
    "JinaEmbeddingsV3Model jina_embeddings_v3": ("5.12.0", "5.24.0", (
        "encoder.layers.#.mixer.Wqkv.bias",
        "encoder.layers.#.mixer.Wqkv.weight",
    )),
    "KimiLinearForCausalLM kimi_linear": ("5.24.0", "5.24.0", (
        "model.layers.#.block_sparse_moe.experts.#.w1.weight",
        "model.layers.#.block_sparse_moe.experts.#.w2.weight",
    )),
    "KimiLinearModel kimi_linear": ("5.24.0", "5.24.0", (
        "layers.#.block_sparse_moe.experts.#.w1.weight",
        "layers.#.block_sparse_moe.experts.#.w2.weight",
    )),
    "Kimi_K25ForConditionalGeneration kimi_k25": ("5.24.0", "5.24.0", (
        "language_model.model.blocks.#.mlp.experts.#.down_proj.weight",
        "language_model.model.blocks.#.mlp.experts.#.gate_proj.weight",
    )),
    "Kolibri1ForCausalLM kolibri1": ("5.24.0", "5.24.0", (
        "model.layers.#.mlp.experts.#.down_proj.weight",
        "model.layers.#.mlp.experts.#.gate_proj.weight",
    )),
    "Kolibri1Model kolibri1": ("5.24.0", "5.24.0", (
        "layers.#.mlp.experts.#.down_proj.weight",
        "layers.#.mlp.experts.#.gate_proj.weight",
    )),
    "LagunaForCausalLM laguna": ("5.12.0", "5.24.0", (
        "model.layers.#.mlp.experts.#.down_proj.weight",
        "model.layers.#.mlp.experts.#.gate_proj.weight",
    )),
    "LagunaModel laguna": ("5.12.0", "5.24.0", (
        "layers.#.mlp.experts.#.down_proj.weight",
        "layers.#.mlp.experts.#.gate_proj.weight",
    )),
    "LaraMiniForCausalLM lara_mini": ("5.24.0", "5.24.0", (
        "model.layers.#.linear_attn.in_proj.weight",
        "model.layers.#.linear_attn.out_norm.weight",
    )),
    "LaraMiniModel lara_mini": ("5.24.0", "5.24.0", (
        "layers.#.linear_attn.in_proj.weight",
        "layers.#.linear_attn.out_norm.weight",
    )),
    "Lfm3ForCausalLM lfm3": ("5.24.0", "5.24.0", (
        "model.layers.#.self_attn.gate_proj.weight",
    )),
    "Lfm3Model lfm3": ("5.24.0", "5.24.0", (
        "layers.#.self_attn.gate_proj.weight",
    )),
    "Lfm3VlVisionModel lfm3_vl_vision": ("5.24.0", "5.24.0", (
        "layers.#.self_attn.k_layernorm.weight",
        "layers.#.self_attn.q_layernorm.weight",
    )),
    "LlamaForCausalLM exaone": ("5.24.0", "5.24.0", (
        "transformer.h.#.attn.attention.k_proj.weight",
        "transformer.h.#.attn.attention.out_proj.weight",
    )),
    "LlamaModel exaone": ("5.24.0", "5.24.0", (
        "layers.#.attn.attention.k_proj.weight",
        "layers.#.attn.attention.out_proj.weight",
    )),
    "LlavaForConditionalGeneration llava": ("4.57.6", "5.24.0", (
        "language_model.model.layers.#.input_layernorm.weight",
        "language_model.model.layers.#.mlp.down_proj.weight",
    )),
    "LlavaNextForConditionalGeneration llava_next": ("4.57.6", "5.24.0", (
        "language_model.model.layers.#.input_layernorm.weight",
        "language_model.model.layers.#.mlp.down_proj.weight",
    )),
    "LlavaNextVideoForConditionalGeneration llava_next_video": ("4.57.6", "5.24.0", (
        "language_model.model.layers.#.input_layernorm.weight",
        "language_model.model.layers.#.mlp.down_proj.weight",
    )),
    "LlavaOnevisionForConditionalGeneration llava_onevision": ("4.57.6", "5.24.0", (
        "language_model.model.layers.#.input_layernorm.weight",
        "language_model.model.layers.#.mlp.down_proj.weight",
    )),
    "LongcatFlashForCausalLM longcat_flash": ("5.0.0", "5.24.0", (
        "model.layers.#.mlp.experts.#.gate_proj.weight",
        "model.layers.#.mlp.experts.#.up_proj.weight",
    )),
    "LongcatFlashModel longcat_flash": ("5.0.0", "5.24.0", (
        "layers.#.mlp.experts.#.gate_proj.weight",
        "layers.#.mlp.experts.#.up_proj.weight",
    )),
    "MellumForCausalLM mellum": ("5.12.0", "5.24.0", (
        "model.layers.#.mlp.experts.#.down_proj.weight",
        "model.layers.#.mlp.experts.#.gate_proj.weight",
    )),
    "MellumModel mellum": ("5.12.0", "5.24.0", (
        "layers.#.mlp.experts.#.down_proj.weight",
        "layers.#.mlp.experts.#.gate_proj.weight",
    )),
    "MetaClip2ForImageClassification metaclip_2": ("5.12.0", "5.24.0", (
        "vision_model.vision_model.encoder.layers.#.layer_norm1.bias",
        "vision_model.vision_model.encoder.layers.#.layer_norm1.weight",
    )),
    "MetaClip2Model metaclip_2": ("5.12.0", "5.24.0", (
        "text_model.text_model.encoder.layers.#.layer_norm1.bias",
        "text_model.text_model.encoder.layers.#.layer_norm1.weight",
    )),
    "MiMoV2FlashForCausalLM mimo_v2_flash": ("5.24.0", "5.24.0", (
        "model.layers.#.mlp.experts.#.down_proj.weight",
        "model.layers.#.mlp.experts.#.gate_proj.weight",
    )),
    "MiMoV2FlashModel mimo_v2_flash": ("5.24.0", "5.24.0", (
        "layers.#.mlp.experts.#.down_proj.weight",
        "layers.#.mlp.experts.#.gate_proj.weight",
    )),
    "MimiDecoderModel mimi_decoder": ("5.24.0", "5.24.0", (
        "decoder.layers.#.block.#.conv.bias",
        "decoder.layers.#.block.#.conv.weight",
    )),
    "MimiEncoderModel mimi_encoder": ("5.24.0", "5.24.0", (
        "encoder.layers.#.block.#.conv.bias",
        "encoder.layers.#.block.#.conv.weight",
    )),
    "MimiModel mimi": ("5.24.0", "5.24.0", (
        "decoder.layers.#.block.#.conv.bias",
        "decoder.layers.#.block.#.conv.weight",
    )),
    "MiniMaxForCausalLM minimax": ("5.0.0", "5.24.0", (
        "model.layers.#.block_sparse_moe.experts.#.w1.weight",
        "model.layers.#.block_sparse_moe.experts.#.w2.weight",
    )),
    "MiniMaxForQuestionAnswering minimax": ("5.0.0", "5.24.0", (
        "model.layers.#.block_sparse_moe.experts.#.w1.weight",
        "model.layers.#.block_sparse_moe.experts.#.w2.weight",
    )),
    "MiniMaxForSequenceClassification minimax": ("5.0.0", "5.24.0", (
        "model.layers.#.block_sparse_moe.experts.#.w1.weight",
        "model.layers.#.block_sparse_moe.experts.#.w2.weight",
    )),
    "MiniMaxForTokenClassification minimax": ("5.0.0", "5.24.0", (
        "model.layers.#.block_sparse_moe.experts.#.w1.weight",
        "model.layers.#.block_sparse_moe.experts.#.w2.weight",
    )),
    "MiniMaxM2ForCausalLM minimax_m2": ("5.0.0", "5.24.0", (
        "model.layers.#.block_sparse_moe.experts.#.w1.weight",
        "model.layers.#.block_sparse_moe.experts.#.w2.weight",
    )),
    "MiniMaxM2Model minimax_m2": ("5.0.0", "5.24.0", (
        "layers.#.block_sparse_moe.experts.#.w1.weight",
        "layers.#.block_sparse_moe.experts.#.w2.weight",
    )),
    "MiniMaxM3SparseForConditionalGeneration minimax_m3_vl": ("5.12.0", "5.24.0", (
        "language_model.model.layers.#.block_sparse_moe.experts.#.w1.weight",
        "language_model.model.layers.#.block_sparse_moe.experts.#.w2.weight",
    )),
    "MiniMaxM3VLModel minimax_m3_vl": ("5.24.0", "5.24.0", (
        "language_model.layers.#.block_sparse_moe.experts.#.w1.weight",
        "language_model.layers.#.block_sparse_moe.experts.#.w2.weight",
    )),
    "MiniMaxModel minimax": ("5.0.0", "5.24.0", (
        "layers.#.block_sparse_moe.experts.#.w1.weight",
        "layers.#.block_sparse_moe.experts.#.w2.weight",
    )),
    "Mistral3ForConditionalGeneration mistral3": ("4.57.6", "5.24.0", (
        "language_model.model.layers.#.input_layernorm.weight",
        "language_model.model.layers.#.mlp.down_proj.weight",
    )),
    "MistralLarge4ForConditionalGeneration mistral_large4": ("5.24.0", "5.24.0", (
        "layers.#.experts.#.w1.weight",
        "layers.#.experts.#.w2.weight",
    )),
    "MistralLarge4TextModel mistral_large4_text": ("5.24.0", "5.24.0", (
        "layers.#.experts.#.w1.weight",
        "layers.#.experts.#.w2.weight",
    )),
    "MixtralForCausalLM mixtral": ("5.0.0", "5.24.0", (
        "model.layers.#.block_sparse_moe.experts.#.w1.weight",
        "model.layers.#.block_sparse_moe.experts.#.w2.weight",
    )),
    "MixtralForQuestionAnswering mixtral": ("5.0.0", "5.24.0", (
        "model.layers.#.block_sparse_moe.experts.#.w1.weight",
        "model.layers.#.block_sparse_moe.experts.#.w2.weight",
    )),
    "MixtralForSequenceClassification mixtral": ("5.0.0", "5.24.0", (
        "model.layers.#.block_sparse_moe.experts.#.w1.weight",
        "model.layers.#.block_sparse_moe.experts.#.w2.weight",
    )),
    "MixtralForTokenClassification mixtral": ("5.0.0", "5.24.0", (
        "model.layers.#.block_sparse_moe.experts.#.w1.weight",
        "model.layers.#.block_sparse_moe.experts.#.w2.weight",
    )),
    "MixtralModel mixtral": ("5.0.0", "5.24.0", (
        "layers.#.block_sparse_moe.experts.#.w1.weight",
        "layers.#.block_sparse_moe.experts.#.w2.weight",
    )),
    "MllamaForConditionalGeneration mllama": ("5.0.0", "5.24.0", (
        "language_model.model.layers.#.input_layernorm.weight",
        "language_model.model.layers.#.mlp.down_proj.weight",
    )),
    "MllamaModel mllama": ("5.0.0", "5.24.0", (
        "language_model.model.layers.#.input_layernorm.weight",
        "language_model.model.layers.#.mlp.down_proj.weight",
    )),
    "Molmo2ForConditionalGeneration molmo2": ("5.24.0", "5.24.0", (
        "model.transformer.blocks.#.attn_norm.weight",
        "model.transformer.blocks.#.ff_norm.weight",
    )),
    "Molmo2Model molmo2": ("5.24.0", "5.24.0", (
        "transformer.blocks.#.attn_norm.weight",
        "transformer.blocks.#.ff_norm.weight",
    )),
    "Molmo2TextModel molmo2_text": ("5.24.0", "5.24.0", (
        "layers.#.attn_norm.weight",
        "layers.#.ff_norm.weight",
    )),
    "MusicFlamingoForConditionalGeneration musicflamingo": ("5.12.0", "5.24.0", (
        "audio_tower.layers.#.fc1.bias",
        "audio_tower.layers.#.fc1.weight",
    )),
    "Nemotron3_5TranscribeForConditionalGeneration nemo_speechlm": ("5.24.0", "5.24.0", (
        "llm.model.layers.#.mixer.experts.#.down_proj.weight",
        "llm.model.layers.#.mixer.experts.#.up_proj.weight",
    )),
    "NemotronHForCausalLM nemotron_h": ("5.12.0", "5.24.0", (
        "backbone.layers.#.mixer.experts.#.down_proj.weight",
        "backbone.layers.#.mixer.experts.#.up_proj.weight",
    )),
    "NemotronHModel nemotron_h": ("5.12.0", "5.24.0", (
        "layers.#.mixer.experts.#.down_proj.weight",
        "layers.#.mixer.experts.#.up_proj.weight",
    )),
    "NemotronH_Omni_Reasoning_V3 nemotron_h_omni": ("5.24.0", "5.24.0", (
        "mlp1.#.weight",
    )),
    "NomicBertForMaskedLM nomic_bert": ("5.12.0", "5.24.0", (
        "nomic_bert.encoder.layers.#.attn.Wqkv.weight",
        "nomic_bert.encoder.layers.#.attn.out_proj.weight",
    )),
    "NomicBertForSequenceClassification nomic_bert": ("5.12.0", "5.24.0", (
        "nomic_bert.encoder.layers.#.attn.Wqkv.weight",
        "nomic_bert.encoder.layers.#.attn.out_proj.weight",
    )),
    "NomicBertForTokenClassification nomic_bert": ("5.12.0", "5.24.0", (
        "nomic_bert.encoder.layers.#.attn.Wqkv.weight",
        "nomic_bert.encoder.layers.#.attn.out_proj.weight",
    )),
    "NomicBertModel nomic_bert": ("5.12.0", "5.24.0", (
        "encoder.layers.#.attn.Wqkv.weight",
        "encoder.layers.#.attn.out_proj.weight",
    )),
    "OlmoHybridForCausalLM olmo_hybrid": ("5.12.0", "5.24.0", (
        "model.layers.#.attention_layer_norm.weight",
        "model.layers.#.feedforward_layer_norm.weight",
    )),
    "OlmoHybridModel olmo_hybrid": ("5.12.0", "5.24.0", (
        "layers.#.attention_layer_norm.weight",
        "layers.#.feedforward_layer_norm.weight",
    )),
    "OlmoeForCausalLM olmoe": ("5.0.0", "5.24.0", (
        "model.layers.#.mlp.experts.#.down_proj.weight",
        "model.layers.#.mlp.experts.#.gate_proj.weight",
    )),
    "OlmoeModel olmoe": ("5.0.0", "5.24.0", (
        "layers.#.mlp.experts.#.down_proj.weight",
        "layers.#.mlp.experts.#.gate_proj.weight",
    )),
    "PI0ForConditionalGeneration pi0": ("5.12.0", "5.24.0", (
        "paligemma_with_expert.paligemma.model.vision_tower.encoder.layers.#.layer_norm1.bias",
        "paligemma_with_expert.paligemma.model.vision_tower.encoder.layers.#.layer_norm1.weight",
    )),
    "PI0Model pi0": ("5.24.0", "5.24.0", (
        "model.vlm.vision_tower.vision_model.encoder.layers.#.layer_norm1.bias",
        "model.vlm.vision_tower.vision_model.encoder.layers.#.layer_norm1.weight",
    )),
    "PPDocLayoutV4Model pp_doclayout_v4": ("5.24.0", "5.24.0", (
        "decoder_order_head.#.bias",
        "decoder_order_head.#.weight",
    )),
    "PaddleOCRVLForConditionalGeneration paddleocr_vl": ("5.0.0", "5.24.0", (
        "visual.vision_model.encoder.layers.#.layer_norm1.bias",
        "visual.vision_model.encoder.layers.#.layer_norm1.weight",
    )),
    "PaliGemmaForConditionalGeneration paligemma": ("4.57.6", "5.24.0", (
        "language_model.model.layers.#.input_layernorm.weight",
        "language_model.model.layers.#.mlp.down_proj.weight",
    )),
    "PixioBackbone pixio": ("5.12.0", "5.24.0", (
        "encoder.encoder.layer.#.attention.attention.key.bias",
        "encoder.encoder.layer.#.attention.attention.key.weight",
    )),
    "PixioModel pixio": ("5.12.0", "5.24.0", (
        "encoder.layer.#.attention.attention.key.bias",
        "encoder.layer.#.attention.attention.key.weight",
    )),
    "QianfanOCRForConditionalGeneration qianfan_ocr": ("5.12.0", "5.24.0", (
        "language_model.model.encoder.layers.#.input_layernorm.weight",
        "language_model.model.encoder.layers.#.mlp.down_proj.weight",
    )),
    "Qwen2AudioForConditionalGeneration qwen2_audio": ("5.12.0", "5.24.0", (
        "audio_tower.layers.#.fc1.bias",
        "audio_tower.layers.#.fc1.weight",
    )),
    "Qwen2MoeForCausalLM qwen2_moe": ("5.0.0", "5.24.0", (
        "model.layers.#.mlp.experts.#.down_proj.weight",
        "model.layers.#.mlp.experts.#.gate_proj.weight",
    )),
    "Qwen2MoeForQuestionAnswering qwen2_moe": ("5.0.0", "5.24.0", (
        "model.layers.#.mlp.experts.#.down_proj.weight",
        "model.layers.#.mlp.experts.#.gate_proj.weight",
    )),
    "Qwen2MoeForSequenceClassification qwen2_moe": ("5.0.0", "5.24.0", (
        "model.layers.#.mlp.experts.#.down_proj.weight",
        "model.layers.#.mlp.experts.#.gate_proj.weight",
    )),
    "Qwen2MoeForTokenClassification qwen2_moe": ("5.0.0", "5.24.0", (
        "model.layers.#.mlp.experts.#.down_proj.weight",
        "model.layers.#.mlp.experts.#.gate_proj.weight",
    )),
    "Qwen2MoeModel qwen2_moe": ("5.0.0", "5.24.0", (
        "layers.#.mlp.experts.#.down_proj.weight",
        "layers.#.mlp.experts.#.gate_proj.weight",
    )),
    "Qwen2VLForConditionalGeneration qwen2_vl": ("4.57.6", "5.24.0", (
        "model.layers.#.input_layernorm.weight",
        "model.layers.#.mlp.down_proj.weight",
    )),
    "Qwen2VLModel qwen2_vl": ("4.57.6", "5.0.0", (
        "model.layers.#.input_layernorm.weight",
        "model.layers.#.mlp.down_proj.weight",
    )),
    "Qwen2_5OmniForConditionalGeneration qwen2_5_omni": ("5.24.0", "5.24.0", (
        "thinker.audio_tower.layers.#.fc1.bias",
        "thinker.audio_tower.layers.#.fc1.weight",
        "thinker.thinker.model.thinker.audio_tower.layers.#.fc1.bias",
        "thinker.thinker.model.thinker.audio_tower.layers.#.fc1.weight",
    )),
    "Qwen2_5OmniThinkerForConditionalGeneration qwen2_5_omni_thinker": ("5.24.0", "5.24.0", (
        "audio_tower.layers.#.fc1.bias",
        "audio_tower.layers.#.fc1.weight",
        "thinker.model.thinker.audio_tower.layers.#.fc1.bias",
        "thinker.model.thinker.audio_tower.layers.#.fc1.weight",
    )),
    "Qwen2_5OmniThinkerModel qwen2_5_omni_thinker": ("5.24.0", "5.24.0", (
        "thinker.audio_tower.layers.#.fc1.bias",
        "thinker.audio_tower.layers.#.fc1.weight",
    )),
    "Qwen2_5_VLForConditionalGeneration qwen2_5_vl": ("4.57.6", "5.24.0", (
        "model.layers.#.input_layernorm.weight",
        "model.layers.#.mlp.down_proj.weight",
    )),
    "Qwen2_5_VLModel qwen2_5_vl": ("4.57.6", "5.0.0", (
        "model.layers.#.input_layernorm.weight",
        "model.layers.#.mlp.down_proj.weight",
    )),
    "Qwen3MoeForCausalLM qwen3_moe": ("5.0.0", "5.24.0", (
        "model.layers.#.mlp.experts.#.down_proj.weight",
        "model.layers.#.mlp.experts.#.gate_proj.weight",
    )),
    "Qwen3MoeForQuestionAnswering qwen3_moe": ("5.0.0", "5.24.0", (
        "transformer.layers.#.mlp.experts.#.down_proj.weight",
        "transformer.layers.#.mlp.experts.#.gate_proj.weight",
    )),
    "Qwen3MoeForSequenceClassification qwen3_moe": ("5.0.0", "5.24.0", (
        "model.layers.#.mlp.experts.#.down_proj.weight",
        "model.layers.#.mlp.experts.#.gate_proj.weight",
    )),
    "Qwen3MoeForTokenClassification qwen3_moe": ("5.0.0", "5.24.0", (
        "model.layers.#.mlp.experts.#.down_proj.weight",
        "model.layers.#.mlp.experts.#.gate_proj.weight",
    )),
    "Qwen3MoeModel qwen3_moe": ("5.0.0", "5.24.0", (
        "layers.#.mlp.experts.#.down_proj.weight",
        "layers.#.mlp.experts.#.gate_proj.weight",
    )),
    "Qwen3NextForCausalLM qwen3_next": ("5.0.0", "5.24.0", (
        "model.layers.#.mlp.experts.#.down_proj.weight",
        "model.layers.#.mlp.experts.#.gate_proj.weight",
    )),
    "Qwen3NextForQuestionAnswering qwen3_next": ("5.0.0", "5.24.0", (
        "transformer.layers.#.mlp.experts.#.down_proj.weight",
        "transformer.layers.#.mlp.experts.#.gate_proj.weight",
    )),
    "Qwen3NextForSequenceClassification qwen3_next": ("5.0.0", "5.24.0", (
        "model.layers.#.mlp.experts.#.down_proj.weight",
        "model.layers.#.mlp.experts.#.gate_proj.weight",
    )),
    "Qwen3NextForTokenClassification qwen3_next": ("5.0.0", "5.24.0", (
        "model.layers.#.mlp.experts.#.down_proj.weight",
        "model.layers.#.mlp.experts.#.gate_proj.weight",
    )),
    "Qwen3NextModel qwen3_next": ("5.0.0", "5.24.0", (
        "layers.#.mlp.experts.#.down_proj.weight",
        "layers.#.mlp.experts.#.gate_proj.weight",
    )),
    "Qwen3OmniMoeThinkerForConditionalGeneration qwen3_omni_moe_thinker": ("5.12.0", "5.24.0", (
        "model.layers.#.mlp.experts.#.down_proj.weight",
        "model.layers.#.mlp.experts.#.gate_proj.weight",
    )),
    "Qwen3OmniMoeThinkerModel qwen3_omni_moe_thinker": ("5.24.0", "5.24.0", (
        "language_model.layers.#.mlp.experts.#.down_proj.weight",
        "language_model.layers.#.mlp.experts.#.gate_proj.weight",
        "thinker.language_model.layers.#.mlp.experts.#.down_proj.weight",
        "thinker.language_model.layers.#.mlp.experts.#.gate_proj.weight",
    )),
    "Qwen3_5ForCausalLM qwen3_5_text": ("5.12.0", "5.24.0", (
        "model.language_model.layers.#.input_layernorm.weight",
        "model.language_model.layers.#.mlp.down_proj.weight",
    )),
    "Qwen3_5MoeForCausalLM qwen3_5_moe_text": ("5.12.0", "5.24.0", (
        "model.language_model.layers.#.mlp.experts.#.down_proj.weight",
        "model.language_model.layers.#.mlp.experts.#.gate_proj.weight",
        "model.layers.#.mlp.experts.#.down_proj.weight",
        "model.layers.#.mlp.experts.#.gate_proj.weight",
    )),
    "Qwen3_5MoeForConditionalGeneration qwen3_5_moe": ("5.12.0", "5.24.0", (
        "model.language_model.layers.#.mlp.experts.#.down_proj.weight",
        "model.language_model.layers.#.mlp.experts.#.gate_proj.weight",
    )),
    "Qwen3_5MoeModel qwen3_5_moe": ("5.12.0", "5.24.0", (
        "language_model.layers.#.mlp.experts.#.down_proj.weight",
        "language_model.layers.#.mlp.experts.#.gate_proj.weight",
    )),
    "Qwen3_5MoeTextModel qwen3_5_moe_text": ("5.12.0", "5.24.0", (
        "layers.#.mlp.experts.#.down_proj.weight",
        "layers.#.mlp.experts.#.gate_proj.weight",
    )),
    "Qwen3_5TextForSequenceClassification qwen3_5_text": ("5.12.0", "5.24.0", (
        "model.language_model.layers.#.input_layernorm.weight",
        "model.language_model.layers.#.mlp.down_proj.weight",
    )),
    "RadioModel radio": ("5.24.0", "5.24.0", (
        "radio_model.model.blocks.#.attn.proj.bias",
        "radio_model.model.blocks.#.attn.proj.weight",
    )),
    "RfDetrForInstanceSegmentation rf_detr": ("5.12.0", "5.24.0", (
        "bbox_embed.layers.#.bias",
        "bbox_embed.layers.#.weight",
    )),
    "RfDetrForObjectDetection rf_detr": ("5.12.0", "5.24.0", (
        "transformer.enc_out_bbox_embed.#.layers.#.bias",
        "transformer.enc_out_bbox_embed.#.layers.#.weight",
    )),
    "RfDetrModel rf_detr": ("5.12.0", "5.24.0", (
        "transformer.enc_out_bbox_embed.#.layers.#.bias",
        "transformer.enc_out_bbox_embed.#.layers.#.weight",
    )),
    "Sam3Model sam3": ("5.12.0", "5.12.0", (
        "text_encoder.text_model.text_model.encoder.layers.#.layer_norm1.bias",
        "text_encoder.text_model.text_model.encoder.layers.#.layer_norm1.weight",
    )),
    "Sam3TrackerModel sam3_tracker": ("5.12.0", "5.24.0", (
        "tracker_model.detector_model.vision_encoder.backbone.layers.#.attention.k_proj.bias",
        "tracker_model.detector_model.vision_encoder.backbone.layers.#.attention.k_proj.weight",
    )),
    "Sam3TrackerModel sam3_video": ("5.12.0", "5.24.0", (
        "tracker_model.detector_model.vision_encoder.backbone.layers.#.attention.k_proj.bias",
        "tracker_model.detector_model.vision_encoder.backbone.layers.#.attention.k_proj.weight",
    )),
    "Sam3TrackerVideoModel sam3_tracker_video": ("5.12.0", "5.24.0", (
        "tracker_model.detector_model.vision_encoder.backbone.layers.#.attention.k_proj.bias",
        "tracker_model.detector_model.vision_encoder.backbone.layers.#.attention.k_proj.weight",
    )),
    "Sapiens2Backbone sapiens2": ("5.12.0", "5.24.0", (
        "blocks.#.attn.gamma.weight",
        "blocks.#.attn.k_norm.weight",
    )),
    "Sapiens2Model sapiens2": ("5.12.0", "5.24.0", (
        "blocks.#.attn.gamma.weight",
        "blocks.#.attn.k_norm.weight",
    )),
    "SegformerForImageClassification segformer": ("5.12.0", "5.24.0", (
        "segformer.encoder.block.#.#.attention.output.dense.bias",
        "segformer.encoder.block.#.#.attention.output.dense.weight",
    )),
    "SegformerForSemanticSegmentation segformer": ("5.12.0", "5.24.0", (
        "segformer.encoder.block.#.#.attention.output.dense.bias",
        "segformer.encoder.block.#.#.attention.output.dense.weight",
    )),
    "SegformerModel segformer": ("5.12.0", "5.24.0", (
        "encoder.block.#.#.attention.output.dense.bias",
        "encoder.block.#.#.attention.output.dense.weight",
    )),
    "Siglip2ForImageClassification siglip2": ("5.12.0", "5.24.0", (
        "vision_model.vision_model.encoder.layers.#.layer_norm1.bias",
        "vision_model.vision_model.encoder.layers.#.layer_norm1.weight",
    )),
    "Siglip2Model siglip2": ("5.12.0", "5.24.0", (
        "text_model.text_model.encoder.layers.#.layer_norm1.bias",
        "text_model.text_model.encoder.layers.#.layer_norm1.weight",
    )),
    "Siglip2VisionModel siglip2_vision_model": ("5.12.0", "5.24.0", (
        "vision_model.encoder.layers.#.layer_norm1.bias",
        "vision_model.encoder.layers.#.layer_norm1.weight",
    )),
    "SiglipForImageClassification siglip": ("5.12.0", "5.24.0", (
        "vision_model.vision_model.encoder.layers.#.layer_norm1.bias",
        "vision_model.vision_model.encoder.layers.#.layer_norm1.weight",
    )),
    "SiglipModel siglip": ("5.12.0", "5.24.0", (
        "text_model.text_model.encoder.layers.#.layer_norm1.bias",
        "text_model.text_model.encoder.layers.#.layer_norm1.weight",
    )),
    "SiglipVisionModel siglip_vision_model": ("5.12.0", "5.24.0", (
        "vision_model.encoder.layers.#.layer_norm1.bias",
        "vision_model.encoder.layers.#.layer_norm1.weight",
    )),
    "SolarOpenForCausalLM solar_open": ("5.0.0", "5.24.0", (
        "model.layers.#.mlp.experts.#.down_proj.weight",
        "model.layers.#.mlp.experts.#.gate_proj.weight",
    )),
    "SolarOpenModel solar_open": ("5.0.0", "5.24.0", (
        "layers.#.mlp.experts.#.down_proj.weight",
        "layers.#.mlp.experts.#.gate_proj.weight",
    )),
    "Step3p7ForConditionalGeneration step3p7": ("5.24.0", "5.24.0", (
        "vision_model.transformer.resblocks.#.attn.in_proj_bias",
        "vision_model.transformer.resblocks.#.attn.in_proj_weight",
    )),
    "Step3p7Model step3p7": ("5.24.0", "5.24.0", (
        "vision_model.transformer.resblocks.#.attn.in_proj_bias",
        "vision_model.transformer.resblocks.#.attn.in_proj_weight",
    )),
    "SwinBackbone swin": ("5.12.0", "5.24.0", (
        "encoder.layers.#.blocks.#.attention.output.dense.bias",
        "encoder.layers.#.blocks.#.attention.output.dense.weight",
    )),
    "SwinForImageClassification swin": ("5.12.0", "5.24.0", (
        "swin.encoder.layers.#.blocks.#.attention.output.dense.bias",
        "swin.encoder.layers.#.blocks.#.attention.output.dense.weight",
    )),
    "SwinForMaskedImageModeling swin": ("5.12.0", "5.24.0", (
        "swin.encoder.layers.#.blocks.#.attention.output.dense.bias",
        "swin.encoder.layers.#.blocks.#.attention.output.dense.weight",
    )),
    "SwinModel swin": ("5.12.0", "5.24.0", (
        "encoder.layers.#.blocks.#.attention.output.dense.bias",
        "encoder.layers.#.blocks.#.attention.output.dense.weight",
    )),
    "T5Gemma2ForConditionalGeneration t5gemma2": ("5.12.0", "5.24.0", (
        "model.encoder.layers.#.mlp.down_proj.weight",
        "model.encoder.layers.#.mlp.gate_proj.weight",
        "model.encoder.vision_tower.vision_model.encoder.layers.#.layer_norm1.bias",
        "model.encoder.vision_tower.vision_model.encoder.layers.#.layer_norm1.weight",
    )),
    "T5Gemma2ForSequenceClassification t5gemma2": ("5.12.0", "5.24.0", (
        "model.encoder.layers.#.mlp.down_proj.weight",
        "model.encoder.layers.#.mlp.gate_proj.weight",
        "model.encoder.vision_tower.vision_model.encoder.layers.#.layer_norm1.bias",
        "model.encoder.vision_tower.vision_model.encoder.layers.#.layer_norm1.weight",
    )),
    "T5Gemma2ForTokenClassification t5gemma2": ("5.12.0", "5.24.0", (
        "model.encoder.layers.#.mlp.down_proj.weight",
        "model.encoder.layers.#.mlp.gate_proj.weight",
        "model.encoder.vision_tower.vision_model.encoder.layers.#.layer_norm1.bias",
        "model.encoder.vision_tower.vision_model.encoder.layers.#.layer_norm1.weight",
    )),
    "T5Gemma2Model t5gemma2": ("5.12.0", "5.24.0", (
        "encoder.layers.#.mlp.down_proj.weight",
        "encoder.layers.#.mlp.gate_proj.weight",
        "encoder.vision_tower.vision_model.encoder.layers.#.layer_norm1.bias",
        "encoder.vision_tower.vision_model.encoder.layers.#.layer_norm1.weight",
    )),
    "TimesFm2_5Model timesfm2_5": ("5.12.0", "5.24.0", (
        "layers.#.mlp.ff0.weight",
        "layers.#.mlp.ff1.weight",
    )),
    "TimesFm2_5ModelForPrediction timesfm2_5": ("5.12.0", "5.24.0", (
        "model.layers.#.mlp.ff0.weight",
        "model.layers.#.mlp.ff1.weight",
    )),
    "Tipsv2DptForDepthEstimation tipsv2_dpt": ("5.24.0", "5.24.0", (
        "vision_encoder.blocks.#.attn.proj.bias",
        "vision_encoder.blocks.#.attn.proj.weight",
        "vision_encoder.vision_encoder.blocks.#.attn.proj.bias",
        "vision_encoder.vision_encoder.blocks.#.attn.proj.weight",
    )),
    "Tipsv2DptForNormalEstimation tipsv2_dpt": ("5.24.0", "5.24.0", (
        "vision_encoder.blocks.#.attn.proj.bias",
        "vision_encoder.blocks.#.attn.proj.weight",
        "vision_encoder.vision_encoder.blocks.#.attn.proj.bias",
        "vision_encoder.vision_encoder.blocks.#.attn.proj.weight",
    )),
    "Tipsv2DptForSemanticSegmentation tipsv2_dpt": ("5.24.0", "5.24.0", (
        "vision_encoder.blocks.#.attn.proj.bias",
        "vision_encoder.blocks.#.attn.proj.weight",
        "vision_encoder.vision_encoder.blocks.#.attn.proj.bias",
        "vision_encoder.vision_encoder.blocks.#.attn.proj.weight",
    )),
    "Tipsv2Model tipsv2": ("5.24.0", "5.24.0", (
        "text_encoder.text_encoder.transformer.resblocks.#.attn.in_proj_bias",
        "text_encoder.text_encoder.transformer.resblocks.#.attn.in_proj_weight",
        "text_encoder.transformer.resblocks.#.attn.in_proj_bias",
        "text_encoder.transformer.resblocks.#.attn.in_proj_weight",
    )),
    "Tipsv2TextModel tipsv2_text_model": ("5.24.0", "5.24.0", (
        "text_encoder.transformer.resblocks.#.attn.in_proj_bias",
        "text_encoder.transformer.resblocks.#.attn.in_proj_weight",
        "transformer.resblocks.#.attn.in_proj_bias",
        "transformer.resblocks.#.attn.in_proj_weight",
    )),
    "Tipsv2VisionBackbone tipsv2": ("5.24.0", "5.24.0", (
        "blocks.#.attn.proj.bias",
        "blocks.#.attn.proj.weight",
        "vision_encoder.blocks.#.attn.proj.bias",
        "vision_encoder.blocks.#.attn.proj.weight",
    )),
    "Tipsv2VisionBackbone tipsv2_vision_model": ("5.24.0", "5.24.0", (
        "blocks.#.attn.proj.bias",
        "blocks.#.attn.proj.weight",
        "vision_encoder.blocks.#.attn.proj.bias",
        "vision_encoder.blocks.#.attn.proj.weight",
    )),
    "Tipsv2VisionModel tipsv2_vision_model": ("5.24.0", "5.24.0", (
        "blocks.#.attn.proj.bias",
        "blocks.#.attn.proj.weight",
        "vision_encoder.blocks.#.attn.proj.bias",
        "vision_encoder.blocks.#.attn.proj.weight",
    )),
    "UltraVBertForMaskedLM ultravbert": ("5.24.0", "5.24.0", (
        "head.decoder.weight",
        "head.linear1.weight",
    )),
    "UltrabertForMaskedLM ultrabert": ("5.24.0", "5.24.0", (
        "ultrabert.layers.#.input_layernorm.weight",
        "ultrabert.layers.#.mlp.down_proj.weight",
        "ultrabert.ultrabert.layers.#.input_layernorm.weight",
        "ultrabert.ultrabert.layers.#.mlp.down_proj.weight",
    )),
    "UltrabertForQuestionAnswering ultrabert": ("5.24.0", "5.24.0", (
        "ultrabert.layers.#.input_layernorm.weight",
        "ultrabert.layers.#.mlp.down_proj.weight",
        "ultrabert.ultrabert.layers.#.input_layernorm.weight",
        "ultrabert.ultrabert.layers.#.mlp.down_proj.weight",
    )),
    "UltrabertForSequenceClassification ultrabert": ("5.24.0", "5.24.0", (
        "ultrabert.layers.#.input_layernorm.weight",
        "ultrabert.layers.#.mlp.down_proj.weight",
        "ultrabert.ultrabert.layers.#.input_layernorm.weight",
        "ultrabert.ultrabert.layers.#.mlp.down_proj.weight",
    )),
    "UltrabertForTokenClassification ultrabert": ("5.24.0", "5.24.0", (
        "ultrabert.layers.#.input_layernorm.weight",
        "ultrabert.layers.#.mlp.down_proj.weight",
        "ultrabert.ultrabert.layers.#.input_layernorm.weight",
        "ultrabert.ultrabert.layers.#.mlp.down_proj.weight",
    )),
    "UltrabertModel ultrabert": ("5.24.0", "5.24.0", (
        "ultrabert.layers.#.input_layernorm.weight",
        "ultrabert.layers.#.mlp.down_proj.weight",
    )),
    "UnlimitedOcrForConditionalGeneration unlimited_ocr": ("5.24.0", "5.24.0", (
        "model.layers.#.mlp.experts.#.down_proj.weight",
        "model.layers.#.mlp.experts.#.gate_proj.weight",
    )),
    "UnlimitedOcrModel unlimited_ocr": ("5.24.0", "5.24.0", (
        "layers.#.mlp.experts.#.down_proj.weight",
        "layers.#.mlp.experts.#.gate_proj.weight",
    )),
    "ViTForImageClassification vit": ("5.12.0", "5.24.0", (
        "vit.encoder.layer.#.attention.attention.key.bias",
        "vit.encoder.layer.#.attention.attention.key.weight",
    )),
    "ViTForMaskedImageModeling vit": ("5.12.0", "5.24.0", (
        "vit.encoder.layer.#.attention.attention.key.bias",
        "vit.encoder.layer.#.attention.attention.key.weight",
    )),
    "ViTMAEForPreTraining vit_mae": ("5.12.0", "5.24.0", (
        "vit.encoder.layer.#.attention.attention.key.bias",
        "vit.encoder.layer.#.attention.attention.key.weight",
    )),
    "ViTMAEModel vit_mae": ("5.12.0", "5.24.0", (
        "encoder.layer.#.attention.attention.key.bias",
        "encoder.layer.#.attention.attention.key.weight",
    )),
    "ViTMSNForImageClassification vit_msn": ("5.12.0", "5.24.0", (
        "encoder.layer.#.attention.attention.key.bias",
        "encoder.layer.#.attention.attention.key.weight",
    )),
    "ViTMSNModel vit_msn": ("5.12.0", "5.24.0", (
        "encoder.layer.#.attention.attention.key.bias",
        "encoder.layer.#.attention.attention.key.weight",
    )),
    "ViTModel vit": ("5.12.0", "5.24.0", (
        "encoder.layer.#.attention.attention.key.bias",
        "encoder.layer.#.attention.attention.key.weight",
    )),
    "VibeVoiceAsrForConditionalGeneration vibevoice_asr": ("5.12.0", "5.24.0", (
        "acoustic_tokenizer_encoder.conv_layers.#.stage.#.ffn.linear1.bias",
        "acoustic_tokenizer_encoder.conv_layers.#.stage.#.ffn.linear1.weight",
    )),
    "VideoLlavaForConditionalGeneration video_llava": ("4.57.6", "5.24.0", (
        "language_model.model.layers.#.input_layernorm.weight",
        "language_model.model.layers.#.mlp.down_proj.weight",
    )),
    "VideoMAEForPreTraining videomae": ("5.24.0", "5.24.0", (
        "videomae.encoder.layer.#.attention.attention.q_bias",
        "videomae.encoder.layer.#.attention.attention.v_bias",
    )),
    "VideoMAEForVideoClassification videomae": ("5.24.0", "5.24.0", (
        "videomae.encoder.layer.#.attention.attention.q_bias",
        "videomae.encoder.layer.#.attention.attention.v_bias",
    )),
    "VideoMAEModel videomae": ("5.24.0", "5.24.0", (
        "encoder.layer.#.attention.attention.q_bias",
        "encoder.layer.#.attention.attention.v_bias",
    )),
    "VipLlavaForConditionalGeneration vipllava": ("4.57.6", "5.24.0", (
        "language_model.model.layers.#.input_layernorm.weight",
        "language_model.model.layers.#.mlp.down_proj.weight",
    )),
    "VivitForVideoClassification vivit": ("5.12.0", "5.24.0", (
        "vivit.encoder.layer.#.attention.attention.key.bias",
        "vivit.encoder.layer.#.attention.attention.key.weight",
    )),
    "VivitModel vivit": ("5.12.0", "5.24.0", (
        "encoder.layer.#.attention.attention.key.bias",
        "encoder.layer.#.attention.attention.key.weight",
    )),
    "VoxtralForConditionalGeneration voxtral": ("5.12.0", "5.24.0", (
        "audio_tower.layers.#.fc1.bias",
        "audio_tower.layers.#.fc1.weight",
    )),
    "VoxtralRealtimeForConditionalGeneration voxtral_realtime": ("5.12.0", "5.24.0", (
        "audio_tower.layers.#.final_layer_norm.weight",
        "audio_tower.layers.#.mlp.down_proj.bias",
    )),
    "YolosForObjectDetection yolos": ("5.24.0", "5.24.0", (
        "vit.encoder.mid_position_embeddings",
    )),
    "YolosModel yolos": ("5.24.0", "5.24.0", (
        "encoder.mid_position_embeddings",
    )),
}
# fmt: on
"""By class and model type: the first and the last version, and patterns of names on disk."""
