#include "models/presets.h"

namespace trine {
namespace {

// Byte tokenizer: 0-255, 256 begins a document, 257 ends it, 258 pads.
constexpr int64_t kByteVocab = 259;

LlamaConfig llama(int64_t layers, int64_t hidden, int64_t heads, int64_t kv_heads, int64_t ffn, int64_t vocab) {
  LlamaConfig config{
      .layers = layers,
      .hidden = hidden,
      .heads = heads,
      .kv_heads = kv_heads,
      .head_dim = hidden / heads,
      .ffn = ffn,
      .vocab = vocab,
      .bos = 1,
      .eos = {2},
  };
  if (vocab == kByteVocab) config.bos = 256, config.eos = {257}, config.pad = 258;
  return config;
}

LlamaConfig llama2(int64_t layers, int64_t hidden, int64_t heads, int64_t kv_heads, int64_t ffn) {
  LlamaConfig config = llama(layers, hidden, heads, kv_heads, ffn, 32000);
  config.max_position = 4096;
  return config;
}

LlamaConfig llama3(int64_t layers, int64_t hidden, int64_t heads, int64_t kv_heads, int64_t ffn) {
  LlamaConfig config = llama(layers, hidden, heads, kv_heads, ffn, 128256);
  config.rope_theta = 5e5;
  config.max_position = 8192;
  config.bos = 128000;
  config.eos = {128001};
  return config;
}

// The published runs saw 2 T (LLaMA-2) and 15 T tokens (LLaMA-3).
constexpr TrainingDefaults llama2_run(double lr) {
  return {.seq = 4096, .global_batch = 1024, .lr = lr, .steps = 480'000};
}
constexpr TrainingDefaults llama3_run(double lr) {
  return {.seq = 8192, .global_batch = 1024, .lr = lr, .steps = 1'800'000};
}

}  // namespace

std::span<const Preset> presets() {
  static const std::vector<Preset> kPresets = {
      {"tiny", llama(8, 128, 4, 2, 344, kByteVocab), {.seq = 128, .global_batch = 32, .lr = 2e-3, .steps = 300}},
      {"small",
       llama(12, 512, 8, 4, 1376, kByteVocab),
       {.seq = 256, .global_batch = 32, .lr = 1e-3, .steps = 1000}},
      {"llama2-7b", llama2(32, 4096, 32, 32, 11008), llama2_run(3e-4)},
      {"llama2-13b", llama2(40, 5120, 40, 40, 13824), llama2_run(3e-4)},
      {"llama2-70b", llama2(80, 8192, 64, 8, 28672), llama2_run(1.5e-4)},
      {"llama3-8b", llama3(32, 4096, 32, 8, 14336), llama3_run(3e-4)},
      {"llama3-70b", llama3(80, 8192, 64, 8, 28672), llama3_run(1.5e-4)},
      {"bench-s",
       llama(8, 256, 8, 4, 688, 4096),
       {.seq = 256, .global_batch = 8, .lr = 3e-4, .steps = 20, .benchmark = true}},
      {"bench-m",
       llama(12, 768, 12, 4, 2048, 32000),
       {.seq = 256, .global_batch = 4, .lr = 3e-4, .steps = 20, .benchmark = true}},
  };
  return kPresets;
}

const Preset* find_preset(std::string_view name) {
  for (const Preset& preset : presets())
    if (preset.name == name) return &preset;
  return nullptr;
}

std::vector<std::string> preset_names() {
  std::vector<std::string> names;
  for (const Preset& preset : presets()) names.emplace_back(preset.name);
  return names;
}

}  // namespace trine
