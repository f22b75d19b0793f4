// The training step of a preset, by op: time, share, and how near each op comes to this machine's peaks.
//
//   step_bench --model bench-m --dtype bf16 --threads 2 --steps 10        the table
//   step_bench --model bench-m --dtype bf16 --threads 2 --serve           one step for each line "go" (bench/step)
//
// Random tokens, one process, no files. Peaks are measured in the same run: a large matrix product, and a stream.
#include <CLI/CLI.hpp>
#include <algorithm>
#include <fmt/core.h>
#include <iostream>
#include <map>
#include <omp.h>

#include "base/text.h"
#include "bench/product_bound.h"
#include "data/sampler.h"
#include "models/presets.h"
#include "plan/plan.h"
#include "runtime/device/process_memory.h"
#include "runtime/state/parameters.h"
#include "runtime/step/executor.h"

namespace trine {
namespace {

using namespace bench;

struct Options {
  std::string model = "bench-s", dtype = "bf16";
  int threads = omp_get_num_procs(), steps = 10, warmup = 2;
  bool serve = false;
  std::vector<std::string> disabled_passes;
};

class StepBench {
 public:
  explicit StepBench(const Options& options) : config_(make_config(options)), plan_(build_plan(config_)) {
    backend_ = make_cpu_backend(config_.threads);
    executor_ = std::make_unique<Executor>(plan_.stages[0], config_, Coordinate{}, *backend_, trace_);
    set_parameters(*executor_, initial_values(plan_.stages[0].graph, 1234), config_.threads);
    reader_ = std::make_unique<BatchReader>(
        std::make_shared<RandomTokens>(static_cast<int32_t>(config_.model.vocab), 1), config_.seq, 1, false);
    ids_.resize(static_cast<size_t>(config_.tokens_per_step()));
    labels_.resize(ids_.size());
  }

  double step() {
    const int64_t begin = now_ns();
    reader_->fill(int64_t{num_steps_++} * config_.global_batch, config_.global_batch, ids_.data(), labels_.data());
    result_ = executor_->train_step({.ids = ids_, .labels = labels_, .lr = 3e-4f, .loss_scale = 1}, num_steps_);
    return seconds_since(begin);
  }

  int64_t tokens() const { return config_.tokens_per_step(); }
  const Graph& graph() const { return plan_.stages[0].graph; }
  std::vector<TraceEvent> last_events() const { return trace_.step(num_steps_); }
  const Config& config() const { return config_; }
  const Plan& plan() const { return plan_; }
  const StepResult& result() const { return result_; }

 private:
  static Config make_config(const Options& options) {
    const Preset* preset = find_preset(options.model);
    const auto dtype = parse_dtype(options.dtype);
    if (preset == nullptr || !dtype) throw ConfigError("[step_bench] unknown --model or --dtype");
    Config config;
    config.model_name = options.model;
    config.model = preset->model;
    config.seq = preset->training.seq;
    config.global_batch = preset->training.global_batch;
    config.micro_batch =
        preset->training.benchmark ? config.global_batch : std::min<int64_t>(8, config.global_batch);
    config.dtype = *dtype;
    config.threads = options.threads;
    config.disabled_passes = options.disabled_passes;
    return config;
  }

