#include "runtime/measure/op_times.h"

#include <algorithm>
#include <fmt/format.h>
#include <numeric>

#include "base/clock.h"
#include "data/sampler.h"
#include "plan/config/flags.h"
#include "plan/plan.h"
#include "runtime/measure/samples.h"
#include "runtime/state/parameters.h"
#include "runtime/step/executor.h"

namespace trine {
namespace {

// Of these and more parameters, two layers stand for all.
constexpr int64_t kWholeModel = 30'000'000;

// Steps are judged together by so much time: shorter ones would leave out what interrupts longer ones all the time.
constexpr double kWindowUs = 100e3;

struct Window {
  StepTimes times;
  double us = 0;
  int steps = 0;
  double us_per_step() const { return us / steps; }
};

double mean(const std::vector<double>& samples) {
  return std::accumulate(samples.begin(), samples.end(), 0.0) / static_cast<double>(samples.size());
}

StepTimes of_quiet(const std::vector<Window>& windows) {
  std::vector<double> paces;
  for (const Window& window : windows) paces.push_back(window.us_per_step());
  const double most = quiet_limit(paces);
  StepTimes times;
  for (const Window& window : windows)
    if (window.us_per_step() <= most) times.add(window.times);
  return times;
}

Config parse(std::vector<std::string> words) {
  std::vector<const char*> argv = {"measure_cluster"};
  for (const std::string& word : words) argv.push_back(word.c_str());
  const LaunchInfo launch{.time = "now"};
  return std::get<Config>(parse_train_flags(static_cast<int>(argv.size()), argv.data(), launch, ""));
}

}  // namespace

void StepTimes::add(const StepTimes& other) {
  for (const auto& [shape, samples] : other.us) {
    std::vector<double>& own = us[shape];
    own.insert(own.end(), samples.begin(), samples.end());
  }
  rest_us.insert(rest_us.end(), other.rest_us.begin(), other.rest_us.end());
}

Config config_of(const MeasuredStep& step) {
  std::vector<std::string> words = {"--dry-run", "--model", step.model};
  const Config whole = parse(words);
  const LlamaConfig& m = whole.model;
  if (m.heads % step.tp != 0)
    throw ConfigError(
        fmt::format("[flags] {} heads of {} are not a multiple of --tp {}.", m.heads, step.model, step.tp));
  const auto part = [&](int64_t n) { return std::max<int64_t>(1, n / step.tp); };
  const auto add = [&](const char* flag, int64_t value) {
    words.push_back(flag), words.push_back(std::to_string(value));
  };
  if (step.tp > 1) {
    add("--heads", part(m.heads)), add("--kv-heads", std::min(part(m.heads), part(m.kv_heads)));
    add("--head-dim", m.head_dim), add("--ffn", part(m.ffn)), add("--vocab", std::max<int64_t>(260, part(m.vocab)));
  }
  if (parameter_count(m) > kWholeModel)
    add("--layers", std::min<int64_t>(2, m.layers)), add("--seq", std::min<int64_t>(512, whole.seq));
  add("--micro-batch", step.micro_batch), add("--global-batch", 2 * step.micro_batch),
      add("--threads", step.threads);
  words.insert(words.end(), {"--dtype", step.dtype == DType::kBF16 ? "bf16" : "f32"});
  if (step.recompute) words.insert(words.end(), {"--recompute", "full"});
  return parse(words);
}

StepTimes measure_steps(const Config& config, Backend& backend, double budget_s) {
  const Plan plan = build_plan(config);
  const StagePlan& stage = plan.stages[0];
  TraceRecorder trace(4 * stage.graph.nodes().size() * static_cast<size_t>(config.num_microbatches()));
  Executor executor(stage, config, {}, backend, trace);
  set_parameters(executor, initial_values(stage.graph, 1), config.threads);
  const RandomTokens tokens(static_cast<int32_t>(config.model.vocab), 17);
  std::vector<int32_t> ids(static_cast<size_t>(config.tokens_per_step())), labels(ids.size());
  tokens.read(0, config.tokens_per_step(), ids.data());
  tokens.read(1, config.tokens_per_step(), labels.data());
  const HostStep host{.ids = ids, .labels = labels, .lr = 1e-4f, .loss_scale = 1};
  std::vector<Window> windows;
  const int64_t begin_ns = now_ns();
  for (int step = 0; step < 3 || static_cast<double>(now_ns() - begin_ns) * 1e-9 < budget_s; ++step) {
    const int64_t from_ns = now_ns();
    executor.train_step(host, step);
    double rest_us = static_cast<double>(now_ns() - from_ns) * 1e-3;
    if (step == 0) continue;
    if (windows.empty() || windows.back().us >= kWindowUs) windows.emplace_back();
    Window& window = windows.back();
    window.us += rest_us, ++window.steps;
    for (const TraceEvent& event : trace.step(step)) {
      if (event.lane != Lane::kCompute || event.node < 0) continue;
      const double us = static_cast<double>(event.t1_ns - event.t0_ns) * 1e-3;
      rest_us -= us;
      const Node& node = stage.graph[NodeId{event.node}];
      if (!node.op->is_view())
        window.times.us[{std::string(node.op->name()), event.flops, static_cast<double>(event.bytes)}].push_back(
            us);
    }
    window.times.rest_us.push_back(std::max(0.0, rest_us));
  }
  if (windows.size() > 1 && windows.back().us < kWindowUs / 2) windows.pop_back();  // too short to be judged
  return of_quiet(windows);
}

std::vector<CpuOpCost> op_costs(const StepTimes& alone, const StepTimes& together, DType dtype, int threads,
                                double memory_slower, double core_slower) {
  std::map<std::string, CpuOpCost> families;
  struct Both {
    double alone_us = 0, together_us = 0;
  };
  std::map<std::string, Both> both;  // sums over the shapes that were measured both ways
  for (const auto& [shape, samples] : alone.us) {
    CpuOpCost& cost = families[shape.op];
    const double us = mean(samples);
    cost.shapes.push_back({shape.flops, shape.bytes, us});
    if (const auto same = together.us.find(shape); same != together.us.end()) {
      Both& sums = both[shape.op];
      sums.alone_us += us, sums.together_us += mean(same->second);
    }
  }
  std::vector<CpuOpCost> costs;
  for (auto& [op, cost] : families) {
    cost.op = op, cost.dtype = dtype, cost.threads = threads;
    cost.by_bytes = !op.starts_with("linear") && !op.starts_with("attention");
    if (const Both& sums = both[op]; sums.alone_us > 0)
      cost.streams = streaming_part(sums.together_us / sums.alone_us, memory_slower, core_slower);
    else
      cost.streams = cost.by_bytes ? 1 : 0;
    fit(cost);
    costs.push_back(cost);
  }
  return costs;
}

}  // namespace trine
