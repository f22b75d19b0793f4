#include "tests/runtime/local_training.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <mutex>
#include <sstream>
#include <stdexcept>

#include "comm/local/local_ranks.h"
#include "data/sampler.h"
#include "parallel/buckets.h"
#include "plan/config/flags.h"
#include "plan/plan.h"
#include "runtime/step/comm_lanes.h"
#include "runtime/step/executor.h"
#include "runtime/step/fit_workspace.h"

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

constexpr std::byte kFill{0xFF};  // NaN in every type

double touched(std::span<const std::byte> arena) {
  constexpr size_t kPage = 4096;
  size_t bytes = 0;
  for (size_t begin = 0; begin < arena.size(); begin += kPage) {
    const std::span<const std::byte> page = arena.subspan(begin, std::min(kPage, arena.size() - begin));
    if (std::ranges::any_of(page, [](std::byte byte) { return byte != kFill; })) bytes += page.size();
  }
  return static_cast<double>(bytes) / static_cast<double>(arena.size());
}

constexpr float kMissing = std::numeric_limits<float>::quiet_NaN();

// Replicas must be alike, bit for bit.
void put_together(const std::string& name, std::span<float> whole, std::span<const float> part) {
  for (size_t i = 0; i < part.size(); ++i) {
    if (!std::isnan(whole[i]) && whole[i] != part[i]) throw std::runtime_error("ranks differ in " + name);
    whole[i] = part[i];
  }
}

}  // namespace

TrainingRun train_locally(const Config& config, int steps, const BatchSource& batches,
                          const ParameterSource& weights, const DeviceMaker& devices) {
  Plan plan = build_plan(config);
  if (!devices) fit_workspace(plan, *make_cpu_backend(config.threads));
  TrainingRun run;
  run.touched.resize(static_cast<size_t>(config.mesh.num_ranks()));
  run.wire_bytes.resize(static_cast<size_t>(config.mesh.num_ranks()) * kGroups.size());
  std::mutex mutex;
  for (const StagePlan& stage : plan.stages)
    for (const StateId bucket : buckets(stage.graph))
      for (const StateId parameter : parameters_in(stage.graph, bucket))
        run.masters[stage.graph[parameter].name].assign(
            static_cast<size_t>(stage.graph[parameter].type.shape.num_elements()), kMissing);
  run_local_ranks(config.mesh.num_ranks(), [&](Fabric& fabric) {
    CommWorld world(fabric, config.mesh, std::chrono::seconds(60));
    RankDevice device = devices ? devices(world, config) : RankDevice{make_cpu_backend(config.threads), nullptr};
    CommLanes lanes(world);
    if (device.world) lanes.talk_on_device(std::move(device.world), std::chrono::seconds(60));
    const StagePlan& stage = plan.stages[static_cast<size_t>(world.coordinate().pp)];
    TraceRecorder trace(1 << 12);
    Executor executor(stage, config, world.coordinate(), *device.backend, trace, &lanes, kFill);
    set_parameters(executor, weights ? weights : initial_values(stage.graph, static_cast<uint64_t>(config.seed)),
                   1);
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
    if (!devices) run.touched[static_cast<size_t>(fabric.rank())] = touched(executor.arena());
    const std::lock_guard lock(mutex);
    read_masters(executor, [&](const std::string& name, int64_t begin, std::span<const float> values) {
      put_together(name, std::span(run.masters.at(name)).subspan(static_cast<size_t>(begin), values.size()),
                   values);
    });
  });
  for (const auto& [name, values] : run.masters)
    if (std::any_of(values.begin(), values.end(), [](float x) { return std::isnan(x); }))
      throw std::runtime_error("no rank has all of " + name);
  return run;
}

}  // namespace trine
