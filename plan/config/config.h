// Everything a run is made of, resolved: the one description that plan, data, training and the run folder read.
// Flags (plan/config/flags.h) and presets (models/presets.h) fill it; nothing else is looked up later.
#pragma once

#include <algorithm>
#include <array>
#include <chrono>
#include <cmath>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/device.h"
#include "base/dtype.h"
#include "base/error.h"
#include "base/mesh.h"
#include "models/llama_config.h"
#include "parallel/schedules/schedule.h"

namespace trine {

// Enums that people write. enum_names() lists them in the order of the values.
enum class LrSchedule { kCosine, kLinear, kConstant };
enum class OnNonFinite { kStop, kSkip };
using ScheduleKind = PipelineKind;
// What pipeline stages have alike: their time by FLOPs, their layers, or their layers with embedding and head as one
// each (Megatron-LM's --account-for-embedding-in-pipeline-split and --account-for-loss-in-pipeline-split).
enum class StageSplit { kCost, kLayers, kLayersAndEnds };
enum class CommKind { kAuto, kMpi, kNccl };
enum class TraceFormat { kJsonGz, kJson };
enum class Detail { kAction, kNode };  // of a simulation (analysis/simulator.h)
// What goes with a prediction (analysis/planner/planner.h): what would shorten the step, other layouts or not.
enum class WhatIfs { kAll, kLayout, kOff };

constexpr auto enum_names(LrSchedule) { return std::to_array<std::string_view>({"cosine", "linear", "constant"}); }
constexpr auto enum_names(OnNonFinite) { return std::to_array<std::string_view>({"stop", "skip"}); }
constexpr auto enum_names(ScheduleKind) {
  return std::to_array<std::string_view>({"gpipe", "1f1b", "interleaved", "zero-bubble"});
}
constexpr auto enum_names(StageSplit) {
  return std::to_array<std::string_view>({"cost", "layers", "layers-and-ends"});
}
constexpr auto enum_names(DeviceKind) { return std::to_array<std::string_view>({"cpu", "cuda"}); }
constexpr auto enum_names(AttentionKind) { return std::to_array<std::string_view>({"auto", "cudnn", "plain"}); }
constexpr auto enum_names(GraphKind) { return std::to_array<std::string_view>({"auto", "on", "off"}); }
constexpr auto enum_names(CommKind) { return std::to_array<std::string_view>({"auto", "mpi", "nccl"}); }
constexpr auto enum_names(Detail) { return std::to_array<std::string_view>({"action", "node"}); }
constexpr auto enum_names(WhatIfs) { return std::to_array<std::string_view>({"all", "layout", "off"}); }
constexpr auto enum_names(TraceFormat) { return std::to_array<std::string_view>({"json.gz", "json"}); }

template <typename E>
concept NamedEnum = requires(E e) {
  enum_names(e);
};

template <NamedEnum E>
constexpr std::string_view name(E value) {
  return enum_names(value)[static_cast<size_t>(value)];
}
template <NamedEnum E>
constexpr std::optional<E> parse_enum(std::string_view text) {
  for (size_t i = 0; i < enum_names(E{}).size(); ++i)
    if (enum_names(E{})[i] == text) return static_cast<E>(i);
  return std::nullopt;
}

// fp16 multiplies the loss to keep small gradients above zero; "dynamic" finds the factor while training.
struct LossScale {
  bool dynamic = false;
  double value = 1;  // of a fixed scale; a dynamic one ignores it
  bool operator==(const LossScale&) const = default;
};

// What forward keeps for backward. kGroup keeps the input of each `group` layers; full is group:1.
struct Recompute {
  enum class Kind { kNone, kSelective, kGroup, kFull, kAuto };
  Kind kind = Kind::kNone;
  int64_t group = 1;
  bool operator==(const Recompute&) const = default;
};

// The steps (from 1, both ends included) whose trace is written.
struct TraceSteps {
  int64_t first = 1;
  int64_t last = 0;
  bool contains(int64_t step) const { return step >= first && step <= last; }
  bool any() const { return last >= first; }
  static TraceSteps all() { return {1, INT64_MAX}; }
  bool operator==(const TraceSteps&) const = default;
};

// Ranks as people list them: "0,3,8:15", both ends included; none: all.
struct RankList {
  struct Range {
    int first = 0, last = 0;
    bool operator==(const Range&) const = default;
  };
  std::vector<Range> ranges;
  bool contains(int rank) const {
    return ranges.empty() ||
           std::ranges::any_of(ranges, [&](Range range) { return range.first <= rank && rank <= range.last; });
  }
  int highest() const {  // -1 of an empty list
    int highest = -1;
    for (const Range& range : ranges) highest = std::max(highest, range.last);
    return highest;
  }
  bool operator==(const RankList&) const = default;
};

// Seconds as a wait has them: from a millisecond to three years, which no clock overflows.
inline constexpr double kShortestTimeoutS = 1e-3, kLongestTimeoutS = 1e8;
inline std::chrono::milliseconds to_timeout(double seconds) {
  return std::chrono::milliseconds(
      static_cast<int64_t>(std::ceil(std::clamp(seconds, kShortestTimeoutS, kLongestTimeoutS) * 1e3)));
}

struct Bytes {
  int64_t count = 0;
  bool operator==(const Bytes&) const = default;
};

struct Config {
  // Model: what --model said, and the sizes that came of it.
  std::string model_name;
  LlamaConfig model;
  // Batch. global_batch = micro_batch * num_microbatches * dp, in sequences of `seq` tokens.
  int64_t seq = 0;
  int64_t micro_batch = 0;
  int64_t global_batch = 0;
  // Training.
  int64_t steps = 0;
  double lr = 0;
  double min_lr = 0;
  int64_t warmup = 0;  // steps
  LrSchedule lr_schedule = LrSchedule::kCosine;
  double weight_decay = 0.1;  // on matrices and embeddings, not on norms
  double beta1 = 0.9;
  double beta2 = 0.95;
  double eps = 1e-8;
  double clip = 1.0;  // of the global gradient norm; 0: never
  int64_t seed = 1234;
  bool eval_only = false;
  std::optional<double> time_limit_s;
  // Precision.
  DType dtype = DType::kBF16;
  LossScale loss_scale;
  OnNonFinite on_non_finite = OnNonFinite::kStop;
  // Parallelism. `mesh` follows from the number of ranks; expected_dp is only compared with it.
  Mesh mesh;
  int tp = 1;
  int pp = 1;
  std::optional<int> expected_dp;
  int vpp = 1;  // stages per pipeline rank
  ScheduleKind schedule = ScheduleKind::k1F1B;
  StageSplit stage_split = StageSplit::kCost;
  bool sequence_parallel = false;
  int zero = 0;
  DType grad_reduce = DType::kF32;
  // Memory.
  Recompute recompute;
  std::optional<Bytes> memory_budget;
  // Device.
  DeviceKind device = DeviceKind::kCpu;
  bool rehearsal = false;  // device is kCuda, and stands for one of `cluster` that only takes its time
  KernelOptions kernels;
  CommKind comm = CommKind::kAuto;
  int local_ranks = 1;
  int threads = 1;  // per rank
  double timeout_s = 120;
  // Data. No `data`: the default text, or random tokens for a benchmark model.
  std::vector<std::string> data;
  std::string valid_data;     // empty: none
  double valid_fraction = 0;  // of the data, from its end
  std::string tokenizer = "bytes";
  bool shuffle = true;
  int64_t valid_interval = 50;  // steps
  int64_t valid_batches = 4;    // of global_batch sequences
  bool random_tokens = false;
  // Run folder.
  std::string out;
  std::optional<int64_t> save_interval;
  std::string save;  // empty: in the run folder
  std::optional<int> keep;
  std::optional<std::string> resume;  // "auto" without resume_saves: begins, in `out` itself
  std::string resume_folder;          // what `resume` means: the run that goes on; empty: a new one
  std::string resume_saves;           // the folder of the checkpoints to go on from; empty: from none
  std::string resume_checkpoint;      // empty: the newest good one of them
  std::string resume_warning;         // what the user is to know of it
  std::string load_weights;           // empty: random initial values
  // Observe.
  TraceSteps trace;
  TraceFormat trace_format = TraceFormat::kJsonGz;
  RankList trace_ranks;
  Bytes trace_limit{int64_t{256} << 20};  // of each rank's file
  int64_t log_interval = 10;
  bool tensorboard = true;
  bool quiet = false;
  // Look, don't train.
  bool dry_run = false;
  bool json = false;  // of a dry run
  std::optional<int> planned_ranks;
  // Of a dry run, a cluster that is not here; of a run, the one it is on, for its peak: a built-in profile's name or
  // a file (cluster/profile.h). Numbers of it that are changed ("device.memory_gib=80"), and ranks that are slower than others ("3:1.5").
  std::string cluster;
  std::vector<std::string> cluster_changes;
  std::vector<std::string> slow_ranks;
  double jitter = 0;    // of a rehearsal's kernels: the standard deviation of their lengths' logarithm
  double speed_up = 1;  // a rehearsal's times are divided by it
  // Of a run on CPUs: the cluster whose links its collectives and messages are paced to, and by how much they are
  // slower than there; not yet known: as much as these CPUs' kernels are.
  std::string emulate_links;
  std::optional<double> dilation;
  std::string predict_trace;  // the folder for the predicted trace's files
  std::optional<Detail> detail;
  std::optional<WhatIfs> what_if;
  bool print_graph = false;
  bool print_memory = false;
  bool print_schedule = false;
  bool print_program = false;
  bool print_plan = false;
  std::vector<std::string> dump_passes;
  std::vector<std::string> disabled_passes;

  bool looks_only() const {
    return dry_run || print_graph || print_memory || print_schedule || print_program || print_plan;
  }
  std::chrono::milliseconds timeout() const { return to_timeout(timeout_s); }
  bool saves() const { return save_interval.has_value() || !save.empty(); }
  int64_t num_microbatches() const { return global_batch / (micro_batch * mesh.dp); }  // per dp rank and step
  int64_t tokens_per_step() const { return global_batch * seq; }
  bool operator==(const Config&) const = default;
};

// Of a cluster whose cores compute: how many cores a host has. 0 cores: GPUs compute.
struct ClusterCores {
  int cores = 0, hosts = 1;
};

// The surroundings that defaults depend on. The caller asks MPI and the machine; nothing here does.
struct LaunchInfo {
  int num_ranks = 1;      // of mpirun
  int ranks_on_host = 1;  // on this machine
  int cores = 1;          // that this machine lets us use
  std::string time;       // names the run folder: "20250131-235959"
  ClusterCores cluster;   // of --cluster, in a dry run
};

// Adds every problem of the configuration itself; files are not opened. `num_ranks` counts --local-ranks.
void validate(const Config& config, int num_ranks, Problems& problems);

}  // namespace trine
