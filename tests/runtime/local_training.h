// Trains on ranks that are threads of this process, and puts the model together again.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "comm/device_group.h"
#include "plan/config/config.h"
#include "runtime/state/parameters.h"

namespace trine {

struct TrainingRun {
  std::vector<double> losses, norms;
  std::map<std::string, std::vector<float>> masters;  // whole logical tensors
  std::vector<int64_t> wire_bytes;                   // sent by each rank in its last step, by Group: 5 numbers each
  std::vector<double> touched;                       // by rank: the share of its arena's pages with a byte written
  bool operator==(const TrainingRun& other) const {  // bit for bit
    return losses == other.losses && norms == other.norms && masters == other.masters;
  }
};

// As train_llama reads flags, on `ranks` ranks: "--tp 2 --pp 2". ConfigError.
Config config_of(int ranks, const std::string& flags);

// A step's samples of the whole global batch, row-major [global_batch, seq].
struct Batch {
  std::vector<int32_t> ids, labels;
  float lr = 1e-3f;
};
using BatchSource = std::function<Batch(int step)>;
BatchSource random_batches(const Config& config);

// What a rank runs on; without `world` its collectives and messages pass through the host.
struct RankDevice {
  std::unique_ptr<Backend> backend;
  std::unique_ptr<DeviceWorld> world;
};
using DeviceMaker = std::function<RankDevice(CommWorld& world, const Config& config)>;

// `weights`: the first values; empty: initial_values with config.seed. `devices`: empty: the CPU.
TrainingRun train_locally(const Config& config, int steps, const BatchSource& batches,
                          const ParameterSource& weights = {}, const DeviceMaker& devices = {});

}  // namespace trine
