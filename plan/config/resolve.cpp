#include <algorithm>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "base/file_system.h"
#include "base/shape.h"
#include "base/text.h"
#include "models/presets.h"
#include "plan/config/flag_table.h"
#include "plan/config/named_model.h"

namespace trine {
namespace {

namespace fs = std::filesystem;

constexpr double kDefaultTextValidFraction = 0.05;
constexpr int64_t kLargeModel = 1'000'000'000;  // parameters

bool has(const GivenFlags& given, std::string_view name) { return given.contains(name); }

// `pad` changes nothing here, and older files have none.
bool describes_whole_model(const GivenFlags& given) {
  return std::ranges::all_of(flag_table(), [&](const Flag& flag) {
    return flag.group != "Model" || flag.name == "pad" || has(given, flag.name);
  });
}

// Fills model and model_name, and returns what the model brings for training.
TrainingDefaults choose_model(const GivenFlags& given, Config& config, Problems& problems) {
  std::string where = "flags";
  config.model_name = "tiny";
  for (const char* flag : {"load-weights", "model"})
    if (const auto it = given.find(flag); it != given.end())
      config.model_name = it->second.texts.back(), where = it->second.where;

  // A run folder's config.json says everything, so it outlives the model's folder.
  if (!find_preset(config.model_name) && describes_whole_model(given)) return {};
  const NamedModel named = named_model(config.model_name, where, problems);
  config.model = named.model;
  return named.training;
}

void apply(const GivenFlags& given, Config& config, Problems& problems) {
  for (const Flag& flag : flag_table()) {
    const auto it = given.find(flag.name);
    if (it == given.end() || flag.set(config, it->second.texts)) continue;
    problems.add(it->second.where, "--{} got '{}' but needs {}.", flag.name, it->second.texts.back(), flag.needs);
  }
}

void derive_head_dim(const GivenFlags& given, LlamaConfig& model, Problems& problems) {
  if (has(given, "head-dim") || (!has(given, "hidden") && !has(given, "heads"))) return;
  if (model.heads < 1 || model.hidden < 1) return;  // validate() says so
  if (model.hidden % model.heads != 0)
    problems.add("model", "hidden {} is not a multiple of {} heads. Change one, or give --head-dim.", model.hidden,
                 model.heads);
  else
    model.head_dim = model.hidden / model.heads;
}

bool is_large(const LlamaConfig& model) {
  Problems problems;
  validate(model, problems);  // the product of sizes that are not valid may not fit 64 bits
  return problems.empty() && parameter_count(model) >= kLargeModel;
}

// The largest that divides a dp rank's batch and leaves 4 pp microbatches, which keeps the pipeline's bubble small.
// A sequence of a large model is work enough, and the activations of several seldom fit. The machine is not asked:
// the microbatch decides the order of sums, so it decides bits.
int64_t default_micro_batch(const Config& config, bool benchmark) {
  if (is_large(config.model)) return 1;
  const int64_t batch = config.global_batch / config.mesh.dp;
  if (benchmark) return std::max<int64_t>(1, batch);
  int64_t size = std::max<int64_t>(1, batch / (4 * config.mesh.pp));
  while (size > 1 && batch % size != 0) --size;
  return size;
}

std::string default_out(const std::string& model, const std::string& time) {
  if (find_preset(model)) return fmt::format("runs/{}-{}", model, time);
  fs::path path = fs::path(model).lexically_normal();
  if (path.filename() == "config.json" || path.filename().empty()) path = path.parent_path();
  const std::string stem = path.filename().string();
  return fmt::format("runs/{}-{}", stem.empty() || stem == "." || stem == ".." ? "model" : stem, time);
}

int64_t count_ranks(const Config& config, const LaunchInfo& launch) {
  if (config.planned_ranks && config.dry_run) return *config.planned_ranks;
  return launch.num_ranks > 1 ? launch.num_ranks : std::max(1, config.local_ranks);
}

void derive(const GivenFlags& given, const LaunchInfo& launch, const TrainingDefaults& training, int num_ranks,
            Config& config) {
  const auto unless = [&](std::string_view name, auto& field, auto value) {
    if (!has(given, name)) field = value;
  };
  config.mesh = {.pp = std::max(1, config.pp), .dp = 1, .tp = std::max(1, config.tp)};
  config.mesh.dp = static_cast<int>(std::max<int64_t>(1, num_ranks / (int64_t{config.mesh.pp} * config.mesh.tp)));

  unless("max-position", config.model.max_position, std::max(config.model.max_position, config.seq));
  unless("min-lr", config.min_lr, config.lr / 10);
  unless("warmup", config.warmup, config.steps / 20);
  unless("loss-scale", config.loss_scale, LossScale{.dynamic = config.dtype == DType::kF16});
  unless("micro-batch", config.micro_batch, default_micro_batch(config, training.benchmark));
  unless("sp", config.sequence_parallel, config.tp > 1);
  unless("zero", config.zero, config.mesh.dp > 1 ? 1 : 0);
  int ranks_on_host = std::max(1, launch.ranks_on_host) * std::max(1, config.local_ranks), cores = launch.cores;
  if (const ClusterCores& cluster = launch.cluster; cluster.cores > 0 && config.dry_run)
    cores = cluster.cores, ranks_on_host = static_cast<int>(div_up(num_ranks, std::max(1, cluster.hosts)));
  else if (!config.cluster.empty() && config.dry_run)
    unless("device", config.device, DeviceKind::kCuda);
  else if (!config.emulate_links.empty() && config.dry_run)
    ranks_on_host = num_ranks;
  unless("threads", config.threads, std::max(1, cores / ranks_on_host));
  unless("out", config.out, config.looks_only() ? "." : default_out(config.model_name, launch.time));

  config.random_tokens = training.benchmark && config.data.empty();
  const bool default_text = config.data.empty() && !config.random_tokens;
  unless("valid-fraction", config.valid_fraction,
         default_text && config.valid_data.empty() && !config.rehearsal ? kDefaultTextValidFraction : 0.0);
}

// config.json and checkpoints keep what was given as JSON, which knows only UTF-8.
void require_utf8(const GivenFlags& given, Problems& problems) {
  for (const auto& [name, flag] : given) {
    for (const std::string& text : flag.texts) {
      const std::string shown = nlohmann::json(text).dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
      if (nlohmann::json::parse(shown) == text) continue;
      problems.add(
          flag.where,
          "--{} is {}: names must be UTF-8, as config.json and checkpoints keep them. Rename it, or give a "
          "link to it (ln -s).",
          name, shown);
    }
  }
}

}  // namespace

Config resolve(const GivenFlags& given, const LaunchInfo& launch) {
  Problems problems;
  Config config;
  require_utf8(given, problems);
  const TrainingDefaults training = choose_model(given, config, problems);
  config.seq = training.seq;
  config.global_batch = training.global_batch;
  config.lr = training.lr;
  config.steps = training.steps;
  const std::string model_name = config.model_name;  // --load-weights may have given it
  apply(given, config, problems);
  config.model_name = model_name;
  derive_head_dim(given, config.model, problems);
  const int num_ranks = static_cast<int>(std::clamp<int64_t>(count_ranks(config, launch), 1, 1 << 24));
  derive(given, launch, training, num_ranks, config);

  if (launch.num_ranks > 1 && config.local_ranks > 1)
    problems.add(
        "flags",
        "--local-ranks {} within {} ranks of a launcher: ranks are threads of one process, or processes of "
        "mpirun or srun. Leave out --local-ranks, or the launcher.",
        config.local_ranks, launch.num_ranks);
  const bool on_gpu = config.device == DeviceKind::kCuda, on_cpu = config.device == DeviceKind::kCpu;
  const bool of_cpus = launch.cluster.cores > 0;
  if (!config.looks_only() && !config.cluster.empty() && (of_cpus ? on_gpu : on_cpu))
    problems.add("flags",
                 "--cluster {} has {}, but --device is {}, and a run's MFU is a share of its own cluster's peak. "
                 "Leave it out, or add --dry-run to predict.",
                 config.cluster, of_cpus ? "CPUs" : "GPUs", name(config.device));
  validate(config, num_ranks, problems);
  problems.throw_if_any();
  return config;
}

}  // namespace trine
