// The models with a name, and how they are trained when nothing else is said.
#pragma once

#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "models/llama_config.h"

namespace trine {

// What a model brings besides its sizes. These are the ones of a config.json that we know nothing about.
struct TrainingDefaults {
  int64_t seq = 2048;
  int64_t global_batch = 32;  // sequences per step
  double lr = 3e-4;
  int64_t steps = 1000;
  bool benchmark = false;  // one microbatch, and random tokens where no data is given

  bool operator==(const TrainingDefaults&) const = default;
};

struct Preset {
  std::string_view name;
  LlamaConfig model;
  TrainingDefaults training;
};

std::span<const Preset> presets();
const Preset* find_preset(std::string_view name);  // nullptr if there is none
std::vector<std::string> preset_names();

}  // namespace trine