  const Config config_;
  const Plan plan_;
  TraceRecorder trace_{1 << 16};
  std::unique_ptr<Backend> backend_;
  std::unique_ptr<Executor> executor_;
  std::unique_ptr<BatchReader> reader_;
  std::vector<int32_t> ids_, labels_;
  int num_steps_ = 0;
  StepResult result_;
};

struct OpTime {
  int64_t count = 0;
  double seconds = 0, flops = 0, bytes = 0;
};

// The step beside its matrix products alone in the library's best layouts, plus attention as it ran.
void print_bound(const StepBench& bench, const Options& options, const std::map<std::string, OpTime>& ops,
                 double step_s) {
  const double products =
      product_bound(bench.graph(), bench.config().dtype, bench.config().num_microbatches(), options.threads);
  double attention = 0;
  for (const auto& [name, op] : ops)
    if (name.starts_with("attention")) attention += op.seconds / options.steps;
  fmt::print(
      "\nbound: {:.2f} ms (products {:.2f} ms in oneDNN's best layouts, attention {:.2f} ms as it ran); the step "
      "reaches {:.1f} % of it\n",
      (products + attention) * 1e3, products * 1e3, attention * 1e3, 100 * (products + attention) / step_s);
}

void print_table(StepBench& bench, const Options& options) {
  std::vector<double> steps;
  std::map<std::string, OpTime> ops;
  for (int i = 0; i < options.warmup; ++i) bench.step();
  int64_t events = 0;
  for (int i = 0; i < options.steps; ++i) {
    steps.push_back(bench.step());
    for (const TraceEvent& event : bench.last_events()) {
      OpTime& op = ops[std::string(bench.graph().nodes()[static_cast<size_t>(event.node)].op->name())];
      op.count++, op.seconds += static_cast<double>(event.t1_ns - event.t0_ns) * 1e-9;
      op.flops += event.flops, op.bytes += static_cast<double>(event.bytes);
      ++events;
    }
  }
  const int64_t peak_bytes = peak_resident_bytes();
  const Peaks peaks = measure_peaks(bench.config().dtype, options.threads);
  const double n = options.steps, step_s = median(steps);
  double total = 0;
  for (const auto& [name, op] : ops) total += op.seconds / n;
  fmt::print(
      "{} {} on {} threads: {:.2f} ms a step (median of {}), {:.0f} tokens/s; peaks measured here: "
      "{:.0f} GFLOP/s, {:.1f} GB/s\n\n",
      options.model, options.dtype, options.threads, step_s * 1e3, options.steps,
      static_cast<double>(bench.tokens()) / step_s, peaks.flops * 1e-9, peaks.bytes * 1e-9);
  fmt::print("| op | calls | ms | share | GFLOP/s | GB/s | % of roofline |\n|---|---|---|---|---|---|---|\n");
  std::vector<std::pair<std::string, OpTime>> rows(ops.begin(), ops.end());
  std::sort(rows.begin(), rows.end(),
            [](const auto& a, const auto& b) { return a.second.seconds > b.second.seconds; });
  for (const auto& [name, op] : rows) {
    const double seconds = op.seconds / n, bound = std::max(op.flops / n / peaks.flops, op.bytes / n / peaks.bytes);
    fmt::print("| {} | {} | {:.2f} | {:.1f} % | {:.0f} | {:.1f} | {:.0f} |\n", name, op.count / options.steps,
               seconds * 1e3, 100 * seconds / total, op.flops / n / seconds * 1e-9, op.bytes / n / seconds * 1e-9,
               100 * bound / seconds);
  }
  if (bench.config().dtype != DType::kF16) print_bound(bench, options, ops, step_s);
  TraceRecorder ring(1 << 12);
  const int64_t begin = now_ns();
  constexpr int kRecords = 200000;
  for (int i = 0; i < kRecords; ++i) ring.record({.t0_ns = now_ns(), .step = i});
  const double per_event = seconds_since(begin) / kRecords, per_step = static_cast<double>(events) / n;
  fmt::print("\ntrace: {:.0f} events a step at {:.0f} ns = {:.3f} % of the step\n", per_step, per_event * 1e9,
             100 * per_event * per_step / step_s);
  fmt::print("memory: {} peak resident, plan {}; loss {:.4f}\n", format_bytes(peak_bytes),
             format_bytes(bench.plan().stages[0].memory.total_bytes()), bench.result().loss);
}

void serve(StepBench& bench, const Options& options) {
  for (int i = 0; i < options.warmup; ++i) bench.step();
  std::cout << "ready" << std::endl;
  for (std::string line; std::getline(std::cin, line);)
    if (line == "go") std::cout << bench.step() << std::endl;
  std::cout << fmt::format("{{\"version\": \"trine\", \"memory_peak_bytes\": {}}}\n", peak_resident_bytes());
}

}  // namespace
}  // namespace trine

int main(int argc, char** argv) {
  trine::Options options;
  CLI::App app("The training step of a preset, by op");
  app.add_option("--model", options.model, "tiny, bench-s, bench-m or another preset");
  app.add_option("--dtype", options.dtype, "bf16, fp16 or f32");
  app.add_option("--threads", options.threads);
  app.add_option("--steps", options.steps);
  app.add_option("--warmup", options.warmup);
  app.add_option("--disable-pass", options.disabled_passes, "leave these passes out");
  app.add_flag("--serve", options.serve, "one step for each line \"go\" on stdin");
  CLI11_PARSE(app, argc, argv);
  try {
    trine::StepBench bench(options);
    options.serve ? trine::serve(bench, options) : trine::print_table(bench, options);
  } catch (const std::exception& error) {
    std::cerr << error.what() << '\n';
    return 1;
  }
}
