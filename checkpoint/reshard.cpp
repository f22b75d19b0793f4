#include "checkpoint/reshard.h"

#include "base/error.h"
#include "checkpoint/new_checkpoint.h"
#include "checkpoint/owned_tensors.h"
#include "checkpoint/saved_model.h"
#include "plan/config/layouts.h"
#include "plan/plan.h"

namespace trine {
namespace {

// As much of a configuration as decides which rank has what.
Config layout_config(const SavedModel& model, const SavedLayout& target) {
  constexpr int64_t kMaxRanks = 1 << 20;
  for (const int64_t size : {target.tp, target.pp, target.dp, target.vpp})
    if (size < 1 || size > kMaxRanks)
      throw ConfigError(fmt::format("[flags] --tp, --pp, --dp and --vpp need 1 to {}, not {}.", kMaxRanks, size));
  Config config;
  config.model_name = "the checkpoint's model";
  config.model = model.config;
  config.dtype = model.dtype;
  config.seq = model.seq;
  config.tp = static_cast<int>(target.tp);
  config.pp = static_cast<int>(target.pp);
  config.vpp = static_cast<int>(target.vpp);
  if (config.vpp > 1) config.schedule = ScheduleKind::kInterleaved;
  config.zero = static_cast<int>(target.zero);
  config.mesh = {.pp = config.pp, .dp = static_cast<int>(target.dp), .tp = config.tp};
  config.sequence_parallel = config.tp > 1;
  config.micro_batch = 1;
  config.global_batch = target.pp * target.dp;
  Problems problems;
  validate(config.model, problems);
  if (target.tp * target.pp > kMaxRanks / target.dp) problems.add("flags", "more than {} ranks.", kMaxRanks);
  if (problems.empty()) validate_layout(config, config.mesh.num_ranks(), problems);
  problems.throw_if_any();
  return config;
}

nlohmann::json resharded_config(nlohmann::json config, const SavedLayout& target) {
  config["tp"] = target.tp;
  config["pp"] = target.pp;
  config["zero"] = target.zero;
  config["sp"] = target.tp > 1;
  config["vpp"] = target.vpp;
  config["schedule"] = target.vpp > 1 ? "interleaved" : "1f1b";
  config.erase("dp");
  return config;
}

// The rank's slices in `staging`, in their order.
std::vector<Slice> stage(Checkpoint& source, std::vector<OwnedTensor> tensors, Staging& staging) {
  std::vector<Slice> slices;
  std::vector<int64_t> offsets;
  for (OwnedTensor& tensor : tensors) {
    const TensorEntry& entry = source.tensor(tensor.kind, tensor.name);
    if (entry.shape != tensor.shape || entry.dtype != DType::kF32)
      throw DataError(fmt::format("[checkpoint] {}: {} of {} is not f32 {}. Use another checkpoint.",
                                  source.folder().string(), name(tensor.kind), tensor.name,
                                  to_string(tensor.shape)));
    offsets.push_back(staging.size());
    read_blocks(source, entry, tensor.boxes,
                [&](std::span<const float> block) { staging.append(std::as_bytes(block)); });
    slices.push_back({std::move(tensor.name), tensor.kind, DType::kF32, std::move(tensor.shape),
                      std::move(tensor.boxes), nullptr});
  }
  if (slices.empty()) return slices;
  const std::byte* const data = staging.map();
  for (size_t i = 0; i < slices.size(); ++i) slices[i].data = data + offsets[i];
  return slices;
}

}  // namespace

std::filesystem::path reshard(Checkpoint& source, const std::filesystem::path& folder, const SavedLayout& target) {
  const Config config = layout_config(saved_model(source), target);
  const Plan plan = build_plan(config);
  const Manifest& manifest = source.manifest();
  SaveJob job;
  job.num_ranks = config.mesh.num_ranks();
  job.state = manifest.state;
  job.layout = target;
  job.config = resharded_config(manifest.config, target);
  NewCheckpoint checkpoint(folder, std::move(job));
  std::filesystem::path path;
  for (int rank = config.mesh.num_ranks() - 1; rank >= 0; --rank) {
    const Coordinate at = config.mesh.coordinate(rank);
    Staging staging = checkpoint.staging();
    const auto tensors = owned_tensors(plan.stages[static_cast<size_t>(at.pp)].graph, at);
    path = checkpoint.write(rank, stage(source, tensors, staging));
  }
  return path;
}

}  // namespace trine
