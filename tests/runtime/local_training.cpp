#include "tests/runtime/local_training.h"

#include <mutex>
#include <sstream>

#include "comm/local/local_ranks.h"
#include "data/sampler.h"
#include "plan/flags.h"
#include "plan/plan.h"
#include "runtime/comm_lanes.h"
#include "runtime/executor.h"

namespace trine {

Config config_of(int ranks, const std::string& flags) {
  std::istringstream stream("train_llama " + flags);
  std::vector<std::string> words;
  for (std::string word; stream >> word;) words.push_back(word);
  std::vector<const char*> argv;
  for (const std::string& word : words) argv.push_back(word.c_str());
  const LaunchInfo launch{.num_ranks = ranks, .ranks_on_host = ranks, .cores = 1, .time = "now"};
  return std::get<Config>(parse_train_flags(static_cast<int>(argv.size()), argv.data(), launch, "test"));
}

BatchSource random_batches(const Config& config) {
  return [vocab = static_cast<int32_t>(config.model.vocab), count = config.tokens_per_step()](int step) {
    const RandomTokens tokens(vocab, 17);
    Batch batch;
    batch.ids.resize(static_cast<size_t>(count));
    batch.labels.resize(batch.ids.size());
    tokens.read(step * count, count, batch.ids.data());
    tokens.read(step * count + 1, count, batch.labels.data());
    return batch;
  };
}

namespace {

HostStep part_of(const Batch& batch, const Mesh& mesh, int dp) {
  const size_t count = batch.ids.size() / static_cast<size_t>(mesh.dp), begin = count * static_cast<size_t>(dp);
  return {.ids = std::span(batch.ids).subspan(begin, count),
          .labels = std::span(batch.labels).subspan(begin, count),
          .lr = batch.lr,
          .loss_scale = 1};
}

}  // namespace

TrainingRun train_locally(const Config& config, int steps, const BatchSource& batches,
                          const ParameterSource& weights) {
  const Plan plan = build_plan(config);
  TrainingRun run;
  run.wire_bytes.resize(static_cast<size_t>(config.mesh.num_ranks()) * kGroups.size());
  std::mutex mutex;
  for (const StagePlan& stage : plan.stages)
    for (const State& state : stage.graph.states())
      if (state.role == StateRole::kParameter && !state.name.starts_with("bucket."))
        run.masters[state.name].resize(static_cast<size_t>(state.type.shape.num_elements()));
  run_local_ranks(config.mesh.num_ranks(), [&](Fabric& fabric) {
    CommWorld world(fabric, config.mesh, std::chrono::seconds(60));
    CommLanes lanes(world);
    const StagePlan& stage = plan.stages[static_cast<size_t>(world.coordinate().pp)];
    const auto backend = make_cpu_backend(config.threads);
    TraceRecorder trace(1 << 12);
    Executor executor(stage, config, world.coordinate(), *backend, trace, &lanes, std::byte{0xFF});
    set_parameters(executor,
                   weights ? weights : initial_values(stage.graph, static_cast<uint64_t>(config.seed)), 1);
    std::array<int64_t, kGroups.size()> sent{};
    for (int step = 0; step < steps; ++step) {
      for (Group group : kGroups) sent[static_cast<size_t>(group)] = world[group].bytes_sent();
      const Batch batch = batches(step);
      const StepResult result = executor.train_step(part_of(batch, config.mesh, world.coordinate().dp), step + 1);
      if (fabric.rank() == 0) run.losses.push_back(result.loss), run.norms.push_back(result.grad_norm);
    }
    for (Group group : kGroups)
      run.wire_bytes[static_cast<size_t>(fabric.rank()) * kGroups.size() + static_cast<size_t>(group)] =
          world[group].bytes_sent() - sent[static_cast<size_t>(group)];
    const std::lock_guard lock(mutex);
    read_masters(executor, [&](const std::string& name, int64_t begin, std::span<const float> values) {
      std::copy(values.begin(), values.end(), run.masters.at(name).begin() + begin);
    });
  });
  return run;
}

}  // namespace trine
